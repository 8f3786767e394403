/** Who gets which backend, with real sockets and the agent: affinity, least connections, sources. */
import t from 'tap'
import { Stage, VIP4, VIP6 } from '../lib/stage.js'

/** Opens connections one after the other, tells who answered, and keeps them until it is told. */
const HOLD = `
import json, socket, sys
def dial(host):
    s = socket.create_connection((host, 80), timeout=5)
    s.sendall(b'GET / HTTP/1.1\\r\\nHost: web\\r\\n\\r\\n')
    data = b''
    while b'backend-' not in data or not data.rstrip()[-1:].isdigit():
        part = s.recv(4096)
        if not part: break
        data += part
    return s, data[data.rindex(b'backend-'):].split()[0].decode()
import time
host = sys.argv[1]
held = [dial(host) for _ in range(9)]
first = [name for _, name in held]
for s, name in held:
    if name == 'backend-1':
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096): pass
        s.close()
time.sleep(0.3)
again = [dial(host) for _ in range(3)]
print(json.dumps({'first': first, 'again': [name for _, name in again]}))
`

for (const path of ['sock', 'tc'] as const) {
  t.test(`${path}: a client keeps its backend until that one drains`, async (t) => {
    const stage = await Stage.build(t, 3)
    const service = (drained?: string) =>
      stage.service({
        affinity: { timeout: '60s' },
        backends: stage.backends.map(({ v4, v6, id }) => ({
          address: [v4, v6],
          state: id === drained ? 'draining' : 'active',
        })),
      })
    const ask = async (host: string): Promise<string> =>
      (await stage.curl(`http://${host}/`)).stdout.trim()
    await stage.start(stage.definition(path === 'sock', service()))
    for (const host of [VIP4, `[${VIP6}]`]) {
      const first = await ask(host)
      t.match(first, /^backend-/)
      for (let i = 0; i < 6; i++) t.equal(await ask(host), first, host)
      await stage.agent.apply(stage.definition(path === 'sock', service(first)))
      const second = await ask(host)
      t.not(second, first, 'it has moved')
      for (let i = 0; i < 6; i++) t.equal(await ask(host), second, 'and stays')
      await stage.agent.apply(stage.definition(path === 'sock', service()))
      t.equal(await ask(host), second, 'though the first is back')
    }
    const moves = await stage.agent.metric(
      'fairlead_events_total',
      'event="affinity_moved"',
      `path="${path}"`,
    )
    t.equal(moves, 2)
  })

  t.test(`${path}: least connections follow those that end`, async (t) => {
    const stage = await Stage.build(t, 3)
    await stage.start(stage.definition(path === 'sock', stage.service({ algorithm: 'lc' })))
    for (const host of [VIP4, VIP6]) {
      const done = await stage.python(HOLD, host)
      t.equal(done.code, 0, done.stderr)
      const { first, again } = JSON.parse(done.stdout) as { first: string[]; again: string[] }
      for (const { id } of stage.backends)
        t.equal(first.filter((one) => one === id).length, 3, `${host}: ${id}`)
      t.same(again, ['backend-1', 'backend-1', 'backend-1'], `${host}: the one that had room`)
    }
  })

  t.test(`${path}: who is not of a source range is not served`, async (t) => {
    const stage = await Stage.build(t, 1)
    const ranged = (deny: string[]) =>
      stage.definition(path === 'sock', stage.service({ sourceRanges: { deny } }))
    await stage.start(ranged(['10.7.0.0/16', 'fd07::/16']))
    const served = async (host: string) =>
      (await stage.curl(`http://${host}/`, '--connect-timeout', '1')).stdout.trim() === 'backend-0'
    for (const [deny, four, six] of [
      ['10.7.0.0/16', true, true],
      ['10.1.0.0/24', false, true],
      ['fd00:1::/64', true, false],
    ] as const) {
      await stage.agent.apply(ranged([deny]))
      t.equal(await served(VIP4), four, `IPv4 without ${deny}`)
      t.equal(await served(`[${VIP6}]`), six, `IPv6 without ${deny}`)
    }
    const drops = await stage.agent.metric('fairlead_drops_total', 'reason="source_denied"')
    t.ok(drops > 0, 'counted where the packet was seen')
  })
}
