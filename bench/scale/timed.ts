/** Wall and CPU time; on a machine that others use the wall clock tells of them. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Timed {
  /** Milliseconds, as `cpu`. */
  readonly wall: number
  /** Of all threads of the process. */
  readonly cpu: number
}

export async function timed(action: () => Promise<void> | void): Promise<Timed> {
  const used = process.cpuUsage()
  const started = performance.now()
  await action()
  const wall = performance.now() - started
  const { user, system } = process.cpuUsage(used)
  return { wall, cpu: (user + system) / 1000 }
}

/** Milliseconds too: the longest that the event loop was held up. */
export type Held = Timed & { readonly held: number }

export async function timedAndHeld(action: () => Promise<void>): Promise<Held> {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const taken = await timed(action)
  // The histogram hears of the last stretch by its next tick.
  await sleep(20)
  delay.disable()
  return { ...taken, held: delay.max / 1e6 }
}

/** @param share 0..1 */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}
