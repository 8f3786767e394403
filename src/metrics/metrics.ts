/**
 * The metrics sink: its own registry, filled on scrape from the desired state and from what the
 * kernel side tells. It reads; it never changes anything.
 */
import { collectDefaultMetrics, Registry } from 'prom-client'
import type { DnsObserver } from '../model/observe.js'
import type { Readback, ReasonCount } from '../model/readback.js'
import type { State } from '../model/types.js'
import { definitions } from './definitions.js'
import { DnsMetrics } from './dnsMetrics.js'
import { labelText } from './labels.js'
import * as samples from './samples.js'
import { counter, TotalCounter, TotalGauge, type Sample } from './series.js'

export interface MetricsOptions {
  readonly readback: Readback
  /** The desired state as it is now. */
  readonly state: () => State
  readonly version: string
  /** Release of the running kernel. */
  readonly kernel: string
}

/** Gauges of prom-client's that end in _total, which is for counters; each has a twin without. */
const misnamedGauges = ['handles', 'requests', 'resources'].map(
  (what) => `fairlead_nodejs_active_${what}_total`,
)

export class Metrics {
  /** For the DNS sink to report to. */
  readonly dns: DnsObserver
  readonly #options: MetricsOptions
  readonly #registry = new Registry()
  readonly #wanted: WantedSeries
  readonly #kernel: KernelSeries
  #rendering: Promise<string> | undefined

  constructor(options: MetricsOptions) {
    this.#options = options
    this.#kernel = new KernelSeries(this.#registry)
    this.#wanted = new WantedSeries(this.#registry)
    this.dns = new DnsMetrics(this.#registry)
    new TotalGauge(definitions.buildInfo, this.#registry).set(
      { version: options.version, node: process.version, kernel: labelText(options.kernel) },
      1,
    )
    collectDefaultMetrics({ register: this.#registry, prefix: 'fairlead_' })
    for (const name of misnamedGauges) this.#registry.removeSingleMetric(name)
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  /**
   * The exposition text, newline-terminated. Reads the kernel once; a call that comes while another
   * is under way shares its reading. A failure to read the kernel leaves its series out.
   */
  render(): Promise<string> {
    this.#rendering ??= this.#render().finally(() => {
      this.#rendering = undefined
    })
    return this.#rendering
  }

  async #render(): Promise<string> {
    this.#wanted.replace(this.#options.state())
    this.#kernel.read(this.#options.readback)
    return this.#registry.metrics()
  }
}

/** What the desired state says. */
class WantedSeries {
  readonly #info: TotalGauge
  readonly #weight: TotalGauge
  readonly #backendState: TotalGauge
  readonly #networks: TotalGauge
  readonly #services: TotalGauge
  readonly #revision: TotalGauge
  readonly #problems: TotalGauge

  constructor(registry: Registry) {
    this.#info = new TotalGauge(definitions.serviceInfo, registry)
    this.#weight = new TotalGauge(definitions.backendWeight, registry)
    this.#backendState = new TotalGauge(definitions.backendState, registry)
    this.#networks = new TotalGauge(definitions.networks, registry)
    this.#services = new TotalGauge(definitions.services, registry)
    this.#revision = new TotalGauge(definitions.stateRevision, registry)
    this.#problems = new TotalGauge(definitions.problems, registry)
  }

  replace(state: State): void {
    const wanted = samples.serviceSamples(state)
    this.#info.replace(wanted.info)
    this.#weight.replace(wanted.weights)
    this.#backendState.replace(wanted.states)
    this.#networks.set(state.networks.size)
    this.#services.set(state.services.size)
    this.#revision.set(state.revision)
    this.#problems.replace(samples.problemSamples(state.problems))
  }
}

/** What the kernel side tells. */
class KernelSeries {
  readonly #counters: Record<KernelCounter, TotalCounter>
  readonly #gauges: Record<KernelGauge, TotalGauge>
  readonly #failures

  constructor(registry: Registry) {
    const total = (name: KernelCounter) => new TotalCounter(definitions[name], registry)
    const gauge = (name: KernelGauge) => new TotalGauge(definitions[name], registry)
    this.#counters = {
      packets: total('packets'),
      bytes: total('bytes'),
      connections: total('connections'),
      drops: total('drops'),
      events: total('events'),
      reconcileCycles: total('reconcileCycles'),
      reconcileFailures: total('reconcileFailures'),
      repairedRows: total('repairedRows'),
    }
    this.#gauges = {
      appliedRevision: gauge('appliedRevision'),
      reconcileDuration: gauge('reconcileDuration'),
      mapEntries: gauge('mapEntries'),
      mapCapacity: gauge('mapCapacity'),
      attachments: gauge('attachments'),
      features: gauge('features'),
      readbackDuration: gauge('readbackDuration'),
    }
    this.#failures = counter(definitions.readbackFailures, registry)
  }

  read(readback: Readback): void {
    const start = performance.now()
    let reading: Reading
    try {
      reading = readKernel(readback)
    } catch {
      // The cause is the reconciler's to report: it uses the same maps, and it can retry.
      this.#failures.inc()
      reading = { counters: {}, gauges: {} }
    }
    const seconds = (performance.now() - start) / 1000
    for (const [name, series] of Object.entries(this.#counters)) {
      series.replace(reading.counters[name as KernelCounter] ?? [])
    }
    for (const [name, series] of Object.entries(this.#gauges)) {
      series.replace(reading.gauges[name as KernelGauge] ?? [])
    }
    this.#gauges.readbackDuration.set(seconds)
  }
}

type KernelCounter =
  | 'packets'
  | 'bytes'
  | 'connections'
  | 'drops'
  | 'events'
  | 'reconcileCycles'
  | 'reconcileFailures'
  | 'repairedRows'

type KernelGauge =
  | 'appliedRevision'
  | 'reconcileDuration'
  | 'mapEntries'
  | 'mapCapacity'
  | 'attachments'
  | 'features'
  | 'readbackDuration'

interface Reading {
  readonly counters: Partial<Record<KernelCounter, Sample[]>>
  readonly gauges: Partial<Record<KernelGauge, Sample[]>>
}

function readKernel(readback: Readback): Reading {
  const occupancy = readback.occupancy()
  const reconcile = readback.reconcile()
  return {
    counters: {
      ...samples.trafficSamples(readback.counters()),
      drops: readback.drops().map((row) => reasonSample('reason', row)),
      events: readback.events().map((row) => reasonSample('event', row)),
      reconcileCycles: one(reconcile.cycles),
      reconcileFailures: one(reconcile.failures),
      repairedRows: one(reconcile.repaired),
    },
    gauges: {
      appliedRevision: one(reconcile.revision),
      reconcileDuration: one(reconcile.lastDurationSeconds),
      mapEntries: occupancy.map(({ map, entries }) => ({ labels: { map }, value: entries })),
      mapCapacity: occupancy.map(({ map, capacity }) => ({ labels: { map }, value: capacity })),
      attachments: samples.attachmentSamples(readback.attachments()),
      features: Object.entries(readback.features()).map(([feature, there]) => ({
        labels: { feature: labelText(feature) },
        value: there ? 1 : 0,
      })),
    },
  }
}

function reasonSample(label: 'reason' | 'event', row: ReasonCount): Sample {
  return { labels: { [label]: labelText(row.reason), path: row.path }, value: row.count }
}

function one(value: number): Sample[] {
  return [{ labels: {}, value }]
}
