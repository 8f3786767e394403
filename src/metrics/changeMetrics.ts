/** How long changes take from being seen to being in force, and whether sources are followed. */
import type { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { ChangeObserver, ChangePlace, SourceObserver } from '../model/observe.js'
import { definitions } from './definitions.js'
import { counter, gauge, histogram } from './series.js'

interface Change {
  readonly source: string
  readonly seenMs: number
  readonly revision: number
}

/** While a kernel or DNS does not take them, changes pile up; the oldest tell the most. */
const MOST_WAITING = 1024

export class ChangeMetrics implements ChangeObserver, SourceObserver {
  readonly #lag: Histogram
  readonly #current: Gauge
  readonly #snapshots: Counter
  readonly #snapshotTime: Gauge
  #telling: Omit<Change, 'revision'> | undefined
  readonly #waiting: Record<ChangePlace, Change[]> = { kernel: [], dns: [] }

  constructor(registry: Registry) {
    this.#lag = histogram(definitions.changeLag, registry)
    this.#current = gauge(definitions.sourceCurrent, registry)
    this.#snapshots = counter(definitions.sourceSnapshots, registry)
    this.#snapshotTime = gauge(definitions.sourceSnapshotTime, registry)
  }

  during(source: string, seenMs: number, tell: () => void): void {
    this.#telling = { source, seenMs }
    try {
      tell()
    } finally {
      this.#telling = undefined
    }
  }

  stated(revision: number): void {
    if (this.#telling === undefined) return
    const change = { ...this.#telling, revision }
    for (const waiting of Object.values(this.#waiting))
      if (waiting.length < MOST_WAITING) waiting.push(change)
  }

  reached(place: ChangePlace, revision: number): void {
    const now = performance.now()
    const waiting = this.#waiting[place]
    for (const { source, seenMs, revision: made } of [...waiting]) {
      if (made > revision) break
      waiting.shift()
      this.#lag.observe({ source, reached: place }, (now - seenMs) / 1000)
    }
  }

  published(source: string, stale: boolean): void {
    this.current(source, !stale)
    if (stale) return
    this.#snapshots.inc({ source })
    this.#snapshotTime.set({ source }, Date.now() / 1000)
  }

  current(source: string, current: boolean): void {
    this.#current.set({ source }, current ? 1 : 0)
  }
}
