/** A socket that lives longer than the backends of its service: one, then none, then another. */
import t from 'tap'
import { type Dialogue, Way } from '../lib/ways.js'

t.setTimeout(240_000)

/** One datagram and its answer for every line; `connected`: by send. */
const asker = `
import errno, socket, sys
host, connected = sys.argv[1], sys.argv[2] == 'connected'
s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)
if connected: s.connect((host, 53))
for line in sys.stdin:
    s.settimeout(float(line))
    try:
        s.send(b'x') if connected else s.sendto(b'x', (host, 53))
        print(s.recv(100).decode().split()[0])
    except socket.timeout:
        print('silence')
    except OSError as error:
        print(errno.errorcode[error.errno])
`

for (const name of ['sock', 'tc', 'xdp'] as const) {
  t.test(`${name}: a UDP socket outlives one backend, none, and the next`, async (t) => {
    const way = await Way.build(t, name, 2)
    await way.start({ backends: way.rows(0) })
    // The kernel ends a connected socket of the socket path with its backend; see sockOrphan.
    const kinds = name === 'sock' ? ['unconnected'] : ['unconnected', 'connected']
    const sockets: { host: string; kind: string; asking: Dialogue }[] = []
    for (const host of way.hosts)
      for (const kind of kinds) sockets.push({ host, kind, asking: way.python(asker, host, kind) })
    const all = async (what: string, seconds: number, expected: (kind: string) => string) => {
      for (const { host, kind, asking } of sockets)
        t.equal(await asking.ask(`${seconds}`), expected(kind), `${host} ${kind}: ${what}`)
    }
    for (let round = 0; round < 3; round++) await all('the first', 5, () => 'backend-0')
    await way.apply({ backends: [] })
    // An unconnected socket is not told of an unreachable port, unless a hook refuses the call.
    const refused = (kind: string) =>
      name === 'sock' || kind === 'connected' ? 'ECONNREFUSED' : 'silence'
    await all('none', 0.5, refused)
    await way.apply({ backends: way.rows(1) })
    for (let round = 0; round < 3; round++) await all('the next, at once', 5, () => 'backend-1')
    await way.apply({ backends: way.rows(0, 1) })
    await all('it stays though the first is back', 5, () => 'backend-1')
    await way.apply({ backends: way.rows(0) })
    await all('from one to the other', 5, () => 'backend-0')
  })

  t.test(`${name}: backends that drain serve when nobody else is left`, async (t) => {
    const way = await Way.build(t, name, 2)
    const draining = (...at: number[]) =>
      way.rows(0, 1).map((row, i) => ({ ...row, state: at.includes(i) ? 'draining' : 'active' }))
    await way.start({ backends: draining(0) })
    const asked = async (): Promise<string[]> => {
      const ids = new Set<string>()
      for (const host of way.hosts) {
        for (let request = 0; request < 4; request++) {
          const url = `http://${host.includes(':') ? `[${host}]` : host}/`
          const { stdout, stderr } = await way.client.run('curl', ['-sS', '--max-time', '5', url], {
            mayFail: true,
          })
          ids.add(stdout.trim() || stderr)
        }
      }
      return [...ids].sort()
    }
    t.same(await asked(), ['backend-1'])
    await way.apply({ backends: draining(0, 1) })
    t.same(await asked(), ['backend-0', 'backend-1'], 'both drain: better than none')
  })
}
