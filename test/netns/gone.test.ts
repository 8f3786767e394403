/** TCP whose backend is gone, and clients that use a port again, with real sockets. */
import t from 'tap'
import { HeldSockets } from '../lib/heldSockets.js'
import { Way } from '../lib/ways.js'

t.setTimeout(240_000)

/**
 * Two connections from one port, the second as soon as the first has ended: by the client's reset, or
 * by the server's FIN and the client's. Prints who answered each.
 */
const REUSE = `
import socket, struct, sys
host, how = sys.argv[1], sys.argv[2]
def dial(port):
    sock = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.settimeout(5)
    sock.bind(('', port))
    sock.connect((host, 7))
    sock.sendall(b'ask\\n')
    return sock, sock.recv(100).decode().split()[0]
sock, first = dial(0)
port = sock.getsockname()[1]
if how == 'reset':
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
else:
    sock.sendall(b'get 1\\n')
    while sock.recv(100): pass
sock.close()
print(first, dial(port)[1])
`

for (const name of ['tc', 'xdp'] as const) {
  t.test(name, async (t) => {
    const way = await Way.build(t, name, 2)
    await way.echo()
    const service = { ports: ['7/tcp', '7/udp'] }
    await way.start(service)

    for (const host of way.hosts)
      for (const how of ['reset', 'fin'])
        t.test(`${host}: a SYN after a ${how} chooses anew`, async (t) => {
          const { stdout, stderr } = await way.client.run('python3', ['-c', REUSE, host, how])
          const [first, second] = stdout.trim().split(' ')
          t.match(first, /^backend-/, stderr)
          t.match(second, /^backend-/)
          t.not(first, second, 'in turn, and not where the port had been')
        })

    t.test('a flow to a backend that is gone is reset, UDP goes elsewhere', async (t) => {
      const held = new HeldSockets(way.client)
      t.teardown(async () => held.stop())
      const names = new Map<string, string>()
      for (const host of way.hosts)
        for (const kind of ['tcp', 'udp'] as const)
          for (const n of [1, 2])
            names.set(`${kind} ${host} ${n}`, await held.open(`${kind} ${host} ${n}`, kind, host))
      await way.apply({ ...service, backends: way.rows(1) })
      for (const [socket, backend] of names) {
        const reset = backend === 'backend-0' && socket.startsWith('tcp')
        t.equal(await held.ask(socket), reset ? 'ECONNRESET' : 'backend-1', `${socket}, ${backend}`)
      }
      // If the sweep came by in between, the row is gone as well.
      const refused = (reason: string) =>
        way.agent.metric('fairlead_drops_total', `reason="${reason}"`)
      t.ok((await refused('backend_gone')) + (await refused('no_flow')) >= 2)
    })
  })
}
