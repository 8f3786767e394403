/** Kernel memory: what so many flows and services take. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { NetLab, run } from '../../test/lib/netns.js'
import { Stage } from '../frame/stage.js'
import type { Demand, Subject } from '../frame/subject.js'

const BENCH = join(import.meta.dirname, '..')
const COUNTED = ['SUnreclaim', 'VmallocUsed', 'Percpu']
/** Namespaces and maps are taken away some time after they were given up. */
const SETTLE_MS = 400
const SETTLE_TRIES = 12
const STEADY_BYTES = 200_000

/** Bytes that the kernel has taken for itself and will not give back for the asking. */
function kernelBytes(): number {
  const lines = readFileSync('/proc/meminfo', 'utf8').split('\n')
  const of = (name: string) =>
    Number(/\d+/.exec(lines.find((line) => line.startsWith(`${name}:`)) ?? '')?.[0] ?? NaN)
  return COUNTED.reduce((sum, name) => sum + of(name), 0) * 1024
}

async function settledBytes(): Promise<number> {
  let bytes = kernelBytes()
  for (let at = 0; at < SETTLE_TRIES; at++) {
    await sleep(SETTLE_MS)
    const before = bytes
    bytes = kernelBytes()
    if (Math.abs(bytes - before) < STEADY_BYTES) break
  }
  return bytes
}

export interface Load extends Demand {
  /** That are opened; there is room for as many. */
  readonly flows: number
}

/** What a subject has taken with a load, its stage included. */
export async function memoryOf(subject: Subject, load: Load): Promise<number> {
  const lab = new NetLab(undefined, 'b')
  try {
    const before = await settledBytes()
    const stage = await Stage.build(lab, subject.shape, 'm', subject.wholeChecksums ?? false)
    const inForce = await subject.setUp(stage, load)
    await stage.settle()
    const given = [`count=${load.flows}`, 'warm=0', 'flows=0', 'first=0', 'sink=socket']
    await run(
      join(BENCH, 'traffic'),
      ['frames', ...(await stage.ways(inForce)), `object=${BENCH}/frames.bpf.o`, ...given],
      { timeoutMs: 60_000 },
    )
    const after = await settledBytes()
    await inForce.tearDown()
    return after - before
  } finally {
    await lab.close()
  }
}
