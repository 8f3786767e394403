/** The socket path, TCP: real sockets of both families against a VIP, without an agent. */
import t from 'tap'
import { type Exchange, type Failure, SockScene } from '../lib/sockScene.js'

const NETWORK = 7
const WEB = 1
const EMPTY = 2
const VIP4 = '10.60.0.1'
const VIP6 = 'fd60::1'
const EMPTY4 = '10.60.0.2'
const EMPTY6 = 'fd60::2'

const scene = await SockScene.build(t, 2)
const early = scene.start(`
print('waiting', flush=True)
sys.stdin.readline()
out([exchange(AF_INET, '${VIP4}'), exchange(AF_INET6, '${VIP6}')])`)
await early.printed(/waiting/)

const path = await scene.balance(t, () => WEB)
path.scope(scene.client, NETWORK)
path.service({
  id: WEB,
  network: NETWORK,
  vips: [VIP4, VIP6],
  ports: [['tcp', 80, 8080]],
  backends: [1, 2, 101, 102],
})
path.service({
  id: EMPTY,
  network: NETWORK,
  vips: [EMPTY4, EMPTY6],
  ports: [
    ['tcp', 80, 8080],
    ['udp', 53, 5353],
  ],
  backends: [],
})

const SPELLINGS = [
  { title: 'IPv4', family: 'AF_INET', vip: VIP4, backends: [1, 2] },
  { title: 'IPv6', family: 'AF_INET6', vip: VIP6, backends: [101, 102] },
  { title: 'v4-mapped', family: 'AF_INET6', vip: `::ffff:${VIP4}`, backends: [1, 2] },
]

for (const { title, family, vip, backends } of SPELLINGS) {
  await t.test(`${title}: balanced in turn, the VIP as peer, the source kept`, async (t) => {
    const before = backends.map((id) => path.counts(id).connections)
    const done = await scene.python<Exchange[]>(
      `out([exchange(${family}, '${vip}', up=100, down=300) for _ in range(8)])`,
    )
    t.ok(done.every(({ intact }) => intact))
    t.ok(done.every(({ peer }) => peer[0] === vip && peer[1] === 80))
    const source = family === 'AF_INET6' && vip === VIP6 ? 'fd50::64' : '10.50.0.100'
    t.ok(done.every(({ seen }) => seen[0] === source))
    const ids = done.map(({ id }) => id)
    t.equal(ids.filter((id) => id === 'b1').length, 4)
    t.equal(ids.filter((id) => id === 'b2').length, 4)
    ids.slice(1).forEach((id, at) => t.not(id, ids[at], 'the other one each time'))
    t.strictSame(
      backends.map((id, at) => path.counts(id).connections - (before[at] ?? 0)),
      [4, 4],
    )
  })

  await t.test(`${title}: a non-blocking connect`, async (t) => {
    const done = await scene.python<[Exchange, string]>(`
import select
conn = socket.socket(${family}, SOCK_STREAM)
conn.setblocking(False)
code = conn.connect_ex(('${vip}', 80))
select.select([], [conn], [], 5)
conn.settimeout(5)
out([converse(conn), errno.errorcode.get(code, 'none')])`)
    t.equal(done[0].intact, true)
    t.equal(done[0].peer[0], vip)
    t.match(done[1], /^(EINPROGRESS|none)$/)
  })
}

await t.test('a process from before the attachment: its new connections work', async (t) => {
  early.child.stdin?.write('\n')
  const [line] = await early.printed(/\[\{.*\n/)
  const done = JSON.parse(line) as Exchange[]
  t.strictSame(
    done.map(({ peer }) => peer),
    [
      [VIP4, 80],
      [VIP6, 80],
    ],
  )
  t.ok(done.every(({ intact }) => intact))
})

await t.test(
  'an empty service and an unknown port refuse at once, everything else passes',
  async (t) => {
    const targets = [
      ['AF_INET', EMPTY4, 80],
      ['AF_INET6', EMPTY6, 80],
      ['AF_INET6', `::ffff:${EMPTY4}`, 80],
      ['AF_INET', VIP4, 81],
      ['AF_INET6', VIP6, 81],
    ]
    const drops = [path.drops('DROP_NO_BACKEND'), path.drops('DROP_NO_PORT')]
    const refused = path.events('EVENT_REFUSED')
    const failures = await scene.python<Failure[]>(`
out([failure(socket.socket(globals()[family], SOCK_STREAM).connect, (vip, port))
     for family, vip, port in ${JSON.stringify(targets)}])`)
    t.strictSame(
      failures.map(([name]) => name),
      targets.map(() => 'ECONNREFUSED'),
    )
    t.equal(path.drops('DROP_NO_BACKEND') - (drops[0] ?? 0), 3)
    t.equal(path.drops('DROP_NO_PORT') - (drops[1] ?? 0), 2)
    t.equal(path.events('EVENT_REFUSED') - refused, 5)

    const direct = await scene.python<Exchange>(`out(exchange(AF_INET, '10.50.0.1', 8080))`)
    t.strictSame(direct.peer, ['10.50.0.1', 8080], 'a backend dialled by its own address')
    const [unknown] = await scene.python<Failure>(
      `out(failure(socket.socket().connect, ('10.61.0.1', 80)))`,
    )
    t.equal(unknown, 'ENETUNREACH', 'an address of nobody')
  },
)

await t.test(
  'a service whose row is missing, or whose ring names no backend, refuses',
  async (t) => {
    path.service({ id: 9, network: NETWORK, vips: ['10.60.0.9'], anyPort: true, backends: [] })
    path.object.map('services').delete(9)
    path.service({ id: 10, network: NETWORK, vips: ['10.60.0.10'], anyPort: true, backends: [1] })
    const failures = await scene.python<Failure[]>(`
out([failure(socket.socket().connect, (vip, 8080)) for vip in ('10.60.0.9', '10.60.0.10')])`)
    t.strictSame(
      failures.map(([name]) => name),
      ['ECONNREFUSED', 'ECONNREFUSED'],
    )
    t.equal(path.drops('DROP_NO_SERVICE'), 1)
    t.equal(path.drops('DROP_BAD_SLOT'), 1)
  },
)

await t.test('the any-port VIP keeps the dialled port, a port of its own goes first', async (t) => {
  const vip = '10.60.0.3'
  path.backend(3, '10.50.0.1', 3)
  path.backend(4, '10.50.0.2', 4)
  const place = { network: NETWORK, vips: [vip] }
  path.service({ id: 4, ...place, ports: [['tcp', 80, 8080]], backends: [4] })
  path.service({ id: 3, ...place, anyPort: true, backends: [3] })
  const any = await scene.python<Exchange>(`out(exchange(AF_INET, '${vip}', 8080))`)
  t.strictSame([any.id, ...any.peer], ['b1', vip, 8080])
  const own = await scene.python<Exchange>(`out(exchange(AF_INET, '${vip}', 80))`)
  t.strictSame([own.id, ...own.peer], ['b2', vip, 80])
  const [closed] = await scene.python<Failure>(
    `out(failure(socket.socket().connect, ('${vip}', 9)))`,
  )
  t.equal(closed, 'ECONNREFUSED', 'by the backend itself')
  t.equal(path.counts(3).connections, 2)
})

await t.test('a reused socket tells its new peer, never its last', async (t) => {
  const peers = await scene.python<[string, number][]>(`
conn = socket.socket()
seen = []
for target in [('${VIP4}', 80), ('10.50.0.1', 8080), ('10.50.0.2', 8080), ('${VIP4}', 80)]:
    conn.connect(target)
    seen.append(conn.getpeername())
    disconnect(conn)
out(seen)`)
  t.strictSame(peers, [
    [VIP4, 80],
    ['10.50.0.1', 8080],
    ['10.50.0.2', 8080],
    [VIP4, 80],
  ])
})

await t.test('a refused connect can be tried again on the same socket', async (t) => {
  const [first, peer] = await scene.python<[string, [string, number]]>(`
conn = socket.socket()
first = failure(conn.connect, ('${EMPTY4}', 80))[0]
conn.connect(('${VIP4}', 80))
out([first, conn.getpeername()])`)
  t.equal(first, 'ECONNREFUSED')
  t.strictSame(peer, [VIP4, 80])
})

await t.test('two VIPs of one backend from one source port: both live', async (t) => {
  const shared = ['10.60.0.5', 'fd60::5']
  for (const [id, of] of [
    [5, [11, 12, 111, 112]],
    [6, [13, 14, 113, 114]],
  ] as const) {
    of.forEach((row) =>
      path.backend(row, row > 100 ? `fd50::${2 - (row % 2)}` : `10.50.0.${2 - (row % 2)}`, id),
    )
    const vips = id === 5 ? shared : ['10.60.0.6', 'fd60::6']
    path.service({ id, network: NETWORK, vips, ports: [['tcp', 80, 8080]], backends: of })
  }
  const before = path.events('EVENT_COLLISION')
  for (const [family, source, first, second] of [
    ['AF_INET', '10.50.0.100', '10.60.0.5', '10.60.0.6'],
    ['AF_INET6', 'fd50::64', 'fd60::5', 'fd60::6'],
  ] as const) {
    const done = await scene.python<Exchange[]>(`
conns = []
for vip in ('${first}', '${second}'):
    conn = socket.socket(${family}, SOCK_STREAM)
    conn.setsockopt(SOL_SOCKET, socket.SO_REUSEADDR, 1)
    conn.bind(('${source}', 4444))
    conn.connect((vip, 80))
    conns.append(conn)
out([converse(conn, 1000, 1000) for conn in conns])`)
    t.ok(done.every(({ intact }) => intact))
    t.strictSame(
      done.map(({ peer }) => peer[0]),
      [first, second],
    )
    t.not(done[0]?.id, done[1]?.id, 'different backends')
    t.ok(done.every(({ seen }) => seen[1] === 4444))
  }
  t.equal(path.events('EVENT_COLLISION') - before, 2)
})

await t.test('hairpin: a backend that dials its own VIP reaches itself, 200 of 200', async (t) => {
  const [backend] = scene.backends
  if (!backend) throw new Error('no backend')
  path.backend(7, '10.50.0.1', 7)
  path.backend(107, 'fd50::1', 7)
  const vips = ['10.60.0.7', 'fd60::7']
  path.service({ id: 7, network: NETWORK, vips, ports: [['tcp', 80, 8080]], backends: [7, 107] })
  path.scope(backend, NETWORK)
  const done = await scene.python<Exchange[]>(
    `
out([exchange(family_of(vip), vip, up=10, down=10)
     for vip in ('10.60.0.7', 'fd60::7') for _ in range(100)])`,
    backend,
  )
  t.equal(done.filter(({ id, intact }) => intact && id === 'b1').length, 200)
  t.equal(path.counts(7).connections + path.counts(107).connections, 200)
})
