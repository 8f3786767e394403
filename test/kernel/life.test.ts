/** How a flow's row lives: timers, closing, backends that leave, and networks apart. */
import t from 'tap'
import { Datapath, kernelTest, TC } from '../lib/kernel.js'
import { tcp, tupleOf, udp } from '../lib/packet.js'

const HZ = 250
const FAMILIES = [
  { name: 'IPv4', client: '10.1.0.2', vip: '10.9.0.1', backends: ['10.1.0.3', '10.1.0.4'] },
  { name: 'IPv6', client: 'fd01::2', vip: 'fd09::1', backends: ['fd01::3', 'fd01::4'] },
] as const

for (const { name, client, vip, backends } of FAMILIES) {
  const [first, second] = backends
  const there = { src: client, sport: 40000, dst: vip, dport: 80 }
  const replyFrom = (src: string, flags: string) =>
    tcp({ src, sport: 80, dst: client, dport: 40000, flags })
  const chosen = (dp: Datapath, flags: string) =>
    tupleOf(dp.fromContainer(tcp({ ...there, flags })).packet).dst
  const serve = (dp: Datapath, protocol: 'tcp' | 'udp' = 'tcp') =>
    dp.addService({ vips: [vip], ports: [`80/${protocol}`], backends })

  kernelTest(t, `${name}: a flow stays with its backend, a repeated SYN too`, (t, dp) => {
    serve(dp)
    for (const flags of ['S', 'S', 'A', 'PA', 'FA']) t.equal(chosen(dp, flags), first, flags)
    t.equal(dp.flow(client, 40000, 'tcp')?.incarnation !== undefined, true)
    t.same(dp.counted(), {})
  })

  for (const [how, segments] of [
    ['the client’s reset', [{ from: 'client', flags: 'RA' }]],
    ['the backend’s reset', [{ from: 'backend', flags: 'R' }]],
    [
      'both FINs',
      [
        { from: 'client', flags: 'FA' },
        { from: 'backend', flags: 'FA' },
        { from: 'client', flags: 'A' },
      ],
    ],
    ['a FIN of one side', [{ from: 'client', flags: 'FA' }]],
  ] as const) {
    kernelTest(t, `${name}: a SYN after ${how} chooses anew`, (t, dp) => {
      serve(dp)
      chosen(dp, 'S')
      dp.toContainer(replyFrom(first, 'SA'))
      chosen(dp, 'A')
      for (const { from, flags } of segments) {
        if (from === 'backend')
          t.equal(tupleOf(dp.toContainer(replyFrom(first, flags)).packet).src, vip)
        else t.equal(chosen(dp, flags), first, 'the ending is still translated')
      }
      t.equal(chosen(dp, 'S'), second)
      t.same(dp.counted(), {}, 'no collision, no drop')
      t.equal(tupleOf(dp.toContainer(replyFrom(second, 'SA')).packet).src, vip)
    })
  }

  for (const [state, flags, seconds] of [
    ['embryonic', [], 60],
    ['established', ['A'], 8000],
    ['closing', ['A', 'R'], 30],
  ] as const) {
    kernelTest(t, `${name}: an ${state} TCP flow lives ${seconds} s`, (t, dp) => {
      serve(dp)
      for (const one of ['S', ...flags]) chosen(dp, one)
      dp.age(client, 40000, 'tcp', seconds * HZ - HZ)
      const last = state === 'closing' ? 'R' : 'A'
      t.equal(chosen(dp, last), first, 'just before')
      t.equal(dp.drops('NO_FLOW'), 0)
      if (state === 'embryonic') return
      dp.age(client, 40000, 'tcp', seconds * HZ + HZ)
      t.equal(dp.fromContainer(tcp({ ...there, flags: 'A' })).verdict, TC.REDIRECT)
      t.same(dp.counted(), { DROP_NO_FLOW: 1, EVENT_REFUSED: 1 }, 'just after: reset')
      t.equal(chosen(dp, 'S'), second, 'a new connection chooses anew')
    })
  }

  for (const from of ['client', 'backend'] as const) {
    kernelTest(
      t,
      `${name}: a stale reset of the ${from} ends no flow whose client goes on`,
      (t, dp) => {
        const service = serve(dp)
        const id = service.backends.get(first) ?? 0
        for (const flags of ['S', 'A']) chosen(dp, flags)
        if (from === 'client') chosen(dp, 'R')
        else dp.toContainer(replyFrom(first, 'R'))
        t.equal(chosen(dp, 'A'), first)
        dp.age(client, 40000, 'tcp', 7000 * HZ)
        t.equal(chosen(dp, 'A'), first, 'it is as long-lived as it was')
        t.same(dp.counted(), {})
        t.same([dp.ends(), dp.active(id)], [{ RESET: 1 }, 0], 'counted as an end, once')
        dp.toContainer(replyFrom(first, 'R'))
        dp.age(client, 40000, 'tcp', 31 * HZ)
        t.equal(dp.fromContainer(tcp({ ...there, flags: 'A' })).verdict, TC.REDIRECT)
        t.same(dp.counted(), { DROP_NO_FLOW: 1, EVENT_REFUSED: 1 }, 'in earnest: it is short')
      },
    )
  }

  kernelTest(t, `${name}: after both FINs a TCP flow lives 30 s`, (t, dp) => {
    serve(dp)
    for (const flags of ['S', 'A', 'FA']) chosen(dp, flags)
    dp.age(client, 40000, 'tcp', 31 * HZ)
    t.equal(chosen(dp, 'A'), first, 'one FIN is half of the conversation')
    dp.toContainer(replyFrom(first, 'FA'))
    t.equal(chosen(dp, 'A'), first)
    dp.age(client, 40000, 'tcp', 31 * HZ)
    t.equal(dp.fromContainer(tcp({ ...there, flags: 'A' })).verdict, TC.REDIRECT)
    t.equal(dp.drops('NO_FLOW'), 1)
  })

  kernelTest(t, `${name}: a direct connection’s row lives as long as it does`, (t, dp) => {
    dp.addBackend(first, 1)
    const direct = { ...there, dst: first }
    const seen = () => dp.flow(client, 40000, 'tcp')?.last_seen ?? 0
    dp.fromContainer(tcp(direct))
    dp.age(client, 40000, 'tcp', 100)
    const aged = seen()
    dp.fromContainer(tcp({ ...direct, flags: 'A' }))
    t.ok(seen() - aged >= 100)
    t.equal(
      dp.flow(client, 40000, 'tcp')?.flags,
      dp.constant('FLOW_DIRECT') | dp.constant('FLOW_ESTABLISHED'),
    )
  })

  kernelTest(t, `${name}: a SYN without an answer is forgotten after 60 s`, (t, dp) => {
    serve(dp)
    chosen(dp, 'S')
    dp.age(client, 40000, 'tcp', 61 * HZ)
    t.equal(chosen(dp, 'S'), second)
    t.same(dp.counted(), {})
  })

  kernelTest(t, `${name}: an idle UDP flow chooses anew after 120 s`, (t, dp) => {
    serve(dp, 'udp')
    const send = () => tupleOf(dp.fromContainer(udp(there)).packet).dst
    t.equal(send(), first)
    dp.age(client, 40000, 'udp', 119 * HZ)
    t.equal(send(), first)
    dp.age(client, 40000, 'udp', 121 * HZ)
    t.equal(send(), second)
    t.same(dp.counted(), {})
  })

  kernelTest(t, `${name}: timers are kept by both directions`, (t, dp) => {
    serve(dp, 'udp')
    dp.fromContainer(udp(there))
    dp.age(client, 40000, 'udp', 119 * HZ)
    const before = dp.flow(client, 40000, 'udp')?.last_seen ?? 0
    dp.toContainer(udp({ src: first, sport: 80, dst: client, dport: 40000 }))
    const row = dp.flow(client, 40000, 'udp')
    t.ok((row?.last_seen ?? 0) - before >= 119 * HZ)
    t.equal(row?.flags, dp.constant('FLOW_ESTABLISHED'))
  })

  kernelTest(t, `${name}: UDP leaves a backend that is gone with the next packet`, (t, dp) => {
    const service = serve(dp, 'udp')
    t.equal(tupleOf(dp.fromContainer(udp(there)).packet).dst, first)
    dp.removeBackend(service.backends.get(first) ?? 0)
    t.equal(tupleOf(dp.fromContainer(udp(there)).packet).dst, second)
    t.equal(tupleOf(dp.fromContainer(udp(there)).packet).dst, second)
    t.same(dp.counted(), { EVENT_RESELECT: 1 })
    dp.removeBackend(service.backends.get(second) ?? 0)
    dp.setRing(service.id, { 4: [], 6: [] })
    t.equal(dp.fromContainer(udp(there)).verdict, TC.REDIRECT)
    t.same(dp.counted(), { EVENT_RESELECT: 1, DROP_NO_BACKEND: 1, EVENT_REFUSED: 1 })
    const again = dp.addBackend(second, service.id)
    dp.setRing(service.id, { 4: [again], 6: [again] })
    t.equal(tupleOf(dp.fromContainer(udp(there)).packet).dst, second, '1 → 0 → 1 recovers')
  })

  kernelTest(t, `${name}: a SYN repeated to a backend that is gone goes elsewhere`, (t, dp) => {
    const service = serve(dp)
    t.equal(chosen(dp, 'S'), first)
    dp.removeBackend(service.backends.get(first) ?? 0)
    t.equal(chosen(dp, 'S'), second)
    t.same(dp.counted(), { EVENT_RESELECT: 1 })
  })

  kernelTest(t, `${name}: a backend off the ring keeps the flows that it has`, (t, dp) => {
    const service = serve(dp)
    t.equal(chosen(dp, 'S'), first)
    const left = service.backends.get(second) ?? 0
    dp.setRing(service.id, name === 'IPv4' ? { 4: [left], 6: [] } : { 4: [], 6: [left] })
    t.equal(chosen(dp, 'A'), first)
    const other = tcp({ ...there, sport: 40001 })
    t.equal(tupleOf(dp.fromContainer(other).packet).dst, second)
  })

  t.test(`${name}: two networks with the same VIP do not see each other`, (t) => {
    const one = new Datapath({ rodata: { network_id: 1 } })
    const two = new Datapath({ rodata: { network_id: 2 }, beside: one })
    const third = new Datapath({ rodata: { network_id: 3 }, beside: one })
    try {
      one.addService({ vips: [vip], ports: ['80/tcp'], backends: [first], network: 1 })
      one.addService({ vips: [vip], ports: ['80/tcp'], backends: [second], network: 2 })
      t.equal(chosen(one, 'S'), first)
      t.equal(chosen(two, 'S'), second)
      t.equal(chosen(one, 'A'), first, 'flows of the same client tuple are apart, too')
      t.equal(chosen(two, 'A'), second)
      t.equal(tupleOf(one.toContainer(replyFrom(second, 'SA')).packet).src, second)
      t.equal(tupleOf(two.toContainer(replyFrom(second, 'SA')).packet).src, vip)
      const frame = tcp(there)
      const out = third.fromContainer(frame)
      t.equal(out.verdict, TC.PASS)
      t.same(out.packet, frame, 'a network without the VIP leaves its packets alone')
      t.equal(one.events('COLLISION'), 0)
    } finally {
      for (const dp of [one, two, third]) dp.close()
    }
    t.end()
  })
}
