/** How long the dataplane's own work takes. */
import type { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { FlowSweep, WorkObserver } from '../model/observe.js'
import { definitions } from './definitions.js'
import { counter, gauge, histogram } from './series.js'

export class WorkMetrics implements WorkObserver {
  readonly #reconcile: Histogram
  readonly #sweep: Histogram
  readonly #kept: Gauge
  readonly #deleted: Counter
  readonly #mended: Counter

  constructor(registry: Registry) {
    this.#reconcile = histogram(definitions.reconcileTime, registry)
    this.#sweep = histogram(definitions.sweepTime, registry)
    this.#kept = gauge(definitions.sweepKept, registry)
    this.#deleted = counter(definitions.sweepDeleted, registry)
    this.#mended = counter(definitions.sweepMended, registry)
  }

  reconciled(seconds: number): void {
    this.#reconcile.observe(seconds)
  }

  swept({ kept, deleted, mended, seconds }: FlowSweep): void {
    this.#sweep.observe(seconds)
    this.#kept.set(kept)
    this.#deleted.inc(deleted)
    this.#mended.inc(mended)
  }
}
