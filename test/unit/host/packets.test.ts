/** What is sent in others' names, beside what another implementation makes of the same fields. */
import t from 'tap'
import { tcpProbes, tunnelled } from '../../../src/host/packets.js'
import { ip, isV6, tcp } from '../../lib/packet.js'

const ETHERNET_BYTES = 14

for (const [from, to, here, there] of [
  ['192.0.2.8', '10.1.0.10', '192.0.2.1', '192.0.2.2'],
  ['2001:db8::8', 'fd00:1::a', '2001:db8::1', '2001:db8::2'],
] as const) {
  const segments = [0, 0x8000_0000].map((seq) =>
    tcp({ src: from, sport: 40_000, dst: to, dport: 80, flags: 'A', seq, window: 0 }).subarray(
      ETHERNET_BYTES,
    ),
  )

  t.test(`${from}: probes are acknowledgements half of all numbers apart`, (t) => {
    const probes = tcpProbes({ address: from, port: 40_000 }, { address: to, port: 80 })
    t.same(
      probes.map((probe) => Buffer.from(probe)),
      segments,
    )
    t.end()
  })

  t.test(`${from}: a packet in another of its family`, (t) => {
    for (const segment of segments) {
      const protocol = isV6(from) ? 41 : 4
      const outer = ip({ src: here, dst: there }, protocol, segment).subarray(ETHERNET_BYTES)
      t.same(Buffer.from(tunnelled(segment, here, there)), outer)
    }
    t.end()
  })
}
