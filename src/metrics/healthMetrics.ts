/** What the health source has found, on scrape; and how long its checks took, as they end. */
import type { Histogram, Registry } from 'prom-client'
import type { HealthChecked, HealthObserver, HealthReport } from '../model/observe.js'
import { definitions } from './definitions.js'
import * as from from './samples.js'
import { histogram, TotalCounter, TotalGauge } from './series.js'

export class HealthMetrics implements HealthObserver {
  readonly #checks: TotalCounter
  readonly #duration: Histogram
  readonly #healthy: TotalGauge
  readonly #failOpen: TotalGauge
  readonly #belowQuorum: TotalGauge

  constructor(registry: Registry) {
    this.#checks = new TotalCounter(definitions.healthChecks, registry)
    this.#duration = histogram(definitions.healthCheckDuration, registry)
    this.#healthy = new TotalGauge(definitions.backendHealthy, registry)
    this.#failOpen = new TotalGauge(definitions.healthFailOpen, registry)
    this.#belowQuorum = new TotalGauge(definitions.healthBelowQuorum, registry)
  }

  checked({ type, result, seconds }: HealthChecked): void {
    this.#duration.observe({ type, result }, seconds)
  }

  /** @param detailed backends have series of their own */
  show(report: HealthReport | undefined, detailed: boolean): void {
    if (report === undefined) return
    this.#checks.samples = () => from.checkSamples(report)
    this.#healthy.samples = () => (detailed ? from.healthySamples(report) : [])
    this.#failOpen.samples = () => from.familySamples(report, 'failOpen')
    this.#belowQuorum.samples = () => from.familySamples(report, 'belowQuorum')
  }
}
