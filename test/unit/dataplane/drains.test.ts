/** Deadlines of backends that take no more, on maps in the kernel. */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { BackendState, Service } from '../../../src/model/types.js'
import { Bench, kernelTest } from './bench.js'
import { backend, network, service, state, WORDS } from './fixtures.js'

const NETWORK = network('n', { subnets: ['10.0.0.0/8', 'fd00::/16'] })
const FAMILIES = { 4: ['10.0.0.1', '10.0.0.2'], 6: ['fd00::1', 'fd00::2'] } as const

interface Row {
  readonly service: number
  readonly incarnation: number
  readonly flags: number
}

let revision = 0

async function settle(bench: Bench, wanted: Service): Promise<void> {
  const next = state(++revision, [NETWORK], [wanted])
  bench.reconciler.apply(next)
  await bench.reconciler.settled(next.revision)
  await bench.reconciler.idle()
}

function rowOf(bench: Bench, address: string): Row | undefined {
  const { ids } = bench.installer
  const id = ids.backends.get(ids.services.get('n/a') ?? 0, address)
  return id === undefined ? undefined : (bench.maps.get('backends').get(id) as unknown as Row)
}

const clocks = (bench: Bench): number => bench.maps.get('drains').count()

for (const [family, [first, second]] of Object.entries(FAMILIES)) {
  /** @param states those that are absent are removed */
  const serving = (
    drainSeconds: number | undefined,
    ...states: (BackendState | undefined)[]
  ): Service =>
    service('n/a', {
      vips: ['10.0.0.9', 'fd00::9'],
      ...(drainSeconds !== undefined && { drainSeconds }),
      backends: [first, second].flatMap((address, i) => {
        const is = states[i]
        return is === undefined ? [] : [backend(address, { state: is })]
      }),
    })

  kernelTest(t, `IPv${family}: a draining backend has a deadline`, async (t, pinPath) => {
    const bench = await Bench.open(pinPath)
    t.teardown(async () => bench.close())
    await settle(bench, serving(0.4, 'active', 'active'))
    const before = rowOf(bench, first)
    const endings = bench.installer.endings
    t.equal(clocks(bench), 0)
    await settle(bench, serving(0.4, 'draining', 'active'))
    t.same(rowOf(bench, first), { ...before, flags: (before?.flags ?? 0) | WORDS.closed })
    t.equal(clocks(bench), 1)
    await sleep(600)
    await bench.reconciler.idle()
    const after = rowOf(bench, first)
    t.equal(after?.service, before?.service, 'the row stays')
    t.not(after?.incarnation, before?.incarnation, 'its flows have ended')
    t.equal(bench.installer.endings, endings + 1, 'and sockets are to be looked at')
    await settle(bench, { ...serving(0.4, 'draining', 'active'), ttlSeconds: 1 })
    await sleep(600)
    t.same(rowOf(bench, first), after, 'once')
    t.same(bench.problems, [])
    await settle(bench, serving(0.4, 'active', 'active'))
    t.equal(clocks(bench), 0)
    t.equal(rowOf(bench, first)?.incarnation, after?.incarnation)
  })

  kernelTest(t, `IPv${family}: without one its flows go on`, async (t, pinPath) => {
    const bench = await Bench.open(pinPath)
    t.teardown(async () => bench.close())
    await settle(bench, serving(undefined, 'active', 'active'))
    const before = rowOf(bench, first)
    await settle(bench, serving(undefined, 'draining', 'active'))
    await sleep(300)
    t.equal(rowOf(bench, first)?.incarnation, before?.incarnation)
    await settle(bench, serving(0.1, 'draining', 'active'))
    t.not(rowOf(bench, first)?.incarnation, before?.incarnation, 'it holds from the beginning')
    await settle(bench, serving(undefined, undefined, 'active'))
    t.notOk(rowOf(bench, first)?.service, 'removed: gone at once')
  })

  kernelTest(t, `IPv${family}: a removed backend stays until then`, async (t, pinPath) => {
    const bench = await Bench.open(pinPath)
    t.teardown(async () => bench.close())
    await settle(bench, serving(0.5, 'active', 'active'))
    const before = rowOf(bench, first)
    await settle(bench, serving(0.5, undefined, 'active'))
    t.same(rowOf(bench, first), { ...before, flags: (before?.flags ?? 0) | WORDS.closed })
    await settle(bench, serving(0.5, 'active', 'active'))
    t.same(rowOf(bench, first), before, 'as if nothing had been, if it comes back')
    t.equal(clocks(bench), 0)
    await settle(bench, serving(0.5, undefined, undefined))
    t.same([rowOf(bench, first)?.service, clocks(bench)], [before?.service, 2], 'the last one, too')
    await sleep(700)
    await bench.reconciler.idle()
    t.equal(rowOf(bench, first), undefined, 'its id is given back')
    t.equal(clocks(bench), 0)
    const vips = bench.maps.get(family === '4' ? 'vips4' : 'vips6')
    t.equal(vips.count(), 1, 'and its address')
  })

  kernelTest(t, `IPv${family}: no deadline for who serves as the last`, async (t, pinPath) => {
    const bench = await Bench.open(pinPath)
    t.teardown(async () => bench.close())
    await settle(bench, serving(0.2, 'active', 'active'))
    const before = rowOf(bench, first)
    await settle(bench, serving(0.2, 'draining', 'down'))
    t.equal(rowOf(bench, first)?.flags, before?.flags, 'it takes new ones')
    await sleep(400)
    await bench.reconciler.idle()
    t.equal(rowOf(bench, first)?.incarnation, before?.incarnation)
    await settle(bench, serving(0.2, 'draining', 'active'))
    t.equal(clocks(bench), 1)
    await sleep(400)
    await bench.reconciler.idle()
    t.not(rowOf(bench, first)?.incarnation, before?.incarnation)
  })

  for (const gone of [false, true]) {
    const what = gone ? 'removed' : 'draining'
    kernelTest(t, `IPv${family}: the next agent goes on, ${what}`, async (t, pinPath) => {
      const wanted = serving(0.8, gone ? undefined : 'draining', 'active')
      const bench = await Bench.open(pinPath)
      await settle(bench, serving(0.8, 'active', 'active'))
      const before = rowOf(bench, first)
      await settle(bench, wanted)
      const since = performance.now()
      await bench.close()
      const next = await Bench.open(pinPath)
      t.teardown(async () => next.close())
      await settle(next, wanted)
      if (performance.now() - since < 700)
        t.equal(rowOf(next, first)?.incarnation, before?.incarnation, 'not yet')
      await sleep(900 - (performance.now() - since))
      await next.reconciler.idle()
      if (gone) t.notOk(rowOf(next, first)?.service)
      else t.not(rowOf(next, first)?.incarnation, before?.incarnation)
      const ended = rowOf(next, first)
      await next.close()
      const last = await Bench.open(pinPath)
      t.teardown(async () => last.close())
      await settle(last, wanted)
      if (gone) t.equal(clocks(last), 0)
      else t.same(rowOf(last, first), ended, 'what has ended ends once, whoever looks')
    })
  }

  kernelTest(t, `IPv${family}: the agent's default, and a service's own`, async (t, pinPath) => {
    const bench = await Bench.open(pinPath, { drainSeconds: 3600 })
    t.teardown(async () => bench.close())
    await settle(bench, serving(undefined, 'active', 'active'))
    const before = rowOf(bench, first)
    await settle(bench, serving(undefined, undefined, 'active'))
    t.equal(rowOf(bench, first)?.incarnation, before?.incarnation, 'an hour')
    await settle(bench, serving(0, undefined, 'active'))
    t.notOk(rowOf(bench, first)?.service, 'none')
  })
}
