/** DSR connections that a hash leads: in a flood, or in the middle, they do without a row. */
import { availableParallelism } from 'node:os'
import t from 'tap'
import { OUTSIDE } from '../lib/edgePath.js'
import { type Datapath, kernelTest, type ServiceOptions, TC } from '../lib/kernel.js'
import { tcp, udp } from '../lib/packet.js'

t.setTimeout(120_000)

const ABOVE = 3
const FLOWS = 40

const FAMILIES = [
  { name: 'IPv4', version: 4, client: '198.51.100.2', vip: '192.0.2.10', net: '10.1.0.' },
  { name: 'IPv6', version: 6, client: '2001:db8:9::2', vip: '2001:db8::10', net: 'fd01::' },
] as const

/** A flood lasts as long as the test does. */
const FLOODED = {
  rodata: { ...OUTSIDE.rodata, stateless_above: ABOVE, rate_window_jiffies: 0x7fffffff },
}

function dsrService(dp: Datapath, net: string, options: Omit<ServiceOptions, 'backends'>) {
  const addresses = [3, 4, 5].map((last) => `${net}${last}`)
  const { backends } = dp.addService({ ...options, backends: addresses })
  const kind = dp.constant('VIA_DSR_MAC')
  for (const id of backends.values()) dp.map('vias').set(id, { addr: [0, 0, 0, 0], kind })
  return [...backends.values()]
}

for (const { name, version, client, vip, net } of FAMILIES) {
  const packet = (sport: number, flags: string) =>
    tcp({ src: client, sport, dst: vip, dport: 80, flags })

  /** Which backend takes it. */
  const taker = (dp: Datapath, ids: readonly number[], bytes: Uint8Array): number | undefined => {
    const packets = () => ids.map((id) => dp.traffic(id, 'PATH_XDP').packetsIn)
    const before = packets()
    dp.fromContainer(bytes)
    return ids.find((_, at) => packets()[at] !== before[at])
  }
  const rows = (dp: Datapath) => dp.embryonic(version).count() + dp.flows(version).count()

  for (const algorithm of ['maglev', 'sh'] as const) {
    kernelTest(
      t,
      `${name}, ${algorithm}: a flood takes few rows, and every packet the same way`,
      (t, dp) => {
        const ids = dsrService(dp, net, { vips: [vip], ports: ['80/tcp'], algorithm })
        const ports = Array.from({ length: FLOWS }, (_, at) => 30_000 + at)
        const first = ports.map((port) => taker(dp, ids, packet(port, 'S')))
        t.notOk(first.includes(undefined))
        const stored = rows(dp)
        // Each CPU counts by itself, and the test may be moved to another one at any time.
        const most = ABOVE * availableParallelism()
        t.ok(stored >= ABOVE && stored <= most, `${stored} rows`)
        t.same(dp.counted('PATH_XDP'), { EVENT_STATELESS: FLOWS - stored })
        const again = ports.map((port) => taker(dp, ids, packet(port, 'A')))
        t.same(again, first)
        t.ok(rows(dp) <= most, `nor does what follows: ${rows(dp)} rows`)
        const opened = ids.map((id) => dp.traffic(id, 'PATH_XDP').connections)
        t.equal(
          opened.reduce((sum, count) => sum + count),
          FLOWS,
          'each is counted once',
        )
        if (algorithm === 'maglev') t.equal(new Set(first).size, ids.length)
        else t.equal(new Set(first).size, 1)
      },
      FLOODED,
    )
  }

  kernelTest(
    t,
    `${name}: a connection that came by another node is taken up where its hash leads`,
    (t, dp) => {
      const ids = dsrService(dp, net, { vips: [vip], ports: ['80/tcp'], algorithm: 'maglev' })
      for (let port = 30_000; port < 30_000 + FLOWS; port++) {
        const middle = taker(dp, ids, packet(port, 'A'))
        dp.embryonic(version).delete(dp.flowKey(client, port, 'tcp'))
        t.equal(taker(dp, ids, packet(port, 'S')), middle)
      }
    },
    OUTSIDE,
  )

  kernelTest(
    t,
    `${name}: others keep their rows in a flood, and the middle of nothing is refused`,
    (t, dp) => {
      const plain = dp.addService({
        ...{ vips: [vip], ports: ['80/tcp', '53/udp'], algorithm: 'maglev' as const },
        backends: [`${net}3`, `${net}4`],
      })
      for (let port = 30_000; port < 30_000 + FLOWS; port++) {
        dp.fromContainer(packet(port, 'S'))
        dp.fromContainer(udp({ src: client, sport: port, dst: vip, dport: 53 }))
      }
      t.equal(rows(dp), 2 * FLOWS)
      t.same(dp.counted('PATH_XDP'), {})
      t.not(dp.fromContainer(packet(20_000, 'A')).verdict, TC.PASS)
      t.equal(dp.drops('NO_FLOW', 'PATH_XDP'), 1)
      t.equal(plain.backends.size, 2)

      const other = `${vip}1`
      const ids = dsrService(dp, `${net}1`, { vips: [other], ports: ['80/tcp'], algorithm: 'rr' })
      dp.fromContainer(tcp({ src: client, sport: 20_001, dst: other, dport: 80, flags: 'A' }))
      t.equal(dp.drops('NO_FLOW', 'PATH_XDP'), 2, 'round robin cannot tell')
      t.equal(ids.length, 3)
    },
    FLOODED,
  )
}
