import { setImmediate as breathe, setTimeout as sleep } from 'node:timers/promises'
import type { Value } from 'libbpf-ts'
import t, { type Test } from 'tap'
import { Pace } from '../../../src/pace.js'
import type { Service } from '../../../src/model/types.js'
import { Bench, kernelTest } from './bench.js'
import { backend, network, service, state, WORDS } from './fixtures.js'

const NETWORK = network('n', { subnets: ['10.0.0.0/8', 'fd00::/16'] })

/** 1,000 services of two backends and one port each. */
function many(count: number): Service[] {
  return Array.from({ length: count }, (_, i) =>
    service(`n/s${i}`, {
      vips: [`10.1.${i >> 8}.${i & 255}`],
      ports: [{ protocol: 'tcp', port: 80, targetPort: 8080 }],
      backends: [backend(`10.2.${i >> 8}.${i & 255}`), backend(`10.3.${i >> 8}.${i & 255}`)],
    }),
  )
}

async function settle(bench: Bench, ...of: Parameters<typeof state>): Promise<void> {
  const next = state(...of)
  bench.reconciler.apply(next)
  await bench.reconciler.settled(next.revision)
  await bench.reconciler.idle()
}

/** One row; its shape is the caller's to know. */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- names what BTF gives
function entry<T>(bench: Bench, map: string, key: Value): T {
  return bench.maps.get(map).get(key) as T
}

function networkId(bench: Bench): number {
  return bench.installer.ids.networks.get('n') ?? 0
}

function backendId(bench: Bench, key: string, address: string): number | undefined {
  const { services, backends } = bench.installer.ids
  return backends.get(services.get(key) ?? 0, address)
}

interface ServiceRow {
  ring4: number
  slots4: number
  ring6: number
  slots6: number
}

/** Addresses behind a service's ring, as a program would read them. */
function ringOf(t: Test, bench: Bench, key: string, family: 4 | 6 = 4): string[] {
  const id = bench.installer.ids.services.get(key) ?? 0
  const row = entry<ServiceRow>(bench, 'services', id)
  const [start, length] = family === 4 ? [row.ring4, row.slots4] : [row.ring6, row.slots6]
  return Array.from({ length }, (_, i) => {
    const backendId = entry<number>(bench, 'slots', start + i)
    const { addr, service: owner } = entry<{ addr: number[]; service: number }>(
      bench,
      'backends',
      backendId,
    )
    t.equal(owner, id, 'the backend belongs to the service')
    return (addr[3] ?? 0).toString(16)
  })
}

kernelTest(t, 'what is outside is told while services are being written', async (t, pinPath) => {
  const bench = await Bench.open(pinPath)
  t.teardown(async () => bench.close())
  const next = state(1, [network('n', { subnets: ['10.0.0.0/8'], edge: true })], many(2_000))
  bench.reconciler.apply(next)
  // The first slice has ended by then, and the last has not begun.
  await breathe()
  bench.reconciler.setOutside({ addresses: ['192.0.2.1'], peers: [] })
  await bench.reconciler.idle()
  const vips = [...bench.maps.get('vips4').keys()] as { network: number }[]
  const outside = vips.filter((key) => key.network === 0)
  t.equal(outside.length, 2_000, 'every service is reached from there')
})

kernelTest(t, 'how long a cycle has been under way is known until it ends', async (t, pinPath) => {
  const bench = await Bench.open(pinPath)
  t.teardown(async () => bench.close())
  const { reconciler, installer } = bench
  t.equal(reconciler.busyMs, 0)
  let goOn = (): void => undefined
  const flush = installer.flush.bind(installer)
  installer.flush = async (pace) => {
    await new Promise<void>((resolve) => (goOn = resolve))
    return flush(pace)
  }
  reconciler.apply(state(1, [NETWORK], []))
  await sleep(50)
  const early = reconciler.busyMs
  t.ok(early > 0)
  await sleep(50)
  t.ok(reconciler.busyMs > early, 'it grows while nothing moves')
  installer.flush = () => Promise.reject(new Error('refused'))
  goOn()
  await reconciler.idle()
  t.equal(reconciler.busyMs, 0)
  reconciler.apply(state(2, [NETWORK], []))
  await reconciler.idle()
  t.equal(reconciler.stats.failures, 1)
  t.equal(reconciler.busyMs, 0, 'what fails has ended')
  installer.flush = flush
})

kernelTest(t, 'a state becomes rows that name one another', async (t, pinPath) => {
  const bench = await Bench.open(pinPath)
  t.teardown(async () => bench.close())
  const a = service('n/a', {
    vips: ['10.0.0.9', 'fd00::9'],
    backends: [backend('10.0.0.1'), backend('10.0.0.2'), backend('fd00::1')],
  })
  await settle(bench, 1, [NETWORK], [a])
  t.same(ringOf(t, bench, 'n/a'), ['a000001', 'a000002'])
  t.same(ringOf(t, bench, 'n/a', 6), ['1'])
  const id = bench.installer.ids.services.get('n/a')
  t.same(entry(bench, 'vips4', { network: networkId(bench), addr: 0x0a000009 }), {
    flags: 3,
    service: id,
  })
  t.same(entry(bench, 'vips4', { network: networkId(bench), addr: 0x0a000001 }), {
    flags: 4,
    service: 0,
  })
  t.same(bench.problems, [])

  await settle(bench, 2, [], [])
  t.equal(bench.maps.get('vips4').count(), 0)
  t.equal(bench.maps.get('vips6').count(), 0)
  t.equal(bench.maps.get('services').count(), 0)
  await sleep(120)
  await bench.reconciler.idle()
  t.equal(bench.maps.get('names').count(), 0, 'ids are given back after their grace')
  t.equal(bench.installer.ids.backends.size, 0)
})

kernelTest(t, 'a port moves from one service to another', async (t, pinPath) => {
  const bench = await Bench.open(pinPath)
  t.teardown(async () => bench.close())
  const port = { protocol: 'tcp', port: 80, targetPort: 80 } as const
  const keep = { protocol: 'tcp', port: 443, targetPort: 443 } as const
  const a = service('n/a', { ports: [port, keep] })
  await settle(bench, 1, [NETWORK], [a])
  await settle(bench, 2, [NETWORK], [{ ...a, ports: [keep] }, service('n/b', { ports: [port] })])
  const row = (number: number) =>
    entry<{ service: number }>(bench, 'ports4', {
      network: networkId(bench),
      addr: 0x0a000009,
      port: number,
      protocol: 6,
      pad: 0,
    }).service
  t.equal(row(80), bench.installer.ids.services.get('n/b'))
  t.equal(row(443), bench.installer.ids.services.get('n/a'))
  t.equal(bench.maps.get('ports4').count(), 2)
})

kernelTest(t, 'an address may be VIP and backend, and stops being either', async (t, pinPath) => {
  const bench = await Bench.open(pinPath)
  t.teardown(async () => bench.close())
  const flags = () =>
    entry<{ flags: number } | undefined>(bench, 'vips4', {
      network: networkId(bench),
      addr: 0x0a000009,
    })?.flags
  const a = service('n/a')
  const b = service('n/b', { vips: ['10.0.0.10'], backends: [backend('10.0.0.9')] })
  await settle(bench, 1, [NETWORK], [a, b])
  t.equal(flags(), 7)
  await settle(bench, 2, [NETWORK], [b])
  t.equal(flags(), 4)
  await settle(bench, 3, [NETWORK], [a])
  t.equal(flags(), 3)
  await settle(bench, 4, [NETWORK], [])
  t.equal(flags(), undefined)
})

kernelTest(t, 'writes are in proportion to the change', async (t, pinPath) => {
  const bench = await Bench.open(pinPath)
  t.teardown(async () => bench.close())
  const services = many(1000)
  await settle(bench, 1, [NETWORK], services)
  t.ok(bench.reconciler.writes > 5000, `${bench.reconciler.writes} at first`)
  const before = bench.reconciler.writes
  const changed = { ...services[500], backends: [backend('10.9.9.9')] } as Service
  await settle(bench, 2, [NETWORK], services.with(500, changed))
  const writes = bench.reconciler.writes - before
  t.ok(writes > 0 && writes < 15, `${writes} writes for one service of 1,000`)
  t.same(ringOf(t, bench, 'n/s500'), ['a090909'])

  const same = bench.reconciler.writes
  await settle(bench, 3, [{ ...NETWORK }], services.with(500, structuredClone(changed)))
  t.equal(bench.reconciler.writes, same, 'an equal state writes nothing')
})

kernelTest(t, 'a sweep puts back what was changed by hand, and counts it', async (t, pinPath) => {
  const bench = await Bench.open(pinPath, { sweepIntervalMs: 30 })
  t.teardown(async () => bench.close())
  const services = many(20)
  await settle(bench, 1, [NETWORK], services)
  const vip = { network: bench.installer.ids.networks.get('n') ?? 0, addr: 0x0a010003 }
  const id = bench.installer.ids.services.get('n/s3') ?? 0
  const ring = entry<ServiceRow>(bench, 'services', id)
  const row = entry<never>(bench, 'backends', entry(bench, 'slots', ring.ring4))
  bench.maps.get('vips4').delete(vip)
  bench.maps.get('vips4').set({ ...vip, addr: 0x01010101 }, { flags: 1, service: 0 })
  bench.maps.get('services').set(id, { ...(ring as object), slots4: 0 })
  bench.maps.get('slots').set(ring.ring4 + 1, 4711)
  bench.maps
    .get('backends')
    .set(entry(bench, 'slots', ring.ring4), { ...(row as object), service: 9 })
  for (let i = 0; i < 100 && bench.reconciler.stats.repaired < 5; i++) await sleep(20)
  t.equal(bench.reconciler.stats.repaired, 5)
  t.same(entry(bench, 'vips4', vip), { flags: 1, service: 0 })
  t.equal(bench.maps.get('vips4').has({ ...vip, addr: 0x01010101 }), false)
  t.same(entry(bench, 'services', id), ring)
  t.same(ringOf(t, bench, 'n/s3'), ['a020003', 'a030003'])
  await sleep(100)
  t.equal(bench.reconciler.stats.repaired, 5, 'once')
})

kernelTest(t, 'a full map stops the service that does not fit and no other', async (t, pinPath) => {
  const bench = await Bench.open(pinPath, { limits: { ports: 10 } })
  t.teardown(async () => bench.close())
  const port = (n: number) => ({ protocol: 'tcp', port: n, targetPort: n }) as const
  const small = service('n/small', { vips: ['10.0.0.1'], ports: [port(1), port(2)] })
  const big = service('n/big', {
    vips: ['10.0.0.2'],
    ports: Array.from({ length: 20 }, (_, i) => port(i + 1)),
    backends: [backend('10.0.0.77')],
  })
  const last = service('n/zlast', { vips: ['10.0.0.3'], ports: [port(1)] })
  await settle(bench, 1, [NETWORK], [small, big, last])
  t.equal(bench.problems.length, 1)
  t.match(bench.problems[0], {
    source: 'dataplane',
    item: 'service n/big',
    code: 'MAP_FULL',
    reason: 'map ports4 is full (10 entries)',
  })
  t.equal(bench.maps.get('ports4').count(), 3, 'nothing of it stays')
  t.equal(bench.maps.get('vips4').count(), 2)
  t.equal(bench.installer.ids.backends.size, 0)
  t.ok(bench.reconciler.stats.failures >= 1)
  t.match(bench.reconciler.stats.lastError, /ports4/)

  const grown = { ...small, ports: big.ports }
  await settle(bench, 2, [NETWORK], [grown, last])
  t.match(bench.problems, [{ item: 'service n/small', code: 'MAP_FULL' }])
  t.equal(bench.maps.get('ports4').count(), 3, 'it stays as it was')

  await settle(bench, 3, [NETWORK], [{ ...small, ports: big.ports.slice(0, 10) }])
  t.same(bench.problems, [], 'what leaves makes room in the same cycle')
  t.equal(bench.maps.get('ports4').count(), 10)
})

kernelTest(t, 'slots that do not fit are refused by name', async (t, pinPath) => {
  const bench = await Bench.open(pinPath, { limits: { slots: 4 } })
  t.teardown(async () => bench.close())
  const of = (n: number) => Array.from({ length: n }, (_, i) => backend(`10.5.0.${i + 1}`))
  await settle(bench, 1, [NETWORK], [service('n/a', { backends: of(5) })])
  t.match(bench.problems, [{ code: 'MAP_FULL', reason: /slots/ }])
  await settle(bench, 2, [NETWORK], [service('n/a', { backends: of(4) })])
  t.same(bench.problems, [])
})

kernelTest(t, 'a new agent goes on with ids, rings and incarnations', async (t, pinPath) => {
  const services = many(30)
  const first = await Bench.open(pinPath)
  await settle(first, 1, [NETWORK, network('m')], services)
  await settle(first, 2, [NETWORK, network('m')], services.slice(3))
  const row = entry(first, 'backends', 10)
  await first.close()
  const ids = new Map(first.installer.ids.services.entries())
  const backends = new Map(first.installer.ids.backends.entries())

  const second = await Bench.open(pinPath)
  t.teardown(async () => second.close())
  t.equal(second.maps.adopted, true)
  const [key = '', id] = [...ids].at(-1) ?? []
  t.equal(second.installer.ids.services.get(key), id)
  await settle(second, 1, [NETWORK, network('m')], services.slice(3))
  t.equal(second.reconciler.writes, 0, 'nothing differs, so nothing is written')
  t.same(new Map(second.installer.ids.backends.entries()), backends)
  t.same(entry(second, 'backends', 10), row)

  await settle(second, 2, [NETWORK], services.slice(5))
  t.equal(second.maps.get('services').count(), 25, 'what is not wanted any more is deleted')
  t.equal(second.maps.get('ports4').count(), 25)
  t.equal(second.maps.get('vips4').count(), 75)
  t.equal(second.installer.ids.networks.get('m'), undefined)
})

kernelTest(t, 'rows that belong to nobody go with the first state', async (t, pinPath) => {
  const first = await Bench.open(pinPath)
  await settle(first, 1, [NETWORK], many(2))
  first.maps.get('ports4').set(
    { network: 9, addr: 1, port: 1, protocol: 6, pad: 0 },
    {
      service: 77,
      target_port: 1,
      pad: 0,
    },
  )
  first.maps.get('backends').set(700, {
    ...entry<Record<string, number>>(first, 'backends', 700),
    ...{ addr: [0, 0, 0xffff, 1], service: 77, incarnation: 1 },
  })
  first.maps.get('vips6').set({ network: 9, addr: [1, 2, 3, 4] }, { flags: 1, service: 0 })
  await first.close()
  const second = await Bench.open(pinPath)
  t.teardown(async () => second.close())
  t.equal(second.maps.get('ports4').count(), 3, 'not before')
  await settle(second, 1, [NETWORK], many(2))
  t.equal(second.maps.get('ports4').count(), 2)
  t.equal(second.maps.get('vips6').count(), 0)
  t.match(entry(second, 'backends', 700), { service: 0 })
})

kernelTest(
  t,
  'a down backend takes nothing and its flows end; up again it is as before',
  async (t, pinPath) => {
    const bench = await Bench.open(pinPath)
    t.teardown(async () => bench.close())
    const of = (s: 'active' | 'down') =>
      service('n/a', { backends: [backend('10.0.0.1'), backend('10.0.0.2', { state: s })] })
    const row = () => {
      const id = backendId(bench, 'n/a', '10.0.0.2')
      return entry<{ incarnation: number; service: number; flags: number }>(
        bench,
        'backends',
        id ?? 0,
      )
    }
    await settle(bench, 1, [NETWORK], [of('active')])
    const before = row()
    await settle(bench, 2, [NETWORK], [of('down')])
    t.same(ringOf(t, bench, 'n/a'), ['a000001'])
    t.equal(row().service, before.service)
    t.not(row().incarnation, before.incarnation)
    t.equal(row().flags, before.flags | WORDS.closed, 'takes no new flow')
    const down = row()
    await settle(bench, 3, [NETWORK], [of('active')])
    t.same(ringOf(t, bench, 'n/a'), ['a000001', 'a000002'])
    t.same(row(), { ...down, flags: before.flags })
  },
)

function addCounts(bench: Bench, key: string, address: string, connections: bigint): void {
  const id = backendId(bench, key, address)
  const map = bench.maps.get('counters')
  const index = (id ?? 0) * 3
  const zero = { packets_in: 0n, bytes_in: 0n, packets_out: 0n, bytes_out: 0n, connections: 0n }
  const perCpu = map.getPerCpu(index)?.map(() => ({ ...zero, connections, bytes_in: 5n }))
  map.setPerCpu(index, perCpu ?? [])
}

async function total(t: Test, bench: Bench, key: string): Promise<number> {
  const rows = (await bench.readback.counters()).filter(({ service }) => service === key)
  t.ok(rows.every(({ path }) => path === 'tc'))
  return rows.reduce((sum, { connections }) => sum + connections, 0)
}

kernelTest(t, 'totals of a service never fall when its backends leave', async (t, pinPath) => {
  const bench = await Bench.open(pinPath)
  t.teardown(async () => bench.close())
  const a = service('n/a', { backends: [backend('10.0.0.1'), backend('10.0.0.2')] })
  await settle(bench, 1, [NETWORK], [a])
  addCounts(bench, 'n/a', '10.0.0.1', 7n)
  addCounts(bench, 'n/a', '10.0.0.2', 1n)
  const before = await total(t, bench, 'n/a')
  t.ok(before >= 8)
  t.same(
    (await bench.readback.counters()).map(({ backend: address }) => address),
    ['10.0.0.1', '10.0.0.2'],
  )
  const id = backendId(bench, 'n/a', '10.0.0.1')

  await settle(bench, 2, [NETWORK], [{ ...a, backends: [backend('10.0.0.2')] }])
  t.equal(await total(t, bench, 'n/a'), before)
  // A program that had looked the backend up counts once more.
  const late = bench.maps.get('counters')
  const zero = { packets_in: 0n, bytes_in: 0n, packets_out: 0n, bytes_out: 0n, connections: 0n }
  const rows = late
    .getPerCpu((id ?? 0) * 3)
    ?.map((_, cpu) => ({ ...zero, connections: cpu === 0 ? 1n : 0n }))
  late.setPerCpu((id ?? 0) * 3, rows ?? [])
  t.equal(await total(t, bench, 'n/a'), before + 1)
  await sleep(120)
  await bench.reconciler.idle()
  t.equal(await total(t, bench, 'n/a'), before + 1, 'nor when the id is given back')
  t.equal(bench.installer.ids.backends.size, 1)
  t.ok(
    bench.maps
      .get('counters')
      .getPerCpu((id ?? 0) * 3)
      ?.every((row) => (row as typeof zero).connections === 0n),
    'the next user of the id begins at zero',
  )
  const again = await reopened(bench, pinPath)
  t.teardown(async () => again.close())
  t.equal(await total(t, again, 'n/a'), before + 1, 'nor over a restart')
})

/** Lets others run after every step. */
class NoPace extends Pace {
  override get due(): boolean {
    return true
  }
}

kernelTest(t, 'backends that leave while counters are read count once', async (t, pinPath) => {
  const bench = await Bench.open(pinPath, { limits: { services: 1500 }, pace: () => new NoPace() })
  t.teardown(async () => bench.close())
  const COUNT = 1200
  const specOf = (at: number, gone = -1) => {
    const hosts = [0, 1, 2].filter((i) => i !== gone)
    const backends = hosts.map((i) => backend(`10.1.${at >> 6}.${(at % 64) * 4 + i}`))
    return service(`n/s${at}`, { vips: [`10.2.${at >> 8}.${at & 255}`], backends })
  }
  const specs = Array.from({ length: COUNT }, (_, at) => specOf(at))
  await settle(bench, 1, [NETWORK], specs)
  // Of the first, the middle and the last ids.
  const watched = [3, 600, COUNT - 3]
  for (const at of watched)
    for (const i of [0, 1, 2])
      addCounts(bench, `n/s${at}`, `10.1.${at >> 6}.${(at % 64) * 4 + i}`, 1n)
  const sums = async () => {
    const rows = await bench.readback.counters()
    return watched.map((at) =>
      rows
        .filter((row) => row.service === `n/s${at}`)
        .reduce((sum, { connections }) => sum + connections, 0),
    )
  }
  const before = await sums()
  t.ok(before.every((sum) => sum >= 3))
  let revision = 1
  for (const wait of [0, 1, 2, 3, 4])
    for (const gone of [1, -1, 2, -1]) {
      const reading = sums()
      for (let turn = 0; turn < wait; turn++) await new Promise((done) => setImmediate(done))
      for (const at of watched) specs[at] = specOf(at, gone)
      bench.reconciler.apply(state(++revision, [NETWORK], specs))
      t.same(await reading, before, `read while ${gone} left after ${wait} turns`)
      await bench.reconciler.idle()
    }
  const own = async (at: number) =>
    (await bench.readback.counters(`n/s${at}`)).reduce((sum, row) => sum + row.connections, 0)
  t.same([await own(3), await own(600), await own(COUNT - 3)], before, 'a service by itself')
  t.same(await bench.readback.counters('n/nobody'), [])
})

async function reopened(bench: Bench, pinPath: string): Promise<Bench> {
  await bench.close()
  return Bench.open(pinPath)
}

kernelTest(t, 'scopes of sockets follow the networks in order', async (t, pinPath) => {
  const bench = await Bench.open(pinPath)
  t.teardown(async () => bench.close())
  const networks = Array.from({ length: 9 }, (_, i) => network(`n${i}`))
  bench.reconciler.setSockets(new Map(networks.map(({ name }) => [name, [1000n]])))
  await settle(bench, 1, networks.slice(0, 2), [])
  const id = (name: string) => bench.installer.ids.networks.get(name)
  t.same(entry(bench, 'netnses', 1000n), { networks: [id('n0'), id('n1'), 0, 0, 0, 0, 0, 0] })
  await settle(bench, 2, networks, [])
  t.match(bench.problems, [{ item: 'netns 1000', reason: /first 8/ }])
  bench.reconciler.setSockets(new Map())
  await bench.reconciler.idle()
  t.equal(bench.maps.get('netnses').count(), 0)
  t.same(bench.problems, [])
})

kernelTest(t, 'only the newest of many states is written', async (t, pinPath) => {
  const bench = await Bench.open(pinPath)
  t.teardown(async () => bench.close())
  for (let revision = 1; revision <= 50; revision++)
    bench.reconciler.apply(state(revision, [NETWORK], many(revision)))
  await bench.reconciler.settled(50)
  await bench.reconciler.idle()
  t.equal(bench.maps.get('services').count(), 50)
  t.ok(bench.reconciler.stats.cycles <= 3, `${bench.reconciler.stats.cycles} cycles`)
})

kernelTest(
  t,
  'leaving does not wait for a long cycle; the next agent goes on',
  async (t, pinPath) => {
    const first = await Bench.open(pinPath)
    const services = many(1900)
    first.reconciler.apply(state(1, [NETWORK], services))
    while (first.installer.installed.size === 0) await sleep(1)
    await first.close()
    const { size } = first.installer.installed
    t.ok(size > 0 && size < services.length / 2, `${size} are in the kernel`)
    t.equal(first.reconciler.stats.revision, 0)

    const second = await Bench.open(pinPath, { sweepIntervalMs: 30 })
    t.teardown(async () => second.close())
    t.equal(second.installer.installed.size, size, 'each of them whole')
    t.equal(second.installer.ids.services.get('n/s0'), first.installer.ids.services.get('n/s0'))
    await settle(second, 1, [NETWORK], services.slice(0, 100))
    t.equal(second.installer.installed.size, 100)
    t.same(second.problems, [])
    const { cycles } = second.reconciler.stats
    while (second.reconciler.stats.cycles < cycles + 2) await sleep(10)
    t.equal(second.reconciler.stats.repaired, 0, 'a sweep finds nothing')
  },
)
