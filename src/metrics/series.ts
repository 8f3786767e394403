/** prom-client's metric classes, made from a definition; and two that report totals kept elsewhere. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { MetricDefinition } from './definitions.js'

export interface Sample {
  /** By name, or rendered already. */
  readonly labels: Readonly<Record<string, string>> | string
  readonly value: number
  /** Of a histogram's series: `_bucket`, `_sum` or `_count`. */
  readonly suffix?: string
}

/** Makes the samples when they are rendered; may be called more than once. */
export type SampleSource = () => Iterable<Sample>

/** A metric whose whole set of series is given at once: what is not given again is gone. */
export interface Given {
  readonly definition: MetricDefinition
  /** One sample per label set; nobody looks for duplicates. */
  samples: SampleSource
}

function settings(definition: MetricDefinition, registry: Registry) {
  return {
    name: definition.name,
    help: definition.help,
    labelNames: definition.labels,
    registers: [registry],
  }
}

/**
 * A counter whose totals are counted by another (the kernel). Counting them up again here would
 * double them after a restart of the agent and keep the series of deleted services forever.
 */
export class TotalCounter extends Counter implements Given {
  samples: SampleSource = () => []

  constructor(
    readonly definition: MetricDefinition,
    registry: Registry,
  ) {
    super(settings(definition, registry))
  }
}

export class TotalGauge extends Gauge implements Given {
  samples: SampleSource = () => []

  constructor(
    readonly definition: MetricDefinition,
    registry: Registry,
  ) {
    super(settings(definition, registry))
  }
}

/** A histogram that is counted by another; its samples say which of its series each is of. */
export class TotalHistogram extends Histogram implements Given {
  samples: SampleSource = () => []

  constructor(
    readonly definition: MetricDefinition,
    registry: Registry,
  ) {
    super({ ...settings(definition, registry), buckets: [...(definition.buckets ?? [])] })
  }
}

export function counter(definition: MetricDefinition, registry: Registry): Counter {
  return new Counter(settings(definition, registry))
}

export function gauge(definition: MetricDefinition, registry: Registry): Gauge {
  return new Gauge(settings(definition, registry))
}

export function histogram(definition: MetricDefinition, registry: Registry): Histogram {
  return new Histogram({
    ...settings(definition, registry),
    buckets: [...(definition.buckets ?? [])],
  })
}
