/** What prom-client tells of the process: CPU, memory, the event loop. */
import { collectDefaultMetrics, Registry } from 'prom-client'
import type { MetricDefinition } from './definitions.js'

/** Gauges of prom-client's that end in _total, which is for counters; each has a twin without. */
const misnamedGauges = ['handles', 'requests', 'resources'].map(
  (what) => `fairlead_nodejs_active_${what}_total`,
)

/** Has the registry tell of this process, until the process ends. */
export function addProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry, prefix: 'fairlead_' })
  for (const name of misnamedGauges) registry.removeSingleMetric(name)
}

/** A row of each for the reference page. */
export function processDefinitions(): MetricDefinition[] {
  const registry = new Registry()
  addProcessMetrics(registry)
  // Each has its type as a word, and its labels; the declarations say neither.
  const metrics = registry.getMetricsAsArray() as unknown as ProcessMetric[]
  return metrics.map(({ name, help, type, labelNames }) => {
    return { name, help, type, unit: unitOf(name), labels: labelNames }
  })
}

interface ProcessMetric extends Pick<MetricDefinition, 'name' | 'help' | 'type'> {
  readonly labelNames: readonly string[]
}

/** @throws Error if prom-client has one whose unit its name does not tell */
function unitOf(name: string): string {
  const last =
    name
      .replace(/_total$/, '')
      .split('_')
      .at(-1) ?? ''
  const unit = { fds: 'descriptors', info: '1' }[last] ?? last
  if (!units.includes(unit)) throw new Error(`the unit of ${name} is not known`)
  return unit
}

const units = ['1', 'bytes', 'descriptors', 'handles', 'requests', 'resources', 'seconds']
