/** prom-client's metric classes, made from a definition; and one that reports totals kept elsewhere. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { MetricDefinition } from './definitions.js'

export interface Sample {
  readonly labels: Record<string, string>
  readonly value: number
}

interface Settings {
  name: string
  help: string
  labelNames: readonly string[]
  registers: Registry[]
}

function settings(definition: MetricDefinition, registry: Registry): Settings {
  return {
    name: definition.name,
    help: definition.help,
    labelNames: definition.labels,
    registers: [registry],
  }
}

/**
 * A counter whose totals are counted by another (the kernel): it reports what it was last given, so
 * a series that is not given again is gone. Counting them up again here would double them after a
 * restart of the agent and keep the series of deleted services forever.
 */
export class TotalCounter extends Counter {
  #samples: readonly Sample[] = []

  constructor(definition: MetricDefinition, registry: Registry) {
    super(settings(definition, registry))
  }

  /** @param samples one per label set; prom-client does not look for duplicates */
  replace(samples: readonly Sample[]): void {
    this.#samples = samples
  }

  override async get(): ReturnType<Counter['get']> {
    return { ...(await super.get()), values: [...this.#samples] }
  }
}

/** A gauge whose whole set of series is given at once. */
export class TotalGauge extends Gauge {
  constructor(definition: MetricDefinition, registry: Registry) {
    super(settings(definition, registry))
  }

  /** @param samples series that are not among them are gone */
  replace(samples: readonly Sample[]): void {
    this.reset()
    // Without labels, reset leaves a 0 behind.
    if (samples.length === 0) this.remove({})
    for (const sample of samples) this.set(sample.labels, sample.value)
  }
}

export function counter(definition: MetricDefinition, registry: Registry): Counter {
  return new Counter(settings(definition, registry))
}

export function histogram(definition: MetricDefinition, registry: Registry): Histogram {
  return new Histogram({
    ...settings(definition, registry),
    buckets: [...(definition.buckets ?? [])],
  })
}
