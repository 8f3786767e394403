/** The sweep over flow tables with a million rows, as the agent runs it: its thread and its pauses. */
import type { Value } from 'libbpf-ts'
import { join } from 'node:path'
import { DEFAULT_TIMERS, sweepKnobs } from '../../src/dataplane/programs.js'
import { Sweeper } from '../../src/dataplane/sweep.js'
import {
  openSweep,
  runSweep,
  type SweepData,
  type SweepResult,
} from '../../src/dataplane/sweepThread.js'
import { readTick } from '../../src/host/clock.js'
import { silent } from '../../src/host/log.js'
import { Model } from '../../src/model/model.js'
import { put, ScaleScene, services, snapshot } from './scene.js'
import { median } from './timed.js'

export interface Sweeps {
  readonly flows: number
  /** Seconds of one run, the median. */
  readonly runSeconds: number
  /** From the beginning of a run to that of the next, the mean. */
  readonly intervalSeconds: number
  /** CPU time of the whole process in percent of one core, pauses included. */
  readonly percent: number
}

/** Half of them of each family. */
const FLOWS = 1_000_000
/** Per family; an LRU table evicts before it is full. */
const ROOM = 640_000
const SERVICES = 100
const BUDGET_MS = 300_000
const CLIENT_PORTS = 50_000
const NOBODY = { id: 0, service: 0, incarnation: 0 }

interface Backend {
  readonly id: number
  readonly service: number
  readonly incarnation: number
}

/** @param count with their pauses, after one that is not counted: a thread starts, counts are put right */
export async function measureSweeps(count: number): Promise<Sweeps> {
  const model = new Model({ sources: ['bench'] })
  const scene = await ScaleScene.open(undefined, undefined, ROOM)
  const { hz } = await readTick()
  const data = {
    objectFile: join(import.meta.dirname, '../../bpf/sweep.bpf.o'),
    maps: scene.maps.pins.maps,
    rodata: sweepKnobs({ hz, timers: DEFAULT_TIMERS }),
  }
  try {
    await put(scene, model.publish('bench', snapshot(services(SERVICES))))
    if (scene.problems.length > 0) throw new Error(scene.problems[0]?.reason)
    fill(scene, jiffiesNow(data))
    return await share(data, count)
  } finally {
    await scene.remove()
  }
}

/** Established TCP connections, spread over all backends. */
function fill(scene: ScaleScene, jiffies: number): void {
  const all = backendsOf(scene)
  const established = scene.maps.constants.flow.established
  function* rows(family: 4 | 6): Generator<[Value, Value]> {
    for (let n = 0; n < FLOWS / 2; n++) {
      const backend = all[n % all.length] ?? NOBODY
      const low = 0x0b000000 + Math.floor(n / CLIENT_PORTS)
      const own = { client_port: 1024 + (n % CLIENT_PORTS), protocol: 6, pad: 0 }
      const client = family === 4 ? low : [0xfd000000, 0, 0, low]
      const flow = {
        ...{ vip_port: 80, client_port: own.client_port, backend_port: 8080, flags: established },
        ...{ service: backend.service, backend: backend.id, incarnation: backend.incarnation },
        last_seen: jiffies,
        observed: 0,
      }
      const vip = family === 4 ? 0x0a000100 : [0xfd090000, 0, 0, 1]
      yield [
        { network: 1, client, ...own },
        { flow, vip },
      ]
    }
  }
  for (const family of [4, 6] as const) scene.maps.get(`flows${family}`).setMany(rows(family))
}

function backendsOf({ installer, maps }: ScaleScene): Backend[] {
  const rows = maps.get('backends')
  return [...installer.ids.backends.entries()].map(([id, { service }]) => {
    const row = rows.get(id) as Record<string, number> | undefined
    return { id, service, incarnation: row?.['incarnation'] ?? 0 }
  })
}

function jiffiesNow(data: SweepData): number {
  const object = openSweep(data)
  try {
    return runSweep(object).tick.jiffies
  } finally {
    object.close()
  }
}

/** Ends after so many, or when its time is over. */
async function share(data: SweepData, count: number): Promise<Sweeps> {
  const runs: SweepResult[] = []
  let used = process.cpuUsage()
  let started = 0
  const first = (): void => {
    started = performance.now()
    used = process.cpuUsage()
  }
  await swept(data, (result) => {
    if (runs.push(result) === 1) first()
    return runs.length > count
  })
  const seconds = (performance.now() - started) / 1000
  const { user, system } = process.cpuUsage(used)
  const later = runs.slice(1)
  if (later.length === 0) throw new Error('no sweep came to an end')
  return {
    flows: Math.min(...later.map(({ kept }) => kept)),
    runSeconds: median(later.map((one) => one.seconds)),
    intervalSeconds: seconds / later.length,
    percent: (user + system) / 1e4 / seconds,
  }
}

/** @param isLast told of each run, until it says so */
async function swept(data: SweepData, isLast: (result: SweepResult) => boolean): Promise<void> {
  let sweeper: Sweeper | undefined
  let deadline: NodeJS.Timeout | undefined
  try {
    await new Promise<void>((resolve, reject) => {
      const warn = (fields: object, message: string) => {
        reject(new Error(message, { cause: fields }))
      }
      const onResult = (result: SweepResult) => {
        if (isLast(result)) resolve()
      }
      sweeper = new Sweeper(data, onResult, { ...silent, warn })
      deadline = setTimeout(resolve, BUDGET_MS)
    })
  } finally {
    clearTimeout(deadline)
    await sweeper?.close()
  }
}
