/** Counters, ends and handshakes of single backends and of services as a whole: read two ways. */
import t from 'tap'
import type { Handshakes } from '../../../src/model/readback.js'
import { Bench, kernelTest } from './bench.js'
import { backend, network, service, state } from './fixtures.js'

const ADDRESSES = ['10.0.0.1', '10.0.0.2', '10.0.0.3']
const BUCKETS = 16

function wanted(revision: number, addresses: readonly string[]) {
  return state(
    revision,
    [network('n')],
    ['n/a', 'n/b'].map((key, at) =>
      service(key, {
        vips: [`10.0.0.${at + 8}`],
        backends: addresses.map((address) => backend(address)),
      }),
    ),
  )
}

/** By service, path and part: seconds, and how many of each bucket. */
function sums(rows: readonly Handshakes[]): Map<string, number[]> {
  const found = new Map<string, number[]>()
  for (const { service, path, part, sumSeconds, counts } of rows) {
    const key = `${service} ${path} ${part}`
    const before = found.get(key)
    const all = [Math.round(sumSeconds * 1e9), ...counts]
    found.set(
      key,
      all.map((each, at) => each + (before?.[at] ?? 0)),
    )
  }
  return new Map([...found].sort())
}

kernelTest(t, 'sums of services are those of their backends', async (t, pinPath) => {
  const bench = await Bench.open(pinPath)
  t.teardown(async () => bench.close())
  const { maps, installer, reconciler, readback } = bench
  reconciler.apply(wanted(1, ADDRESSES))
  await reconciler.settled(1)
  const { paths, handshakeParts } = maps.constants
  let seed = 0
  const shake = (id: number, part: string, path: string): void => {
    const key = { id, part: handshakeParts.indexOf(part), path: paths.indexOf(path) }
    // One beyond 32 bits, and none the same as another.
    const counts = Array.from({ length: BUCKETS }, (_, at) =>
      BigInt(++seed + (at === 3 ? 2 ** 33 : 0)),
    )
    maps.get('handshakes').set(key, { sum_ns: BigInt(++seed), counts })
  }
  for (const [id] of installer.ids.backends.entries())
    for (const path of ['tc', 'sock']) shake(id, 'backend', path)
  for (const [, id] of installer.ids.services.entries()) {
    shake(id, 'client', 'tc')
    shake(id, 'left', 'xdp')
  }
  // Whose id nobody has.
  shake(777, 'backend', 'tc')

  const before = sums(await readback.handshakes())
  t.equal(before.size, 8)
  const whole = await readback.handshakesOfServices()
  t.equal(whole.length, 8, 'one row for each')
  t.ok(whole.every((row) => row.backend === undefined))
  t.same(sums(whole), before)
  t.equal(before.get('n/a tc backend')?.length, 1 + BUCKETS)
  t.ok((before.get('n/a tc backend')?.[4] ?? 0) > 3 * 2 ** 33, 'of three, more than 32 bits each')

  reconciler.apply(wanted(2, ADDRESSES.slice(1)))
  await reconciler.settled(2)
  await reconciler.idle()
  t.same(sums(await readback.handshakesOfServices()), before, 'what one had that left is there')
  t.same(sums(await readback.handshakes()), before)
})

/** By service and path: what `numbers` tells of its rows, added up. */
function totals<T extends { readonly service: string; readonly path: string }>(
  rows: readonly T[],
  numbers: (row: T) => Readonly<Record<string, number>>,
): Record<string, Record<string, number>> {
  const found: Record<string, Record<string, number>> = {}
  for (const row of rows) {
    const sum = (found[`${row.service} ${row.path}`] ??= {})
    for (const [name, value] of Object.entries(numbers(row))) sum[name] = (sum[name] ?? 0) + value
  }
  return found
}

kernelTest(t, 'counters and ends of services are those of their backends', async (t, pinPath) => {
  const bench = await Bench.open(pinPath)
  t.teardown(async () => bench.close())
  const { maps, installer, reconciler, readback } = bench
  reconciler.apply(wanted(1, ADDRESSES))
  await reconciler.settled(1)
  const { paths, ends } = maps.constants
  const counters = maps.get('counters')
  let seed = 0n
  for (const [id] of installer.ids.backends.entries()) {
    for (const path of ['tc', 'sock']) {
      const index = id * paths.length + paths.indexOf(path)
      const packets = () => ({ packets_in: ++seed, bytes_in: ++seed << 33n })
      const row = () => ({ ...packets(), packets_out: 1n, bytes_out: 2n, connections: ++seed })
      counters.setPerCpu(index, counters.getPerCpu(index)?.map(row) ?? [])
      maps.get('backend_ends').set(index, { by: ends.map((end) => (end === 'fin' ? ++seed : 0n)) })
    }
    maps.get('actives').set(id, 40n)
    maps.get('sock_actives').set(id, 15n)
    maps.get('inactives').set(id, ++seed)
  }
  const ofCounters = async () => {
    const rows = [await readback.counters(), await readback.countersOfServices()]
    const numbers = (row: object) =>
      Object.fromEntries(Object.entries(row).filter(([, value]) => typeof value === 'number'))
    return rows.map((each) => totals(each, numbers))
  }
  const ofEnds = async () => {
    const rows = [await readback.backendEnds(), await readback.endsOfServices()]
    return rows.map((each) => totals(each, (row) => Object.fromEntries(row.ends)))
  }
  const [byBackends, byServices] = await ofCounters()
  t.same(byServices, byBackends)
  t.match(byServices?.['n/a sock'], { active: 45 })
  t.match(byServices?.['n/b tc'], {
    active: 75,
    packetsOut: 3 * (counters.getPerCpu(0) ?? []).length,
  })
  t.equal((await readback.countersOfServices()).length, 4, 'one row for each')
  const [endsBefore, endsOfServices] = await ofEnds()
  t.same(endsOfServices, endsBefore)
  t.ok((endsOfServices?.['n/a tc']?.['fin'] ?? 0) > 0)

  reconciler.apply(wanted(2, ADDRESSES.slice(1)))
  await reconciler.settled(2)
  await reconciler.idle()
  const [after, afterOfServices] = await ofCounters()
  t.same(afterOfServices, after)
  t.equal(after?.['n/a tc']?.['bytesIn'], byBackends?.['n/a tc']?.['bytesIn'], 'nothing is lost')
  const [endsAfter, endsAfterOfServices] = await ofEnds()
  t.same(endsAfterOfServices, endsAfter)
  t.equal(endsAfter?.['n/b sock']?.['fin'], endsBefore?.['n/b sock']?.['fin'])
})
