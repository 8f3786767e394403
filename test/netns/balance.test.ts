/**
 * Who gets which backend, with real sockets and the agent, on every path: affinity, least connections,
 * thresholds, sources.
 */
import t from 'tap'
import { Way } from '../lib/ways.js'

t.setTimeout(240_000)

/**
 * Opens connections one after the other, tells who answered, ends those of one backend, and opens three
 * more. All others are kept until the last is told.
 */
const HOLD = `
import json, socket, sys, time
def dial(host):
    try:
        s = socket.create_connection((host, 80), timeout=5)
    except OSError as error:
        return None, type(error).__name__
    s.sendall(b'GET / HTTP/1.1\\r\\nHost: web\\r\\n\\r\\n')
    data = b''
    while b'backend-' not in data or not data.rstrip()[-1:].isdigit():
        part = s.recv(4096)
        if not part: break
        data += part
    return s, data[data.rindex(b'backend-'):].split()[0].decode()
host, count, ended = sys.argv[1], int(sys.argv[2]), sys.argv[3]
held = [dial(host) for _ in range(count)]
first = [name for _, name in held]
for s, name in held:
    if name == (first[0] if ended == 'first' else ended):
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096): pass
        s.close()
time.sleep(0.3)
again = [dial(host) for _ in range(3)]
print(json.dumps({'first': first, 'again': [name for _, name in again]}))
`

/** Ranges that the client is in, by path. */
const OWN = {
  sock: ['10.1.0.0/24', 'fd00:1::/64'],
  tc: ['10.1.0.0/24', 'fd00:1::/64'],
  xdp: ['192.0.2.0/24', '2001:db8::/64'],
} as const

const url = (host: string): string => (host.includes(':') ? `http://[${host}]/` : `http://${host}/`)

for (const path of ['sock', 'tc', 'xdp'] as const) {
  const curl = (way: Way, host: string) =>
    way.client.run('curl', ['-sS', '--max-time', '10', '--connect-timeout', '1', url(host)], {
      mayFail: true,
    })
  /** @param ended the backend whose connections end: its name, or that of the `first` one */
  const hold = async (way: Way, host: string, count: number, ended: string) => {
    const args = ['-c', HOLD, host, `${count}`, ended]
    const done = await way.client.run('python3', args, { mayFail: true })
    if (done.code !== 0) throw new Error(done.stderr)
    return JSON.parse(done.stdout) as { first: string[]; again: string[] }
  }

  t.test(path, async (t) => {
    const way = await Way.build(t, path, 3)
    await way.start()
    t.test('a client keeps its backend until that one drains', async (t) => {
      const service = (drained?: string) => ({
        affinity: { timeout: '60s' },
        backends: way.backends.map(({ v4, v6, id }) => ({
          address: [v4, v6],
          state: id === drained ? 'draining' : 'active',
        })),
      })
      const ask = async (host: string): Promise<string> => (await curl(way, host)).stdout.trim()
      await way.apply(service())
      for (const host of way.hosts) {
        const first = await ask(host)
        t.match(first, /^backend-/)
        for (let i = 0; i < 6; i++) t.equal(await ask(host), first, host)
        await way.apply(service(first))
        const second = await ask(host)
        t.not(second, first, 'it has moved')
        for (let i = 0; i < 6; i++) t.equal(await ask(host), second, 'and stays')
        await way.apply(service())
        t.equal(await ask(host), second, 'though the first is back')
      }
      const moves = await way.agent.metric(
        'fairlead_events_total',
        'event="affinity_moved"',
        `path="${path}"`,
      )
      t.equal(moves, 2)
    })

    t.test('least connections follow those that end', async (t) => {
      await way.apply({ algorithm: 'lc' })
      for (const host of way.hosts) {
        const { first, again } = await hold(way, host, 9, 'backend-1')
        for (const { id } of way.backends)
          t.equal(first.filter((one) => one === id).length, 3, `${host}: ${id}`)
        t.same(again, ['backend-1', 'backend-1', 'backend-1'], `${host}: the one that had room`)
      }
    })

    t.test('a backend that is full gives way to the next, and all full refuse', async (t) => {
      await way.apply({
        algorithm: 'sh', // by the client's address it would be the same one for ever
        thresholds: { upper: 2, lower: 1 },
        backends: way.rows(0, 1),
      })
      for (const host of way.hosts) {
        const { first, again } = await hold(way, host, 5, 'first')
        const [one = '', , two = ''] = first
        t.not(one, two, `${host}: ${first.join()}`)
        const refused = 'ConnectionRefusedError'
        t.same(first, [one, one, two, two, refused], host)
        t.same(again, [one, one, refused], `${host}: below the lower one it takes them again`)
      }
      const drops = await way.agent.metric('fairlead_drops_total', 'reason="overloaded"')
      t.equal(drops, 4, 'counted')
    })

    t.test('who is not of a source range is not served', async (t) => {
      const ranged = (deny: string[]) => ({ backends: way.rows(0), sourceRanges: { deny } })
      const served = async (host: string) => (await curl(way, host)).stdout.trim() === 'backend-0'
      const [own4, own6] = OWN[path]
      for (const [deny, ...expected] of [
        ['10.7.0.0/16', true, true],
        [own4, false, true],
        [own6, true, false],
      ] as const) {
        await way.apply(ranged([deny]))
        for (const [at, host] of way.hosts.entries())
          t.equal(await served(host), expected[at], `${host} without ${deny}`)
      }
      const drops = await way.agent.metric('fairlead_drops_total', 'reason="source_denied"')
      t.ok(drops > 0, 'counted where the packet was seen')
    })
  })
}
