/**
 * The metrics sink: its own registry, filled on scrape from the desired state and from what the
 * kernel side tells. It reads; it never changes anything.
 */
import { Registry } from 'prom-client'
import type {
  ChangeObserver,
  DnsObserver,
  HealthObserver,
  HealthReport,
  SourceObserver,
  WorkObserver,
} from '../model/observe.js'
import type { Readback } from '../model/readback.js'
import type { State } from '../model/types.js'
import { ChangeMetrics } from './changeMetrics.js'
import { definitions } from './definitions.js'
import { DnsMetrics } from './dnsMetrics.js'
import { render } from './exposition.js'
import { HealthMetrics } from './healthMetrics.js'
import { labelText } from './labels.js'
import { addProcessMetrics } from './processMetrics.js'
import * as from from './samples.js'
import {
  counter,
  gauge,
  type Given,
  type SampleSource,
  TotalCounter,
  TotalGauge,
  TotalHistogram,
} from './series.js'
import { WorkMetrics } from './workMetrics.js'

export interface MetricsOptions {
  readonly readback: Readback
  /** The desired state as it is now. */
  readonly state: () => State
  /** What checks have found; without it, or before there is any, nothing is said of health. */
  readonly health?: () => HealthReport | undefined
  /** With more backends than this, series are of services as a whole. Default: 10,000. */
  readonly maxBackends?: number
  readonly version: string
  /** Release of the running kernel. */
  readonly kernel: string
}

const MAX_BACKENDS = 10_000

export class Metrics {
  /** For the DNS sink to report to. */
  readonly dns: DnsObserver
  /** For the health source. */
  readonly health: HealthObserver
  /** For the dataplane. */
  readonly work: WorkObserver
  /** For those who pass on what sources say. */
  readonly changes: ChangeObserver & SourceObserver
  readonly #options: MetricsOptions
  readonly #registry = new Registry()
  readonly #wanted: WantedSeries
  readonly #kernel: KernelSeries
  readonly #health: HealthMetrics
  #rendering: Promise<Buffer> | undefined

  constructor(options: MetricsOptions) {
    this.#options = options
    this.#kernel = new KernelSeries(this.#registry)
    this.#wanted = new WantedSeries(this.#registry)
    this.dns = new DnsMetrics(this.#registry)
    this.#health = new HealthMetrics(this.#registry)
    this.health = this.#health
    this.work = new WorkMetrics(this.#registry)
    this.changes = new ChangeMetrics(this.#registry)
    gauge(definitions.buildInfo, this.#registry).set(
      { version: options.version, node: process.version, kernel: labelText(options.kernel) },
      1,
    )
    addProcessMetrics(this.#registry)
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  /**
   * The exposition text in UTF-8, newline-terminated. Reads the kernel once; a call that comes while another
   * is under way shares its reading. A failure to read the kernel leaves its series out. Others run
   * meanwhile.
   */
  render(): Promise<Buffer> {
    this.#rendering ??= this.#render().finally(() => {
      this.#rendering = undefined
    })
    return this.#rendering
  }

  async #render(): Promise<Buffer> {
    const { state, readback, health, maxBackends = MAX_BACKENDS } = this.#options
    const now = state()
    let backends = 0
    for (const service of now.services.values()) backends += service.backends.length
    const detailed = backends <= maxBackends
    const texts = new from.LabelTexts()
    this.#wanted.show(now, backends, detailed, texts)
    await this.#kernel.read(readback, detailed, texts)
    this.#health.show(health?.(), detailed)
    return render(this.#registry)
  }
}

/** What the desired state says. */
class WantedSeries {
  readonly #series

  constructor(registry: Registry) {
    const make = (name: keyof typeof definitions) => new TotalGauge(definitions[name], registry)
    this.#series = {
      info: make('serviceInfo'),
      serviceBackends: make('serviceBackends'),
      weight: make('backendWeight'),
      backendState: make('backendState'),
      backends: make('backends'),
      backendSeries: make('backendSeries'),
      networks: make('networks'),
      services: make('services'),
      revision: make('stateRevision'),
      problems: make('problems'),
    }
  }

  /** @param detailed backends have series of their own */
  show(state: State, backends: number, detailed: boolean, texts: from.LabelTexts): void {
    const series = this.#series
    series.info.samples = () => from.infoSamples(state, texts)
    series.serviceBackends.samples = () => from.serviceBackendSamples(state, texts)
    series.weight.samples = () => (detailed ? from.weightSamples(state, texts) : [])
    series.backendState.samples = () => (detailed ? from.backendStateSamples(state, texts) : [])
    series.backends.samples = () => from.one(backends)
    series.backendSeries.samples = () => from.one(detailed ? 1 : 0)
    series.networks.samples = () => from.one(state.networks.size)
    series.services.samples = () => from.one(state.services.size)
    series.revision.samples = () => from.one(state.revision)
    series.problems.samples = () => from.problemSamples(state.problems)
  }
}

const kernelCounters = [
  ...(['packets', 'bytes', 'connections', 'ends', 'drops', 'events'] as const),
  ...(['reconcileCycles', 'reconcileFailures', 'repairedRows'] as const),
  ...(['nodeConnections', 'nodePacketsIn', 'nodePacketsOut'] as const),
  ...(['nodeBytesIn', 'nodeBytesOut', 'closed', 'eventsLost'] as const),
]
const kernelGauges = [
  ...(['appliedRevision', 'reconcileDuration', 'mapEntries', 'mapCapacity'] as const),
  ...(['mapPressure', 'attachments', 'interfaceMode', 'features'] as const),
  ...(['active', 'inactive'] as const),
]
const kernelHistograms = ['handshake', 'clientHandshake'] as const
type KernelMetric =
  | (typeof kernelCounters)[number]
  | (typeof kernelGauges)[number]
  | (typeof kernelHistograms)[number]
type Reading = Readonly<Record<KernelMetric, SampleSource>>

/** What the kernel side tells. */
class KernelSeries {
  readonly #series: readonly (readonly [KernelMetric, Given])[]
  readonly #duration
  readonly #failures

  constructor(registry: Registry) {
    this.#series = [
      ...kernelCounters.map(
        (name) => [name, new TotalCounter(definitions[name], registry)] as const,
      ),
      ...kernelGauges.map((name) => [name, new TotalGauge(definitions[name], registry)] as const),
      ...kernelHistograms.map(
        (name) => [name, new TotalHistogram(definitions[name], registry)] as const,
      ),
    ]
    this.#duration = gauge(definitions.readbackDuration, registry)
    this.#failures = counter(definitions.readbackFailures, registry)
  }

  async read(readback: Readback, detailed: boolean, texts: from.LabelTexts): Promise<void> {
    const start = performance.now()
    let reading: Partial<Reading> = {}
    try {
      reading = await readKernel(readback, detailed, texts)
    } catch {
      // The cause is the reconciler's to report: it uses the same maps, and it can retry.
      this.#failures.inc()
    }
    this.#duration.set((performance.now() - start) / 1000)
    for (const [name, series] of this.#series) series.samples = reading[name] ?? (() => [])
  }
}

async function readKernel(
  readback: Readback,
  detailed: boolean,
  texts: from.LabelTexts,
): Promise<Reading> {
  const counted = await (detailed ? readback.counters() : readback.countersOfServices())
  // At once: what a service had counted that leaves now would be told twice, or not at all.
  const departed = readback.departed()
  const rows = detailed ? counted : from.ofServices(counted)
  const node = await from.sumOfNode([...rows, ...departed])
  const closed = detailed
    ? await readback.backendEnds()
    : from.ofServices(await readback.endsOfServices())
  const timed = await (detailed ? readback.handshakes() : readback.handshakesOfServices())
  const ofBackends = timed.filter(({ part }) => part === 'backend')
  const shaken = detailed ? ofBackends : from.ofServices(ofBackends)
  const ofClients = from.ofServices(timed.filter(({ part }) => part === 'client'))
  const lost = readback.lostEvents()
  const ends = readback.ends()
  const drops = readback.drops()
  const events = readback.events()
  const maps = await readback.occupancy()
  const attachments = readback.attachments()
  const features = Object.entries(readback.features())
  const reconcile = readback.reconcile()
  return {
    packets: () => from.packetSamples(rows, texts),
    bytes: () => from.byteSamples(rows, texts),
    connections: () => from.connectionSamples(rows, texts),
    active: () => from.activeSamples(rows, texts),
    inactive: () => from.inactiveSamples(rows, texts),
    nodeConnections: () => from.nodeSamples(node, 'connections'),
    nodePacketsIn: () => from.nodeSamples(node, 'packetsIn'),
    nodePacketsOut: () => from.nodeSamples(node, 'packetsOut'),
    nodeBytesIn: () => from.nodeSamples(node, 'bytesIn'),
    nodeBytesOut: () => from.nodeSamples(node, 'bytesOut'),
    ends: () => from.reasonSamples('reason', ends),
    closed: () => from.closedSamples(closed, texts),
    handshake: () => from.handshakeSamples(shaken, detailed, texts),
    clientHandshake: () => from.handshakeSamples(ofClients, detailed, texts),
    eventsLost: () =>
      Object.entries(lost).map(([reason, value]) => ({ labels: { reason }, value })),
    drops: () => from.reasonSamples('reason', drops),
    events: () => from.reasonSamples('event', events),
    reconcileCycles: () => from.one(reconcile.cycles),
    reconcileFailures: () => from.one(reconcile.failures),
    repairedRows: () => from.one(reconcile.repaired),
    appliedRevision: () => from.one(reconcile.revision),
    reconcileDuration: () => from.one(reconcile.lastDurationSeconds),
    mapEntries: () => maps.map(({ map, entries }) => ({ labels: { map }, value: entries })),
    mapCapacity: () => maps.map(({ map, capacity }) => ({ labels: { map }, value: capacity })),
    mapPressure: () => from.pressureSamples(maps),
    attachments: () => from.attachmentSamples(attachments),
    interfaceMode: () => from.interfaceSamples(attachments),
    features: () =>
      features.map(([feature, there]) => ({
        labels: { feature: labelText(feature) },
        value: there ? 1 : 0,
      })),
  }
}
