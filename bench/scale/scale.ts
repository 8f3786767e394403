/**
 * What the agent needs to put many services into the kernel, and to change one of them.
 * usage: scale.js [--services N] [--changes N] [--json FILE]
 * Exits with 1 when an aim is missed. Nothing is attached; no packet is sent.
 */
import { writeFileSync } from 'node:fs'
import { cpus, release } from 'node:os'
import { parseArgs } from 'node:util'
import { Model } from '../../src/model/model.js'
import type { ServiceSpec, State } from '../../src/model/types.js'
import { ScaleScene, services, serviceSpec, snapshot } from './scene.js'

/** Milliseconds. */
const AIMS = { coldSync: 1_000, changeP99: 10 } as const

interface Results {
  /** Merging the source's snapshot into a state. */
  mergeMs: number
  /** From the state to all rows in empty maps. */
  coldSyncMs: { wall: number; cpu: number }
  /** The same with the rows of an earlier agent in the maps: read, compared, left. */
  adoptMs: { wall: number; cpu: number }
  rowsWritten: number
  /** From Model.publish() to the rows in the kernel, one backend of one service replaced. */
  changeMs: { p50: number; p99: number; max: number }
  /** The same from the state on: what the dataplane takes of it. */
  changeKernelMs: { p50: number; p99: number; max: number }
  /** As `changeMs`, but by setStates(), as a health check tells it. */
  stateChangeMs: { p50: number; p99: number; max: number }
}

function quantiles(values: readonly number[]): { p50: number; p99: number; max: number } {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0
  return { p50: at(0.5), p99: at(0.99), max: at(1) }
}

async function timed(action: () => Promise<void> | void): Promise<number> {
  return (await timedBoth(action)).wall
}

/** Both, because on a machine that others use the wall clock tells of them. */
async function timedBoth(
  action: () => Promise<void> | void,
): Promise<{ wall: number; cpu: number }> {
  const used = process.cpuUsage()
  const started = performance.now()
  await action()
  const wall = performance.now() - started
  const { user, system } = process.cpuUsage(used)
  return { wall, cpu: (user + system) / 1000 }
}

async function put(scene: ScaleScene, state: State): Promise<void> {
  scene.reconciler.apply(state)
  await scene.reconciler.settled(state.revision)
}

async function changes(scene: ScaleScene, model: Model, specs: ServiceSpec[], count: number) {
  const whole: number[] = []
  const kernel: number[] = []
  for (let i = 0; i < count; i++) {
    const index = (i * 7919) % (specs.length - 1)
    specs[index] = serviceSpec(index, 10, i + 1)
    const next = snapshot([...specs])
    const started = performance.now()
    const state = model.publish('bench', next)
    const merged = performance.now()
    await put(scene, state)
    whole.push(performance.now() - started)
    kernel.push(performance.now() - merged)
    // The ids that were given up are returned after a grace, not during the next change.
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return { whole: quantiles(whole), kernel: quantiles(kernel) }
}

async function stateChanges(scene: ScaleScene, model: Model, count: number) {
  const keys = [...model.current.services.keys()]
  const took: number[] = []
  for (let i = 0; i < count; i++) {
    const key = keys[(i * 7919) % keys.length] ?? ''
    const address = model.declared.get(key)?.backends[0]?.address ?? ''
    const states = new Map([[key, new Map([[address, 'down' as const]])]])
    took.push(await timed(() => put(scene, model.setStates(states))))
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return quantiles(took)
}

async function measure(count: number, changeCount: number): Promise<Results> {
  const model = new Model({ sources: ['bench'] })
  const specs = services(count)
  let scene = await ScaleScene.open()
  try {
    let state = model.current
    const mergeMs = await timed(() => void (state = model.publish('bench', snapshot(specs))))
    const coldSyncMs = await timedBoth(() => put(scene, state))
    if (scene.problems.length > 0) throw new Error(scene.problems[0]?.reason)
    const rowsWritten = scene.reconciler.writes
    await scene.close()
    const adoptMs = await timedBoth(async () => {
      scene = await ScaleScene.open(scene.pinPath)
      await put(scene, state)
    })
    const written = scene.reconciler.writes
    if (written > 0) throw new Error(`adopting wrote ${written} rows`)
    const { whole, kernel } = await changes(scene, model, specs, changeCount)
    const stateChangeMs = await stateChanges(scene, model, changeCount)
    if (scene.problems.length > 0) throw new Error(scene.problems[0]?.reason)
    return {
      mergeMs,
      coldSyncMs,
      adoptMs,
      rowsWritten,
      changeMs: whole,
      changeKernelMs: kernel,
      stateChangeMs,
    }
  } finally {
    await scene.remove()
  }
}

function rounded(value: unknown): unknown {
  if (typeof value === 'number') return Math.round(value * 100) / 100
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, rounded(each)]))
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      services: { type: 'string', default: '10000' },
      changes: { type: 'string', default: '500' },
      json: { type: 'string' },
    },
  })
  const count = Number(values.services)
  const results = await measure(count, Number(values.changes))
  const document = {
    machine: {
      cpu: cpus()[0]?.model,
      cpus: cpus().length,
      kernel: release(),
      node: process.version,
    },
    services: count,
    aims: AIMS,
    results: rounded(results),
  }
  console.log(JSON.stringify(document, null, 2))
  if (values.json !== undefined)
    writeFileSync(values.json, `${JSON.stringify(document, null, 2)}\n`)
  const missed = [
    ...(results.coldSyncMs.wall > AIMS.coldSync ? ['cold sync'] : []),
    ...(results.changeMs.p99 > AIMS.changeP99 ? ['one change, p99'] : []),
  ]
  for (const aim of missed) console.log(`above the aim: ${aim}`)
  return missed.length > 0 ? 1 : 0
}

process.exitCode = await main()
