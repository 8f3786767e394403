/** One backend of one service replaced: from publish to the rows in the kernel. */
import { setTimeout as sleep } from 'node:timers/promises'
import { buildZone, type Zone, type ZoneOptions } from '../../src/dns/zone.js'
import { Model } from '../../src/model/model.js'
import type { State } from '../../src/model/types.js'
import { put, ScaleScene, services, serviceSpec, snapshot } from './scene.js'
import { median, quantile, timed, type Timed } from './timed.js'

/** Milliseconds. */
export interface Changes {
  readonly wallP50: number
  readonly wallP99: number
  readonly cpuP50: number
  readonly cpuP99: number
  /** As a health check tells it, by setStates(). */
  readonly stateWallP50: number
  readonly stateWallP99: number
  readonly stateCpuP99: number
  /** A service more, and one less, in turns: all of them are merged. */
  readonly comeWallP50: number
  readonly comeWallP99: number
  readonly comeCpuP50: number
  /** While a sweep over all maps is under way. */
  readonly sweepWallP50: number
  readonly sweepWallP99: number
  /** What the names of the new state take, after the kernel has it. */
  readonly zoneP50: number
}

const ZONE: ZoneOptions = { negativeTtlSeconds: 5, forwardSingleLabel: false }
/** The ids that were given up are returned after a grace, not during the next change. */
const PAUSE_MS = 10

export async function measureChanges(count: number, changes: number): Promise<Changes> {
  const model = new Model({ sources: ['bench'] })
  const specs = services(count)
  const scene = await ScaleScene.open()
  const zoneTimes: number[] = []
  let zone: Zone | undefined
  let generation = 0
  const prepareNames = (state: State) => {
    const started = performance.now()
    zone = buildZone(state, undefined, ZONE, zone)
    zoneTimes.push(performance.now() - started)
  }
  const replaceOne = async (on: ScaleScene): Promise<Timed> => {
    const index = (++generation * 7919) % (specs.length - 1)
    specs[index] = serviceSpec(index, 10, generation)
    const next = snapshot([...specs])
    const taken = await timed(() => put(on, model.publish('bench', next)))
    prepareNames(model.current)
    await sleep(PAUSE_MS)
    return taken
  }
  const extra = serviceSpec(count + 1, 10)
  const comeOrGo = async (): Promise<Timed> => {
    const next = snapshot(++generation % 2 === 0 ? [...specs] : [...specs, extra])
    const taken = await timed(() => put(scene, model.publish('bench', next)))
    prepareNames(model.current)
    await sleep(PAUSE_MS)
    return taken
  }
  const setOneDown = async (): Promise<Timed> => {
    const keys = [...model.current.services.keys()]
    const key = keys[(++generation * 7919) % keys.length] ?? ''
    const address = model.declared.get(key)?.backends[0]?.address ?? ''
    const states = new Map([[key, new Map([[address, 'down' as const]])]])
    const taken = await timed(() => put(scene, model.setStates(states)))
    prepareNames(model.current)
    await sleep(PAUSE_MS)
    return taken
  }
  try {
    await put(scene, model.publish('bench', snapshot(specs)))
    prepareNames(model.current)
    const plain = await repeat(changes, () => replaceOne(scene))
    const states = await repeat(changes, setOneDown)
    const come = await repeat(changes, comeOrGo)
    await scene.close()
    const swept = await ScaleScene.open(scene.pinPath, 1)
    await put(swept, model.current)
    const sweeping = await repeat(changes, () => replaceOne(swept))
    await swept.close()
    if (scene.problems.length > 0) throw new Error(scene.problems[0]?.reason)
    return {
      ...{ wallP50: median(plain.map(wall)), wallP99: quantile(plain.map(wall), 0.99) },
      ...{ cpuP50: median(plain.map(cpu)), cpuP99: quantile(plain.map(cpu), 0.99) },
      ...{ stateWallP50: median(states.map(wall)), stateWallP99: quantile(states.map(wall), 0.99) },
      stateCpuP99: quantile(states.map(cpu), 0.99),
      ...{ comeWallP50: median(come.map(wall)), comeWallP99: quantile(come.map(wall), 0.99) },
      comeCpuP50: median(come.map(cpu)),
      sweepWallP50: median(sweeping.map(wall)),
      sweepWallP99: quantile(sweeping.map(wall), 0.99),
      zoneP50: median(zoneTimes.slice(1)),
    }
  } finally {
    await scene.remove()
  }
}

const wall = (each: Timed): number => each.wall
const cpu = (each: Timed): number => each.cpu

async function repeat(count: number, action: () => Promise<Timed>): Promise<Timed[]> {
  const results: Timed[] = []
  for (let i = 0; i < count; i++) results.push(await action())
  return results
}
