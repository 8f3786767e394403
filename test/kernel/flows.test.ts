/**
 * The flow tables as a whole: embryonic rows apart, active connections counted, the sweep that puts
 * the count right, timers of single services.
 */
import t from 'tap'
import { OUTSIDE } from '../lib/edgePath.js'
import { type Datapath, kernelTest, TC } from '../lib/kernel.js'
import { CLIENT_MAC, tcp, tupleOf, udp, VIP_MAC } from '../lib/packet.js'
import { sweep } from '../lib/sweep.js'

/** What a sweep found, without when and how fast. */
function swept(dp: Datapath) {
  const { kept, deleted, mended, endings } = sweep(dp)
  return { kept, deleted, mended, endings }
}

const HZ = 250

/** Makes a service tell both ends of its flows. */
function tellEnds(dp: Datapath, service: number): void {
  const defaults = { syn_jiffies: 0, established_jiffies: 0, closing_jiffies: 0, udp_jiffies: 0 }
  dp.map('timers').set(service, { ...defaults, resets: 1 })
}

const FAMILIES = [
  { name: 'IPv4', of: 4, vip: '10.9.0.1', backends: ['10.1.0.3', '10.1.0.4'] },
  { name: 'IPv6', of: 6, vip: 'fd09::1', backends: ['fd01::3', 'fd01::4'] },
] as const

for (const { name, of, vip, backends } of FAMILIES) {
  const [first] = backends
  const client = (n: number) =>
    of === 4 ? `10.${64 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}` : `fd64::${n.toString(16)}`
  const there = (n: number) => ({ src: client(n), sport: 40000, dst: vip, dport: 80 })
  const send = (dp: Datapath, n: number, flags: string) =>
    dp.fromContainer(tcp({ ...there(n), flags }))
  const reply = (dp: Datapath, n: number, flags: string, src: string = first) =>
    dp.toContainer(tcp({ src, sport: 80, dst: client(n), dport: 40000, flags }))
  const connect = (dp: Datapath, n: number) => {
    for (const flags of ['S', 'A']) send(dp, n, flags)
  }
  const serve = (dp: Datapath, protocol: 'tcp' | 'udp' = 'tcp', count = 1) => {
    const service = dp.addService({
      vips: [vip],
      ports: [`80/${protocol}`],
      backends: backends.slice(0, count),
    })
    return { service: service.id, backend: service.backends.get(first) ?? 0 }
  }

  kernelTest(t, `${name}: a flow is embryonic until the client's second packet`, (t, dp) => {
    serve(dp)
    const key = dp.flowKey(client(1), 40000, 'tcp')
    const where = () => [dp.embryonic(of).has(key), dp.flows(of).has(key)]
    for (const flags of ['S', 'S']) {
      send(dp, 1, flags)
      t.same(where(), [true, false], 'a SYN, and the same again')
    }
    t.equal(tupleOf(reply(dp, 1, 'SA').packet).src, vip, 'the answer is translated')
    t.same(where(), [true, false])
    send(dp, 1, 'A')
    t.same(where(), [false, true])
    t.equal(tupleOf(reply(dp, 1, 'A').packet).src, vip)
    t.equal(dp.flow(client(1), 40000, 'tcp')?.flags, dp.constant('FLOW_ESTABLISHED'))
  })

  kernelTest(t, `${name}: UDP of one exchange stays embryonic`, (t, dp) => {
    serve(dp, 'udp')
    dp.fromContainer(udp(there(1)))
    dp.toContainer(udp({ src: first, sport: 80, dst: client(1), dport: 40000 }))
    t.equal(dp.flows(of).count(), 0)
    dp.fromContainer(udp(there(1)))
    t.equal(dp.flows(of).count(), 1)
    t.equal(dp.embryonic(of).count(), 0)
  })

  for (const [how, segments, end] of [
    ['both FINs', ['FA<', 'FA>', 'A>'], 'FIN'],
    ['a reset of the client', ['RA>'], 'RESET'],
    ['a reset of the backend', ['R<', 'R<'], 'RESET'],
  ] as const) {
    kernelTest(t, `${name}: ${how} end a connection, once`, (t, dp) => {
      const { backend } = serve(dp)
      connect(dp, 1)
      connect(dp, 2)
      t.equal(dp.active(backend), 2)
      for (const segment of segments) {
        const flags = segment.slice(0, -1)
        if (segment.endsWith('>')) send(dp, 1, flags)
        else reply(dp, 1, flags)
      }
      t.equal(dp.active(backend), 1)
      t.same(dp.ends(), { [end]: 1 })
      connect(dp, 1)
      t.equal(dp.active(backend), 2, 'its port is used anew')
      t.same(dp.ends(), { [end]: 1 })
    })
  }

  kernelTest(t, `${name}: what a SYN replaces is no longer active`, (t, dp) => {
    const { backend } = serve(dp)
    connect(dp, 1)
    send(dp, 1, 'FA')
    t.equal(dp.active(backend), 1, 'half closed')
    connect(dp, 1)
    t.equal(dp.active(backend), 1)
    dp.age(client(1), 40000, 'tcp', 8001 * HZ)
    connect(dp, 1)
    t.equal(dp.active(backend), 1)
    t.same(dp.ends(), { FIN: 1, IDLE: 1 })
  })

  kernelTest(t, `${name}: a flow to a backend that is gone is reset, and counted so`, (t, dp) => {
    const { backend } = serve(dp)
    connect(dp, 1)
    dp.removeBackend(backend)
    const out = send(dp, 1, 'A')
    t.equal(out.verdict, TC.REDIRECT)
    t.match(dp.counted(), { DROP_BACKEND_GONE: 1, EVENT_REFUSED: 1 })
    send(dp, 1, 'A')
    t.same(dp.ends(), { GONE: 1 })
  })

  kernelTest(t, `${name}: a service's own timers`, (t, dp) => {
    const { service, backend } = serve(dp)
    const jiffies = (seconds: number) => seconds * HZ
    dp.map('timers').set(service, {
      syn_jiffies: jiffies(5),
      established_jiffies: jiffies(20_000),
      closing_jiffies: 0,
      udp_jiffies: 0,
      resets: 0,
    })
    connect(dp, 1)
    dp.age(client(1), 40000, 'tcp', jiffies(19_000))
    send(dp, 1, 'A')
    t.same(dp.counted(), {}, 'longer than by default')
    send(dp, 2, 'S')
    dp.age(client(2), 40000, 'tcp', jiffies(6))
    send(dp, 3, 'S')
    t.equal(sweep(dp).deleted, 1, 'the SYN timer is shorter')
    t.equal(dp.active(backend), 2)
    t.same(dp.ends(), { IDLE: 1 })
  })

  kernelTest(
    t,
    `${name}: more idle flows than one run can tell of end in the next ones`,
    (t, dp) => {
      const { service, backend } = serve(dp)
      tellEnds(dp, service)
      for (let n = 1; n <= 7; n++) connect(dp, n)
      send(dp, 8, 'S')
      for (let n = 1; n <= 8; n++) dp.age(client(n), 40000, 'tcp', 8001 * HZ)
      const told: string[] = []
      for (const [left, deleted, room] of [
        [4, 4, 3], // the SYN's row as well, of which nobody is told
        [1, 3, 3],
        [0, 1, 3],
      ] as const) {
        const found = sweep(dp, room)
        told.push(...found.endings.map(({ client }) => client))
        t.same([found.kept, found.deleted, found.mended], [left, deleted, 0])
        t.equal(dp.active(backend), left, 'active until it ends')
      }
      t.same(told.sort(), Array.from({ length: 7 }, (_, n) => client(n + 1)).sort(), 'each once')
      t.same(dp.ends(), { IDLE: 8 })
    },
  )

  kernelTest(
    t,
    `${name}: what an ended flow's backend says to the outside is reset, until the next sweep`,
    (t, dp) => {
      const { service } = serve(dp)
      tellEnds(dp, service)
      const answer = (flags: string) =>
        tcp({ src: first, sport: 80, dst: client(1), dport: 40000, flags, seq: 5, ack: 77 })
      const there = { src: client(1), sport: 40000, dst: first, dport: 80, flags: 'R', seq: 77 }
      const back = { ethSrc: VIP_MAC, ethDst: CLIENT_MAC, window: 0, dontFragment: true }
      connect(dp, 1)
      t.equal(tupleOf(dp.toEdge(answer('A'), 1).packet).src, vip)
      dp.age(client(1), 40000, 'tcp', 8001 * HZ)
      t.equal(tupleOf(dp.toEdge(answer('A'), 1).packet).src, vip, 'idle, and not swept yet')
      dp.age(client(1), 40000, 'tcp', 8001 * HZ)
      t.equal(sweep(dp).kept, 1)
      const out = dp.toEdge(answer('A'), 1)
      t.equal(out.verdict, TC.REDIRECT)
      t.same(out.packet, tcp({ ...there, ...back }), 'by a reset with the number that it expects')
      t.equal(dp.toEdge(answer('R'), 1).verdict, TC.DROP, 'a reset is answered by none')
      const refused = send(dp, 1, 'A')
      t.match(tupleOf(refused.packet), { src: vip, dst: client(1) })
      t.equal(sweep(dp).deleted, 1)
      t.same(dp.toEdge(answer('A'), 1).packet, answer('A'), 'none of ours')
    },
    OUTSIDE,
  )

  kernelTest(t, `${name}: a row that another CPU has seen later is not idle`, (t, dp) => {
    const { backend } = serve(dp)
    connect(dp, 1)
    send(dp, 2, 'S')
    for (const n of [1, 2]) dp.age(client(n), 40000, 'tcp', -HZ)
    t.same(swept(dp), { kept: 2, deleted: 0, mended: 0, endings: [] })
    for (const n of [1, 2]) send(dp, n, 'A')
    t.equal(dp.active(backend), 2)
    t.same({ ...dp.counted(), ...dp.ends() }, {})
  })

  kernelTest(
    t,
    `${name}: the sweep deletes what is idle, or of a backend that is gone`,
    (t, dp) => {
      const service = dp.addService({ vips: [vip], ports: ['80/tcp'], backends })
      const ids = backends.map((address) => service.backends.get(address) ?? 0)
      for (let n = 0; n < 40; n++) connect(dp, n)
      for (let n = 40; n < 60; n++) send(dp, n, 'S')
      t.same(
        ids.map((id) => dp.active(id)),
        [30, 30],
      )
      t.same(swept(dp), { kept: 60, deleted: 0, mended: 0, endings: [] })
      for (let n = 0; n < 10; n++) dp.age(client(n), 40000, 'tcp', 8001 * HZ)
      for (let n = 40; n < 50; n++) dp.age(client(n), 40000, 'tcp', 61 * HZ)
      t.same(swept(dp), { kept: 40, deleted: 20, mended: 0, endings: [] })
      t.same(
        ids.map((id) => dp.active(id)),
        [20, 20],
      )
      dp.removeBackend(ids[1] ?? 0)
      t.equal(sweep(dp).deleted, 20)
      t.same(dp.ends(), { IDLE: 20, GONE: 20 })
      t.equal(dp.flows(of).count() + dp.embryonic(of).count(), 20)
    },
  )

  kernelTest(
    t,
    `${name}: a recount mends what eviction left`,
    (t, dp) => {
      const { backend } = serve(dp)
      for (let n = 0; n < 2000; n++) connect(dp, n)
      const rows = dp.flows(of).count() + dp.embryonic(of).count()
      t.ok(rows < 2000, 'rows were evicted')
      t.equal(dp.active(backend), 2000, 'without a word')
      t.equal(sweep(dp).mended, 2000 - rows)
      t.equal(dp.active(backend), rows)
      t.same(dp.ends(), { EVICTED: 2000 - rows })
      dp.map('actives').set(backend, 3n)
      t.equal(sweep(dp).mended, rows - 3)
      t.equal(dp.active(backend), rows, 'up as well')
    },
    { sizes: { [`flows${of}`]: 512 } },
  )

  kernelTest(
    t,
    `${name}: a flood of SYNs evicts no established flow`,
    (t, dp) => {
      serve(dp)
      const live = 400
      for (let n = 0; n < live; n++) connect(dp, n)
      t.equal(dp.flows(of).count(), live)
      for (let n = live; n < live + 4 * 1024; n++) send(dp, n, 'S')
      t.equal(dp.flows(of).count(), live, 'none is missing')
      for (let n = 0; n < live; n++) send(dp, n, 'A')
      t.same(dp.counted(), {}, 'nobody is reset')
      connect(dp, 60_000)
      t.equal(dp.flows(of).count(), live + 1, 'and connections are still taken')
    },
    { sizes: { [`flows${of}`]: 1024, [`embryonic${of}`]: 1024 } },
  )

  kernelTest(
    t,
    `${name}: flows in use survive twice the table's capacity`,
    (t, dp) => {
      serve(dp)
      const capacity = 4096
      const live = 256
      for (let n = 0; n < live; n++) connect(dp, n)
      for (let n = live; n < live + 2 * capacity; n++) {
        connect(dp, n)
        if (n % 256 === 0) for (let one = 0; one < live; one++) send(dp, one, 'A')
      }
      for (let n = 0; n < live; n++) send(dp, n, 'A')
      t.same(dp.counted(), {}, 'nobody was reset')
      t.ok(dp.flows(of).count() <= capacity)
    },
    { sizes: { [`flows${of}`]: 4096 } },
  )
}
