/** Runs the sweep over the flow tables, no more often than costs a hundredth of one core. */
import { Worker } from 'node:worker_threads'
import type { Log } from '../host/log.js'
import type { SweepData, SweepResult } from './sweepThread.js'

const THREAD = new URL('./sweepThread.js', import.meta.url)
const MIN_INTERVAL_MS = 5_000
/** Of a core; half of what is promised. */
const SHARE = 0.005
const RESTART_MS = 30_000

export class Sweeper {
  readonly #data: SweepData
  readonly #log: Log
  readonly #onResult: (result: SweepResult) => void
  #worker: Worker | undefined
  #timer: NodeJS.Timeout | undefined
  #closed = false
  #last: SweepResult | undefined

  /** Starts at once. */
  constructor(data: SweepData, onResult: (result: SweepResult) => void, log: Log) {
    this.#data = data
    this.#onResult = onResult
    this.#log = log
    this.#start()
  }

  /** What the last run found; undefined before the first. */
  get last(): SweepResult | undefined {
    return this.#last
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#worker?.terminate()
  }

  #start(): void {
    if (this.#closed) return
    const worker = new Worker(THREAD, { workerData: this.#data })
    worker.unref()
    worker.on('message', (result: SweepResult) => {
      this.#last = result
      this.#onResult(result)
      this.#later(() => worker.postMessage(0), pauseMs(result.seconds))
    })
    worker.on('error', (error) => {
      this.#log.warn({ err: error }, 'the flow tables cannot be swept, will be tried again')
      this.#later(() => this.#start(), RESTART_MS)
    })
    worker.postMessage(0)
    this.#worker = worker
  }

  #later(step: () => void, delayMs: number): void {
    if (this.#closed) return
    this.#timer = setTimeout(step, delayMs)
    this.#timer.unref()
  }
}

/** @param seconds that a run took; @returns how long to wait before the next, at least 5,000 */
export function pauseMs(seconds: number): number {
  return Math.max(MIN_INTERVAL_MS, Math.round((seconds / SHARE) * 1000))
}
