/** A backend that dials a VIP and is chosen itself: it sees the VIP as its client. */
import t, { type Test } from 'tap'
import { kernelTest, TC, type Datapath, type ProtocolName } from '../lib/kernel.js'
import { CLIENT_MAC, tcp, tupleOf, udp, VIP_MAC, type Tcp, type Udp } from '../lib/packet.js'

const FAMILIES = [
  { name: 'IPv4', vip: '10.9.0.1', backend: '10.1.0.3', other: '10.1.0.4' },
  { name: 'IPv6', vip: 'fd09::1', backend: 'fd01::3', other: 'fd01::4' },
] as const
const PORT = 40000

type Of = Tcp & Udp

const build: Record<ProtocolName, (of: Of) => Buffer> = { tcp, udp }
const turned = { ethSrc: VIP_MAC, ethDst: CLIENT_MAC }

/** A packet of the backend as client, which has to come back to it; returns the port it then has. */
function ask(t: Test, dp: Datapath, protocol: ProtocolName, of: Of, port: number): number {
  const out = dp.fromContainer(build[protocol](of))
  t.equal(out.verdict, TC.REDIRECT)
  const sport = tupleOf(out.packet).sport
  const seen = { ...of, ...turned, src: of.dst, dst: of.src, sport, dport: port }
  t.same(out.packet, build[protocol](seen), 'there')
  const passed = dp.toContainer(out.packet)
  t.equal(passed.verdict, TC.PASS)
  t.same(passed.packet, out.packet, 'nothing more is done to it on the way in')
  return sport
}

/** The backend's reply to that. */
function answer(
  t: Test,
  dp: Datapath,
  protocol: ProtocolName,
  of: Of,
  sport: number,
  port: number,
) {
  const reply = { src: of.src, sport: port, dst: of.dst, dport: sport, flags: 'SA', ack: 9 }
  const out = dp.fromContainer(build[protocol](reply))
  t.equal(out.verdict, TC.REDIRECT)
  const seen = { ...reply, ...turned, src: of.dst, sport: of.dport, dst: of.src, dport: of.sport }
  t.same(out.packet, build[protocol](seen), 'back')
  t.same(dp.toContainer(out.packet).packet, out.packet)
}

for (const { name, vip, backend, other } of FAMILIES) {
  for (const protocol of ['tcp', 'udp'] as const) {
    const of: Of = { src: backend, sport: PORT, dst: vip, dport: 80, flags: 'S' }

    kernelTest(t, `${name} ${protocol}: there and back, to another port`, (t, dp) => {
      const service = dp.addService({
        vips: [vip],
        ports: [`80:8080/${protocol}`],
        backends: [backend],
      })
      const sport = ask(t, dp, protocol, of, 8080)
      t.ok(sport >= 1024)
      answer(t, dp, protocol, of, sport, 8080)
      for (const flags of ['A', 'PA'])
        t.equal(ask(t, dp, protocol, { ...of, flags, payload: Buffer.from('odd') }, 8080), sport)
      answer(t, dp, protocol, of, sport, 8080)
      const { packetsIn, packetsOut, connections } = dp.traffic(service.backends.get(backend) ?? 0)
      t.same(
        { packetsIn, packetsOut, connections },
        { packetsIn: 3, packetsOut: 2, connections: 1 },
      )
      t.same(dp.counted(), {})
    })

    kernelTest(t, `${name} ${protocol}: any port, and the server's own port`, (t, dp) => {
      dp.addService({ vips: [vip], backends: [backend] })
      const own = { ...of, sport: 80 }
      const sport = ask(t, dp, protocol, own, 80)
      t.not(sport, 80, 'a reply differs from a request')
      answer(t, dp, protocol, own, sport, 80)
    })

    kernelTest(t, `${name} ${protocol}: two VIPs, and two backends, from one port`, (t, dp) => {
      const two = vip.replace(/1$/, '2')
      const ports = [`80/${protocol}`]
      const { id, backends } = dp.addService({ vips: [vip], ports, backends: [backend, other] })
      dp.addVip(two, ['BALANCED'])
      dp.addPort(two, `80/${protocol}`, id)
      const only = (address: string) => {
        const ring = [backends.get(address) ?? 0]
        dp.setRing(id, { 4: ring, 6: ring })
      }
      only(backend)
      const first = ask(t, dp, protocol, of, 80)
      const second = ask(t, dp, protocol, { ...of, dst: two }, 80)
      only(other)
      const elsewhere = { ...of, src: other }
      const third = ask(t, dp, protocol, elsewhere, 80)
      answer(t, dp, protocol, of, first, 80)
      answer(t, dp, protocol, { ...of, dst: two }, second, 80)
      answer(t, dp, protocol, elsewhere, third, 80)
      t.same(dp.counted(), {})
    })

    kernelTest(t, `${name} ${protocol}: a lost overflow row is put back`, (t, dp) => {
      dp.addService({ vips: [vip], ports: [`80/${protocol}`], backends: [backend] })
      const sport = ask(t, dp, protocol, of, 80)
      const rows = [...dp.map('overflows')]
      t.equal(rows.length, 1)
      dp.map('overflows').deleteMany(rows.map(([key]) => key))
      answer(t, dp, protocol, of, sport, 80)
      t.same([...dp.map('overflows')], rows)
      t.equal(ask(t, dp, protocol, { ...of, flags: 'A' }, 80), sport)
      t.same(dp.counted(), { EVENT_FLOW_REPAIRED: 1 })
    })
  }

  const of: Of = { src: backend, sport: PORT, dst: vip, dport: 80 }

  kernelTest(t, `${name}: with two backends the port begins anew at either`, (t, dp) => {
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend, other] })
    for (let round = 0; round < 4; round++) {
      const sport = ask(t, dp, 'tcp', of, 80)
      answer(t, dp, 'tcp', of, sport, 80)
      t.equal(ask(t, dp, 'tcp', { ...of, flags: 'FA' }, 80), sport)
      t.same(dp.fromContainer(tcp(of)).packet, tcp({ ...of, dst: other }), 'the next is elsewhere')
      const fin = { ...of, flags: 'FA' }
      t.same(dp.fromContainer(tcp(fin)).packet, tcp({ ...fin, dst: other }))
    }
    const rows = dp.flows(4).count() + dp.flows(6).count() + dp.embryonic(4).count()
    t.ok(rows + dp.embryonic(6).count() <= 2, 'rows of ended ones do not pile up')
  })

  kernelTest(t, `${name}: what no row awaits is refused as ever`, (t, dp) => {
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends: [backend] })
    const sport = ask(t, dp, 'tcp', of, 80)
    dp.fromContainer(tcp({ ...of, src: other, flags: 'A' }))
    t.equal(dp.drops('NO_FLOW'), 1, 'another backend has no part in it')
    dp.fromContainer(tcp({ ...of, src: other, sport: 80, dport: sport, flags: 'A' }))
    t.equal(dp.drops('NO_PORT'), 1)
    dp.fromContainer(tcp({ ...of, sport: 81, dport: sport, flags: 'A' }))
    t.equal(dp.drops('NO_PORT'), 2, 'nor has another port of it')
  })
}
