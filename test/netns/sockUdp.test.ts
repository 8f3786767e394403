/** The socket path, UDP: connected and unconnected sockets of both families. */
import t from 'tap'
import { type Failure, type Heard, SockScene } from '../lib/sockScene.js'

const NETWORK = 7
const DNS = 1
const VIP4 = '10.60.0.1'
const VIP6 = 'fd60::1'
const PORTS = [['udp', 53, 5353]] as const

const scene = await SockScene.build(t, 3)
const path = await scene.balance(t, () => DNS)
path.scope(scene.client, NETWORK)
path.service({
  id: DNS,
  network: NETWORK,
  vips: [VIP4, VIP6],
  ports: [...PORTS],
  backends: [1, 2, 3, 101, 102, 103],
})
path.service({
  id: 2,
  network: NETWORK,
  vips: ['10.60.0.2', 'fd60::2'],
  ports: [...PORTS],
  backends: [],
})
/** A further service of b<n>, at 10.60.0.`id` and fd60::`id`. */
function serviceOf(id: number, ...backends: number[]): void {
  const rows = backends.flatMap((backend) => [
    [id * 10 + backend, `10.50.0.${backend}`] as const,
    [id * 10 + 100 + backend, `fd50::${backend}`] as const,
  ])
  for (const [row, address] of rows) path.backend(row, address, id)
  path.service({
    id,
    network: NETWORK,
    vips: [`10.60.0.${id}`, `fd60::${id}`],
    ports: [...PORTS],
    backends: rows.map(([row]) => row),
  })
}

const total = (ids: readonly number[]): number =>
  ids.reduce((sum, id) => sum + path.counts(id).connections, 0)

const SPELLINGS = [
  { title: 'IPv4', family: 'AF_INET', spell: (n: number) => `10.60.0.${n}`, direct: '10.50.0.' },
  { title: 'IPv6', family: 'AF_INET6', spell: (n: number) => `fd60::${n}`, direct: 'fd50::' },
  {
    title: 'v4-mapped',
    family: 'AF_INET6',
    spell: (n: number) => `::ffff:10.60.0.${n}`,
    direct: '::ffff:10.50.0.',
  },
]

for (const { title, family, spell, direct } of SPELLINGS) {
  const vip = spell(1)
  const rows = title === 'IPv6' ? [101, 102, 103] : [1, 2, 3]

  await t.test(`${title}: an unconnected socket keeps its backend and hears the VIP`, async (t) => {
    const before = total(rows)
    const heard = await scene.python<Heard[][]>(`
socks = [datagram_socket(${family}) for _ in range(6)]
out([[ask(sock, '${vip}', 53) for _ in range(5)] for sock in socks])`)
    for (const answers of heard) {
      t.equal(new Set(answers.map(([id]) => id)).size, 1, 'one backend a socket')
      t.ok(answers.every(([, from, port]) => from === vip && port === 53))
    }
    const placed = heard.map(([first]) => first?.[0]).sort()
    t.strictSame(placed, ['b1', 'b1', 'b2', 'b2', 'b3', 'b3'], 'the sockets are balanced')
    t.equal(total(rows) - before, 6, 'one connection a socket')
  })

  await t.test(`${title}: a connected socket, its peer and its answers`, async (t) => {
    const before = total(rows)
    const [answers, peer] = await scene.python<[Heard[], [string, number]]>(`
sock = datagram_socket(${family}, '${vip}', 53)
out([[ask(sock) for _ in range(4)], sock.getpeername()[:2]])`)
    t.equal(new Set(answers.map(([id]) => id)).size, 1)
    t.ok(answers.every(([, from, port]) => from === vip && port === 53))
    t.strictSame(peer, [vip, 53])
    t.equal(total(rows) - before, 1)
  })

  await t.test(`${title}: connected again, the socket tells its new peer`, async (t) => {
    serviceOf(3, 2)
    const found = await scene.python<{ peers: string[][]; heard: Heard[]; after: Heard[] }>(`
sock = datagram_socket(${family})
peers, heard_, after = [], [], []
for target in [('${vip}', 53), ('${spell(3)}', 53), ('${direct}2', 5353), ('${direct}1', 5353),
               ('${vip}', 53)]:
    sock.connect(target)
    peers.append(sock.getpeername()[:2])
    heard_.append(ask(sock))
disconnect(sock)
after.append(failure(sock.getpeername)[0])
after.append(ask(sock, '${direct}' + heard_[-1][0][1:], 5353))
after.append(ask(sock, '${vip}', 53))
out({'peers': peers, 'heard': heard_, 'after': after})`)
    const dialled = [
      [vip, 53],
      [spell(3), 53],
      [`${direct}2`, 5353],
      [`${direct}1`, 5353],
      [vip, 53],
    ]
    t.strictSame(found.peers, dialled)
    t.strictSame(
      found.heard.map(([, ...from]) => from),
      dialled,
    )
    t.equal(found.heard[1]?.[0], 'b2')
    t.strictSame(found.heard[2], ['b2', `${direct}2`, 5353])
    t.strictSame(found.after[0], 'ENOTCONN')
    const last = found.heard.at(-1)?.[0] ?? ''
    t.strictSame(found.after[1], [last, `${direct}${last.slice(1)}`, 5353])
    t.strictSame(found.after[2], [last, vip, 53], 'the same backend as when it was connected')
  })

  await t.test(`${title}: the backend dialled through the VIP and directly`, async (t) => {
    serviceOf(3, 2)
    const heard = await scene.python<Heard[]>(`
sock = datagram_socket(${family})
found = [ask(sock, *to) for to in [('${spell(3)}', 53), ('${direct}2', 5353), ('${spell(3)}', 53)]]
sock.connect(('${direct}2', 5353))
found.append(ask(sock))
out(found)`)
    t.strictSame(heard, [
      ['b2', spell(3), 53],
      ['b2', `${direct}2`, 5353],
      ['b2', spell(3), 53],
      ['b2', `${direct}2`, 5353],
    ])
  })

  await t.test(`${title}: two VIPs from one socket go to different backends`, async (t) => {
    serviceOf(4, 1, 2)
    serviceOf(5, 1, 2)
    const before = path.events('EVENT_COLLISION')
    const heard = await scene.python<Heard[]>(`
sock = datagram_socket(${family})
out([ask(sock, vip, 53) for vip in ['${spell(4)}', '${spell(5)}'] * 4])`)
    t.strictSame(
      heard.map(([, from]) => from),
      heard.map((_, at) => spell(at % 2 ? 5 : 4)),
    )
    t.not(heard[0]?.[0], heard[1]?.[0])
    heard.slice(2).forEach(([id], at) => t.equal(id, heard[at]?.[0], 'each is kept'))
    t.equal(path.events('EVENT_COLLISION') - before, 1)
  })

  await t.test(
    `${title}: two VIPs that share their only backend: the last dialled answers`,
    async (t) => {
      serviceOf(6, 3)
      serviceOf(7, 3)
      const before = path.events('EVENT_COLLISION')
      const heard = await scene.python<Heard[]>(`
sock = datagram_socket(${family})
out([ask(sock, vip, 53) for vip in ['${spell(6)}', '${spell(7)}'] * 3])`)
      t.strictSame(
        heard.map(([, from]) => from),
        heard.map((_, at) => spell(at % 2 ? 7 : 6)),
      )
      t.equal(path.events('EVENT_COLLISION') - before, 1)
    },
  )

  await t.test(
    `${title}: a backend that is gone is replaced, one that left the ring stays`,
    async (t) => {
      serviceOf(8, 1, 2)
      const running = scene.start(`
sock = datagram_socket(${family})
while sys.stdin.readline():
    out(ask(sock, '${spell(8)}', 53))`)
      let asked = 0
      const answer = async (): Promise<Heard> => {
        running.child.stdin?.write('\n')
        const [text] = await running.printed(new RegExp(`(\\[.*\n){${++asked}}`))
        return JSON.parse(text.trim().split('\n').at(-1) ?? '') as Heard
      }
      const first = await answer()
      const [kept, left] = first[0] === 'b1' ? [1, 2] : [2, 1]
      const reselected = path.events('EVENT_RESELECT')
      path.service({
        id: 8,
        network: NETWORK,
        vips: ['10.60.0.8', 'fd60::8'],
        ports: [...PORTS],
        backends: [80 + left, 180 + left],
      })
      t.strictSame(await answer(), first, 'out of the ring: draining')
      path.backend(80 + kept, '10.50.0.9', 0)
      path.backend(180 + kept, 'fd50::9', 0)
      t.strictSame(await answer(), [`b${left}`, spell(8), 53])
      t.equal(path.events('EVENT_RESELECT') - reselected, 1)
      await running.stop()
    },
  )

  await t.test(
    `${title}: without backends or port, connect and sendto are refused at once`,
    async (t) => {
      const failures = await scene.python<Failure[]>(`
out([failure(datagram_socket(${family}).connect, ('${spell(2)}', 53)),
     failure(datagram_socket(${family}).sendto, b'?', ('${spell(2)}', 53)),
     failure(datagram_socket(${family}).sendto, b'?', ('${vip}', 54))])`)
      for (const [name] of failures) t.equal(name, 'ECONNREFUSED')
    },
  )

  await t.test(`${title}: a connect that names no port only asks for a route`, async (t) => {
    // ping and the address sorting of C libraries do so; refused, they would take the VIP for dead.
    const refused = path.events('EVENT_REFUSED')
    const failures = await scene.python<Failure[]>(`
out([failure(datagram_socket(${family}).connect, ('${vip}', port)) for port in (1025, 0)])`)
    // Their VIPs are no address of this namespace: the kernel itself has the last word.
    for (const [name] of failures) t.not(name, 'ECONNREFUSED')
    t.equal(path.events('EVENT_REFUSED'), refused)
  })

  await t.test(`${title}: a refused connect leaves a connected socket as it was`, async (t) => {
    const [name, peer, answer] = await scene.python<[string, string[], Heard]>(`
sock = datagram_socket(${family}, '${vip}', 53)
out([failure(sock.connect, ('${spell(2)}', 53))[0], sock.getpeername()[:2], ask(sock)])`)
    t.equal(name, 'ECONNREFUSED')
    t.strictSame(peer, [vip, 53])
    t.strictSame(answer.slice(1), [vip, 53])
  })

  await t.test(`${title}: a connected socket may still send elsewhere`, async (t) => {
    const heard = await scene.python<Heard>(`
sock = datagram_socket(${family}, '${vip}', 53)
sock.sendto(b'mute', ('${spell(6)}', 53))
out(ask(sock))`)
    t.strictSame(heard.slice(1), [vip, 53])
  })
}

for (const [title, family, vip, other] of [
  ['IPv4', 'AF_INET', VIP4, '10.60.0.9'],
  ['IPv6', 'AF_INET6', VIP6, 'fd60::9'],
] as const) {
  await t.test(`${title}: half of a pair that the LRU dropped is put back`, async (t) => {
    const running = scene.start(`
sock = datagram_socket(${family})
for _ in range(2):
    out(ask(sock, '${vip}', 53))
    sys.stdin.readline()`)
    await running.printed(/\[.*\n/)
    const rows = path.object.map('udp_from')
    t.ok(rows.deleteMany([...rows.keys()]) > 0)
    running.child.stdin?.write('\n')
    const [text] = await running.printed(/\[.*\n\[.*\n/)
    const [first, second] = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Heard)
    t.strictSame(second, first)
    await running.stop()
  })

  await t.test(`${title}: a VIP that is taken away is no longer translated`, async (t) => {
    serviceOf(9, 1)
    const running = scene.start(`
sock = datagram_socket(${family})
out(ask(sock, '${other}', 53))
sys.stdin.readline()
out(failure(sock.sendto, b'?', ('${other}', 53)))`)
    await running.printed(/b1.*\n/)
    path.removeVip(NETWORK, other)
    running.child.stdin?.write('\n')
    await running.printed(/ENETUNREACH/)
    t.pass()
  })
}
