/**
 * A flow table that takes no more rows. LRU tables evict instead, so the programs are compiled once
 * more with plain ones.
 */
import t from 'tap'
import { kernelTest, TC } from '../lib/kernel.js'
import { tcp, udp } from '../lib/packet.js'
import { compilePlain } from '../lib/plainTables.js'

const object = compilePlain(t, 'tc.bpf.c')

for (const [name, client, one, two, backend] of [
  ['IPv4', '10.1.0.2', '10.9.0.1', '10.9.0.2', '10.1.0.3'],
  ['IPv6', 'fd01::2', 'fd09::1', 'fd09::2', 'fd01::3'],
] as const) {
  const of = { src: client, sport: 1, dst: one, dport: 80 }

  kernelTest(
    t,
    `${name}: a flow that cannot be stored is dropped`,
    (t, dp) => {
      const service = dp.addService({ vips: [one], backends: [backend] })
      t.equal(dp.fromContainer(tcp(of)).verdict, TC.PASS)
      t.equal(dp.fromContainer(tcp({ ...of, sport: 2 })).verdict, TC.DROP)
      t.same(dp.counted(), { DROP_FLOW_TABLE: 1 })
      t.equal(dp.traffic(service.backends.get(backend) ?? 0).connections, 1)
      const direct = udp({ ...of, dst: backend })
      const out = dp.fromContainer(direct)
      t.equal(out.verdict, TC.PASS, 'a direct one does without a row')
      t.same(out.packet, direct)
      t.same(dp.counted(), { DROP_FLOW_TABLE: 1 })
    },
    { object, sizes: { embryonic4: 1, embryonic6: 1 } },
  )

  kernelTest(
    t,
    `${name}: a substitute that cannot be reached is taken back`,
    (t, dp) => {
      for (const vip of [one, two]) dp.addService({ vips: [vip], backends: [backend] })
      dp.fromContainer(tcp(of))
      t.equal(dp.fromContainer(tcp({ ...of, dst: two })).verdict, TC.PASS)
      t.equal(dp.fromContainer(tcp({ ...of, dst: two, dport: 81 })).verdict, TC.DROP)
      t.same(dp.counted(), { EVENT_COLLISION: 2, DROP_FLOW_TABLE: 1 })
      t.equal(dp.embryonic(name === 'IPv4' ? 4 : 6).count(), 2)
    },
    { object, sizes: { overflows: 1 } },
  )
}
