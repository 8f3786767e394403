/** The socket path's scope: which namespace's sockets see which network's services. */
import t from 'tap'
import { type Exchange, type Failure, type Heard, SockScene } from '../lib/sockScene.js'

const RED = 1
const BLUE = 2
const VIP4 = '10.60.0.1'
const VIP6 = 'fd60::1'

const scene = await SockScene.build(t, 2)
const other = await scene.container('other', 101)
const both = await scene.container('both', 102)
const outside = await scene.container('outside', 103)

// Backend n serves service n; service n is network n's. Both use the same VIPs.
const path = await scene.balance(t, (backend) => backend)
for (const network of [RED, BLUE]) {
  path.service({
    id: network,
    network,
    vips: [VIP4, VIP6, `10.60.1.${network}`, `fd60:1::${network}`],
    ports: [
      ['tcp', 80, 8080],
      ['udp', 53, 5353],
    ],
    backends: [network, network + 100],
  })
}
path.scope(scene.client, RED)
path.scope(other, BLUE)
path.scope(both, BLUE, RED)

const REACHED = `
found = []
for vip in ('${VIP4}', '${VIP6}', '::ffff:${VIP4}'):
    family = family_of(vip)
    found.append(exchange(family, vip)['id'])
    found.append(ask(datagram_socket(family), vip, 53)[0])
out(found)`

await t.test('the same VIP on two networks leads each to its own', async (t) => {
  t.strictSame(await scene.python(REACHED), Array(6).fill('b1'))
  t.strictSame(await scene.python(REACHED, other), Array(6).fill('b2'))
})

await t.test(
  'a namespace on two networks asks the first one first, and then the other',
  async (t) => {
    t.strictSame(await scene.python(REACHED, both), Array(6).fill('b2'))
    const own = await scene.python<string[]>(
      `out([exchange(family_of(vip), vip)['id']
          for vip in ('10.60.1.1', '10.60.1.2', 'fd60:1::1', 'fd60:1::2')])`,
      both,
    )
    t.strictSame(own, ['b1', 'b2', 'b1', 'b2'])
  },
)

await t.test('the other network alone is not seen', async (t) => {
  const [tcp, udp] = await scene.python<Failure[]>(`
out([failure(socket.socket().connect, ('10.60.1.2', 80)),
     failure(datagram_socket(AF_INET).sendto, b'?', ('10.60.1.2', 53))])`)
  t.equal(tcp?.[0], 'ENETUNREACH')
  t.equal(udp?.[0], 'ENETUNREACH')
})

await t.test('a namespace that opted out is untouched', async (t) => {
  const failures = await scene.python<Failure[]>(
    `
out([failure(socket.socket(family_of(vip), SOCK_STREAM).connect, (vip, 80))
     for vip in ('${VIP4}', '${VIP6}')] +
    [failure(datagram_socket(family_of(vip)).sendto, b'?', (vip, 53))
     for vip in ('${VIP4}', '${VIP6}')])`,
    outside,
  )
  t.strictSame(
    failures.map(([name]) => name),
    Array(4).fill('ENETUNREACH'),
  )
  const direct = await scene.python<[Exchange, Heard]>(
    `out([exchange(AF_INET, '10.50.0.1', 8080), ask(datagram_socket(AF_INET), '10.50.0.1', 5353)])`,
    outside,
  )
  t.strictSame(direct[0].peer, ['10.50.0.1', 8080])
  t.strictSame(direct[1], ['b1', '10.50.0.1', 5353])
})

await t.test(
  'opting out while sockets live: they keep their peer, new ones are untouched',
  async (t) => {
    const running = scene.start(
      `
conn = socket.socket()
conn.connect(('${VIP4}', 80))
print('connected', flush=True)
sys.stdin.readline()
late = failure(socket.socket().connect, ('${VIP4}', 80))
out([converse(conn), late])`,
      both,
    )
    await running.printed(/connected/)
    path.scope(both)
    running.child.stdin?.write('\n')
    const [line] = await running.printed(/\[\{.*\n/)
    const [kept, late] = JSON.parse(line) as [Exchange, Failure]
    t.strictSame([kept.id, ...kept.peer], ['b2', VIP4, 80])
    t.equal(late[0], 'ENETUNREACH')
  },
)
