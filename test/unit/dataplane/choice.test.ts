/** Tables of Maglev, affinity, thresholds and source ranges as rows of the kernel. */
import t, { type Test } from 'tap'
import type { Service } from '../../../src/model/types.js'
import { Bench, kernelTest } from './bench.js'
import { backend, network, service, state } from './fixtures.js'

const NETWORK = network('n')

async function settle(bench: Bench, revision: number, ...services: Service[]): Promise<void> {
  bench.reconciler.apply(state(revision, [NETWORK], services))
  await bench.reconciler.settled(revision)
}

async function open(t: Test, pinPath: string, slots?: number): Promise<Bench> {
  const bench = await Bench.open(pinPath, { ...(slots !== undefined && { limits: { slots } }) })
  t.teardown(async () => bench.close())
  return bench
}

function rowOf(bench: Bench, key: string): Record<string, number> {
  const id = bench.installer.ids.services.get(key) ?? 0
  return bench.maps.get('services').get(id) as Record<string, number>
}

const two = [backend('10.0.0.1'), backend('10.0.0.2')]

kernelTest(t, 'a table without room is MAP_FULL, and nothing else suffers', async (t, pinPath) => {
  const bench = await open(t, pinPath, 1024)
  const small = service('n/small', { backends: two })
  const big = (tableSize?: number) =>
    service('n/big', {
      ...{ vips: ['10.0.9.9'], backends: two, algorithm: 'maglev' },
      ...(tableSize !== undefined && { tableSize }),
    })
  await settle(bench, 1, small, big())
  t.match(bench.problems, [{ item: 'service n/big', code: 'MAP_FULL', reason: /map slots/ }])
  t.equal(rowOf(bench, 'n/small')['slots4'], 2)
  await settle(bench, 2, small, big(251))
  t.same(bench.problems, [])
  t.equal(rowOf(bench, 'n/big')['slots4'], 251)
  t.equal(rowOf(bench, 'n/big')['algorithm'], 6)
})

kernelTest(t, 'source ranges come and go with what names them', async (t, pinPath) => {
  const bench = await open(t, pinPath)
  const ranged = (allow: string[], deny: string[]) =>
    service('n/a', { backends: two, sourceRanges: { allow, deny } })
  const count = () => bench.maps.get('sources').count()
  await settle(bench, 1, ranged(['10.0.0.0/8', 'fd00::/16'], ['10.1.0.0/16']))
  t.equal(count(), 3)
  t.equal(rowOf(bench, 'n/a')['flags'], 3)
  await settle(bench, 2, ranged([], ['10.1.0.0/16']))
  t.equal(count(), 1)
  t.equal(rowOf(bench, 'n/a')['flags'], 1)
  await settle(bench, 3, service('n/a', { backends: two }))
  t.equal(count(), 0)
  t.equal(rowOf(bench, 'n/a')['flags'], 0)
  await settle(bench, 4, ranged(['10.0.0.0/8'], []))
  await settle(bench, 5)
  t.equal(count(), 0, 'with its service')
})

kernelTest(t, 'timers are jiffies, and zeros where the default holds', async (t, pinPath) => {
  const bench = await open(t, pinPath)
  const timed = (timeouts?: Service['timeouts']) =>
    service('n/a', { backends: two, ...(timeouts && { timeouts }) })
  const row = () => bench.maps.get('timers').get(bench.installer.ids.services.get('n/a') ?? 0)
  const zeros = {
    syn_jiffies: 0,
    established_jiffies: 0,
    closing_jiffies: 0,
    udp_jiffies: 0,
    resets: 0,
  }
  await settle(bench, 1, timed())
  t.same(row(), zeros)
  await settle(bench, 2, timed({ synSeconds: 1.5, establishedSeconds: 2_592_000 }))
  t.same(row(), { ...zeros, syn_jiffies: 375, established_jiffies: 648_000_000 })
  await settle(bench, 3, timed({ closingSeconds: 2, udpSeconds: 3, reset: true }))
  t.same(row(), { ...zeros, closing_jiffies: 500, udp_jiffies: 750, resets: 1 })
  const id = bench.installer.ids.services.get('n/a') ?? 0
  await settle(bench, 4)
  t.same(bench.maps.get('timers').get(id), zeros, 'with its service')
})

kernelTest(t, 'the next agent takes them over as they are', async (t, pinPath) => {
  const rich = service('n/a', {
    ...{ backends: two, algorithm: 'maglev', tableSize: 251 },
    affinity: { timeoutSeconds: 60, prefix4: 24, prefix6: 64 },
    thresholds: { upper: 10, lower: 8 },
    sourceRanges: { allow: ['10.0.0.0/8'], deny: [] },
  })
  const first = await Bench.open(pinPath)
  await settle(first, 1, rich)
  const row = rowOf(first, 'n/a')
  t.match(row, {
    ...{ affinity_prefix4: 24, affinity_prefix6: 64, affinity_seconds: 60 },
    ...{ upper: 10, lower: 8, flags: 3 },
  })
  await first.close()
  const second = await open(t, pinPath)
  await settle(second, 1, rich)
  t.same(rowOf(second, 'n/a'), row)
  t.equal(second.reconciler.writes, 0)
})

kernelTest(t, 'who leaves has no live flows left in the gauges', async (t, pinPath) => {
  const bench = await open(t, pinPath)
  await settle(bench, 1, service('n/a', { backends: two }))
  const { services, backends } = bench.installer.ids
  const id = backends.get(services.get('n/a') ?? 0, '10.0.0.2') ?? 0
  const gauges = ['actives', 'sock_actives'].map((name) => bench.maps.get(name))
  for (const map of gauges) map.set(id, 5n)
  const down = { ...backend('10.0.0.2'), state: 'down' } as const
  await settle(bench, 2, service('n/a', { backends: [backend('10.0.0.1'), down] }))
  t.same(
    gauges.map((map) => map.get(id)),
    [0n, 0n],
  )
})
