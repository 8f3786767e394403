/**
 * Flows that would be one to their backend: two VIPs of one backend, or a VIP beside a direct
 * connection, from the same client port. Both live, the later one from another source port.
 */
import t, { type Test } from 'tap'
import { kernelTest, TC, type Datapath, type ProtocolName } from '../lib/kernel.js'
import { tcp, tupleOf, udp, type Tcp, type Udp } from '../lib/packet.js'

const FAMILIES = [
  { name: 'IPv4', client: '10.1.0.2', one: '10.9.0.1', two: '10.9.0.2', backend: '10.1.0.3' },
  { name: 'IPv6', client: 'fd01::2', one: 'fd09::1', two: 'fd09::2', backend: 'fd01::3' },
] as const
const PORT = 40000

type Of = Tcp & Udp

const build: Record<ProtocolName, (of: Of) => Buffer> = { tcp, udp }

/** Sends a packet of a flow and its reply; both must be translated, from and to `sport`. */
function exchange(
  t: Test,
  dp: Datapath,
  protocol: ProtocolName,
  of: Of,
  backend: { address: string; port: number },
  what: string,
): number {
  const there = dp.fromContainer(build[protocol](of))
  const seen = tupleOf(there.packet).sport
  const expected = { ...of, dst: backend.address, dport: backend.port, sport: seen }
  t.same(there.packet, build[protocol](expected), `${what}, there`)
  const back = { src: backend.address, sport: backend.port, dst: of.src, dport: seen, flags: 'SA' }
  t.same(
    dp.toContainer(build[protocol](back)).packet,
    build[protocol]({ ...back, src: of.dst, sport: of.dport, dport: of.sport }),
    `${what}, back`,
  )
  return seen
}

for (const { name, client, one, two, backend } of FAMILIES) {
  for (const protocol of ['tcp', 'udp'] as const) {
    const to = (dst: string, dport: number, flags = 'S'): Of => ({
      src: client,
      sport: PORT,
      dst,
      dport,
      flags,
    })
    const at = { address: backend, port: 8080 }

    kernelTest(t, `${name} ${protocol}: two VIPs of one backend`, (t, dp) => {
      const ports = [`80:8080/${protocol}`]
      const { id, backends } = dp.addService({ vips: [one], ports, backends: [backend] })
      dp.addVip(two, ['BALANCED'])
      dp.addPort(two, `80:8080/${protocol}`, id)
      t.equal(exchange(t, dp, protocol, to(one, 80), at, 'the first'), PORT)
      const aside = exchange(t, dp, protocol, to(two, 80), at, 'the second')
      t.not(aside, PORT)
      t.ok(aside >= 1024)
      for (const flags of ['A', 'PA']) {
        t.equal(exchange(t, dp, protocol, to(one, 80, flags), at, 'the first again'), PORT)
        t.equal(exchange(t, dp, protocol, to(two, 80, flags), at, 'the second again'), aside)
      }
      t.same(dp.counted(), { EVENT_COLLISION: 1 })
      const { packetsIn, packetsOut, connections } = dp.traffic(backends.get(backend) ?? 0)
      t.same(
        { packetsIn, packetsOut, connections },
        { packetsIn: 6, packetsOut: 6, connections: 2 },
      )
    })

    if (protocol === 'tcp')
      for (const [how, last, moves] of [
        ['closed', 'FA', true],
        ['reset', 'R', false],
      ] as const)
        kernelTest(t, `${name}: another VIP after a connection that was ${how}`, (t, dp) => {
          const ports = ['80:8080/tcp']
          const { id } = dp.addService({ vips: [one], ports, backends: [backend] })
          dp.addVip(two, ['BALANCED'])
          dp.addPort(two, '80:8080/tcp', id)
          t.equal(exchange(t, dp, protocol, to(one, 80), at, 'the first'), PORT)
          const end = { src: backend, sport: 8080, dst: client, dport: PORT, flags: last }
          dp.toContainer(tcp(end))
          dp.fromContainer(tcp(to(one, 80, last)))
          const seen = exchange(t, dp, protocol, to(two, 80), at, 'the second')
          t.equal(seen !== PORT, moves, `it is seen from ${moves ? 'another' : 'the same'} port`)
          t.equal(dp.events('COLLISION'), moves ? 1 : 0)
        })

    kernelTest(t, `${name} ${protocol}: two ports of one VIP that meet at the backend`, (t, dp) => {
      const ports = [`80:8080/${protocol}`, `81:8080/${protocol}`]
      dp.addService({ vips: [one], ports, backends: [backend] })
      t.equal(exchange(t, dp, protocol, to(one, 80), at, 'the first'), PORT)
      t.not(exchange(t, dp, protocol, to(one, 81), at, 'the second'), PORT)
    })

    kernelTest(t, `${name} ${protocol}: a VIP after a direct connection`, (t, dp) => {
      dp.addService({ vips: [one], ports: [`80:8080/${protocol}`], backends: [backend] })
      const direct = build[protocol](to(backend, 8080))
      const out = dp.fromContainer(direct)
      t.equal(out.verdict, TC.PASS)
      t.same(out.packet, direct, 'the direct one is untouched')
      const aside = exchange(t, dp, protocol, to(one, 80), at, 'through the VIP')
      t.not(aside, PORT)
      const reply = build[protocol]({ ...to(client, PORT, 'A'), src: backend, sport: 8080 })
      t.same(dp.toContainer(reply).packet, reply, 'the direct one’s reply too')
      const more = build[protocol](to(backend, 8080, 'A'))
      t.same(dp.fromContainer(more).packet, more)
      t.same(dp.counted(), { EVENT_COLLISION: 1 })
    })

    kernelTest(t, `${name} ${protocol}: a direct connection after a VIP`, (t, dp) => {
      dp.addService({ vips: [one], ports: [`80:8080/${protocol}`], backends: [backend] })
      t.equal(exchange(t, dp, protocol, to(one, 80), at, 'through the VIP'), PORT)
      const direct = to(backend, 8080)
      const aside = exchange(t, dp, protocol, direct, at, 'the direct one')
      t.not(aside, PORT)
      const again = exchange(t, dp, protocol, { ...direct, flags: 'A' }, at, 'the direct one again')
      t.equal(again, aside)
      t.equal(exchange(t, dp, protocol, to(one, 80, 'A'), at, 'the VIP again'), PORT)
      t.same(dp.counted(), { EVENT_COLLISION: 1 })
    })

    kernelTest(t, `${name} ${protocol}: a direct connection elsewhere needs nothing`, (t, dp) => {
      dp.addService({ vips: [one], ports: [`80:8080/${protocol}`], backends: [backend] })
      t.equal(exchange(t, dp, protocol, to(one, 80), at, 'through the VIP'), PORT)
      const other = build[protocol](to(backend, 9090))
      t.same(dp.fromContainer(other).packet, other)
      const reply = build[protocol]({ ...to(client, PORT, 'SA'), src: backend, sport: 9090 })
      t.same(dp.toContainer(reply).packet, reply)
      t.same(dp.counted(), {})
    })

    kernelTest(t, `${name} ${protocol}: the substitute is later dialled from`, (t, dp) => {
      const ports = [`80:8080/${protocol}`]
      const { id } = dp.addService({ vips: [one], ports, backends: [backend] })
      dp.addVip(two, ['BALANCED'])
      dp.addPort(two, `80:8080/${protocol}`, id)
      exchange(t, dp, protocol, to(one, 80), at, 'the first')
      const aside = exchange(t, dp, protocol, to(two, 80), at, 'the second')
      const third = { ...to(two, 80), sport: aside }
      const seen = exchange(t, dp, protocol, third, at, 'from the substitute itself')
      t.not(seen, aside)
      t.equal(exchange(t, dp, protocol, to(two, 80, 'A'), at, 'the second lives'), aside)
      t.equal(dp.events('COLLISION'), 2)
    })

    kernelTest(t, `${name} ${protocol}: a lost overflow row is put back by a reply`, (t, dp) => {
      const ports = [`80:8080/${protocol}`]
      const { id } = dp.addService({ vips: [one], ports, backends: [backend] })
      dp.addVip(two, ['BALANCED'])
      dp.addPort(two, `80:8080/${protocol}`, id)
      exchange(t, dp, protocol, to(one, 80), at, 'the first')
      const aside = exchange(t, dp, protocol, to(two, 80), at, 'the second')
      const rows = [...dp.map('overflows').keys()]
      t.equal(rows.length, 1)
      dp.map('overflows').deleteMany(rows)
      const back = { src: backend, sport: 8080, dst: client, dport: aside, flags: 'A' }
      dp.toContainer(build[protocol](back))
      t.same([...dp.map('overflows').keys()], rows)
      t.equal(exchange(t, dp, protocol, to(two, 80, 'A'), at, 'the second lives'), aside)
      t.same(dp.counted(), { EVENT_COLLISION: 1, EVENT_FLOW_REPAIRED: 1 })
    })
  }

  kernelTest(t, `${name}: an idle flow’s place is taken without a collision`, (t, dp) => {
    dp.addService({ vips: [one], ports: ['53/udp'], backends: [backend] })
    dp.addService({ vips: [two], ports: ['53/udp'], backends: [backend] })
    const of = { src: client, sport: PORT, dst: one, dport: 53 }
    dp.fromContainer(udp(of))
    dp.age(client, PORT, 'udp', 120 * 250 + 10)
    t.equal(tupleOf(dp.fromContainer(udp({ ...of, dst: two })).packet).sport, PORT)
    t.same(dp.counted(), {})
  })

  kernelTest(
    t,
    `${name}: with every source port in use the later flow is dropped`,
    (t, dp) => {
      dp.addService({ vips: [one], ports: ['53/udp'], backends: [backend] })
      dp.addService({ vips: [two], ports: ['53/udp'], backends: [backend] })
      const of = { src: client, sport: PORT, dst: one, dport: 53 }
      dp.fromContainer(udp(of))
      const row = dp.flowRow(client, PORT, 'udp')
      if (!row) throw new Error('there is no flow')
      const rows = Array.from(
        { length: 65536 - 1024 },
        (_, index) => [dp.flowKey(client, 1024 + index, 'udp'), row] as const,
      )
      dp.flows(client.includes(':') ? 6 : 4).setMany(rows)
      t.equal(dp.fromContainer(udp({ ...of, dst: two })).verdict, TC.DROP)
      t.same(dp.counted(), { EVENT_COLLISION: 1, DROP_NO_SOURCE_PORT: 1 })
    },
    { sizes: { flows4: 262144, flows6: 262144 } },
  )
}
