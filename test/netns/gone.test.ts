/** Sockets whose backend is gone, and clients that use a port again, with real sockets. */
import t from 'tap'
import { EdgeLan, LAN } from '../lib/edgeLan.js'
import { HeldSockets } from '../lib/heldSockets.js'
import { until } from '../lib/netns.js'
import { Stage, VIP4, VIP6 } from '../lib/stage.js'
import { serveEcho, Way } from '../lib/ways.js'

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

t.test('the edge: a backend beyond it is gone', async (t) => {
  const lan = await EdgeLan.build(t, 'echo.js')
  const other = await lan.lab.container(lan.node, 'other', {
    addresses: ['10.1.0.11/24', 'fd00:1::b/64'],
    bridge: 'br0',
  })
  await other.ip('route', 'add', 'default', 'via', '10.1.0.1')
  await other.ip('route', 'add', 'default', 'via', 'fd00:1::1')
  await serveEcho(other, 'other')
  await lan.startTaker('node', 'native')
  await lan.routeBeyond()
  const vips = {
    entry: ['192.0.2.140', '2001:db8::140'],
    snat: ['192.0.2.141', '2001:db8::141'],
  } as const
  const services = (...addresses: string[][]) =>
    (['entry', 'snat'] as const).map((back) => ({
      ...{ name: back, vip: vips[back], ports: [7, '7/udp'], return: back },
      backends: addresses.map((address) => ({
        address,
        ...(back === 'entry' && { via: [LAN.node4, LAN.node6] }),
      })),
    }))
  const [first, second] = [
    [LAN.backend4, LAN.backend6],
    ['10.1.0.11', 'fd00:1::b'],
  ]
  await lan.startEntry('native', services(first, second))
  const held = new HeldSockets(lan.client)
  t.teardown(async () => held.stop())
  const names = new Map<string, string>()
  for (const host of [...vips.entry, ...vips.snat])
    for (const kind of ['tcp', 'udp'] as const)
      for (const n of [1, 2])
        names.set(`${kind} ${host} ${n}`, await held.open(`${kind} ${host} ${n}`, kind, host))
  for (const id of ['beyond', 'other'])
    t.equal([...names.values()].filter((one) => one === id).length, names.size / 2, id)
  await lan.agents.entry.apply(lan.entryDefinition('native', services(second)))
  for (const [socket, backend] of names) {
    const reset = backend === 'beyond' && socket.startsWith('tcp')
    t.equal(await held.ask(socket), reset ? 'ECONNRESET' : 'other', `${socket}, ${backend}`)
  }
})

t.test('sock: sockets of a removed backend end in every namespace', async (t) => {
  const stage = await Stage.build(t, 2)
  const clients = [stage.client]
  for (const at of [6, 7]) {
    const addresses = [`10.1.0.${at}/24`, `fd00:1::${at}/64`]
    clients.push(await stage.lab.container(stage.node, `client${at}`, { addresses, bridge: 'br0' }))
  }
  for (const { id, space } of stage.backends) await serveEcho(space, id)
  const network = {
    ...stage.network(true),
    attach: { bridge: 'br0', sockets: clients.map(({ path }) => path) },
  }
  const definition = (backends: readonly { v4: string; v6: string }[]) => ({
    networks: [network],
    services: [
      stage.service({
        ports: ['7/tcp', '7/udp'],
        backends: backends.map(({ v4, v6 }) => ({ address: [v4, v6] })),
      }),
    ],
  })
  await stage.start(definition(stage.backends))
  const held = clients.map((space) => new HeldSockets(space))
  t.teardown(() => Promise.all(held.map((sockets) => sockets.stop())))
  const kinds = [VIP4, VIP6].flatMap((host) => [`tcp ${host}`, `udp ${host}`])
  const opened: { name: string; backend: string; at: number }[] = []
  for (const [at, sockets] of held.entries()) {
    for (const kind of kinds) {
      const [protocol = '', host = ''] = kind.split(' ')
      for (const n of [1, 2]) {
        const name = `${kind} ${n}`
        const backend = await sockets.open(name, protocol === 'tcp' ? 'tcp' : 'udp', host)
        opened.push({ name, backend, at })
      }
    }
  }
  for (const at of clients.keys())
    for (const kind of kinds)
      t.same(
        opened.filter((one) => one.at === at && one.name.startsWith(kind)).map((o) => o.backend),
        ['backend-0', 'backend-1'],
        `client ${at}, ${kind}: one to each backend`,
      )
  await stage.agent.apply(definition(stage.backends.slice(1)))
  const ends = (name: string) => (name.startsWith('tcp') ? 'ECONNABORTED' : 'EDESTADDRREQ')
  for (const { name, backend, at } of opened) {
    const expected = backend === 'backend-0' ? ends(name) : backend
    const ask = async () => (await held[at]?.ask(name)) === expected
    // The sockets are looked for after the state is in the kernel.
    await until(`client ${at}, ${name} of ${backend}: ${expected}`, ask, 5_000)
  }
})
