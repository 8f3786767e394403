/**
 * From the desired state and the kernel's totals to samples: pure generators, so that a large set
 * is made as it is rendered.
 */
import { family } from '../model/address.js'
import type { HealthReport } from '../model/observe.js'
import type { AttachmentInfo, BackendCounters, ReasonCount } from '../model/readback.js'
import type { Backend, Problem, ServiceKey, State } from '../model/types.js'
import { Pace } from '../pace.js'
import { labelText } from './labels.js'
import type { Sample } from './series.js'

/** The `backend` label of what backends that have left had counted. */
export const RETIRED = 'retired'

/** Of all backends together, those that have left included. */
export type ServiceCounters = Omit<BackendCounters, 'backend'> & { readonly backend: null }

type Rows = readonly (BackendCounters | ServiceCounters)[]
type Labels = Record<string, string>

/** One row for each service and path. Others run meanwhile. */
export async function sumOfServices(rows: readonly BackendCounters[]): Promise<ServiceCounters[]> {
  const sums = new Map<ServiceKey, ServiceCounters[]>()
  const pace = new Pace()
  for (const row of rows) {
    const own = sums.get(row.service) ?? []
    sums.set(row.service, own)
    const at = own.findIndex(({ path }) => path === row.path)
    const before = own[at]
    if (before === undefined) own.push({ ...row, backend: null })
    else own[at] = sumOf(before, row)
    if (pace.due) await pace.rest()
  }
  return [...sums.values()].flat()
}

function sumOf(a: ServiceCounters, b: BackendCounters): ServiceCounters {
  const active = a.active === undefined ? b.active : a.active + (b.active ?? 0)
  return {
    ...a,
    packetsIn: a.packetsIn + b.packetsIn,
    bytesIn: a.bytesIn + b.bytesIn,
    packetsOut: a.packetsOut + b.packetsOut,
    bytesOut: a.bytesOut + b.bytesOut,
    connections: a.connections + b.connections,
    ...(active !== undefined && { active }),
  }
}

// The totals of every row, whether or not its service is still wanted: a counter must not fall.

export function* packetSamples(rows: Rows): Generator<Sample> {
  for (const row of rows) {
    const labels = rowLabels(row)
    yield { labels: { ...labels, direction: 'in' }, value: row.packetsIn }
    yield { labels: { ...labels, direction: 'out' }, value: row.packetsOut }
  }
}

export function* byteSamples(rows: Rows): Generator<Sample> {
  for (const row of rows) {
    const labels = rowLabels(row)
    yield { labels: { ...labels, direction: 'in' }, value: row.bytesIn }
    yield { labels: { ...labels, direction: 'out' }, value: row.bytesOut }
  }
}

export function* connectionSamples(rows: Rows): Generator<Sample> {
  for (const row of rows) yield { labels: rowLabels(row), value: row.connections }
}

export function* activeSamples(rows: Rows): Generator<Sample> {
  for (const row of rows)
    if (row.active !== undefined) yield { labels: rowLabels(row), value: row.active }
}

export function* infoSamples({ services }: State): Generator<Sample> {
  for (const [key, { mode, algorithm, vips }] of services) {
    const labels = { ...serviceLabels(key), mode, algorithm, vips: labelText(vips.join(',')) }
    yield { labels, value: 1 }
  }
}

export function* serviceBackendSamples({ services }: State): Generator<Sample> {
  for (const [key, service] of services) {
    const labels = serviceLabels(key)
    for (const state of ['active', 'draining', 'down'] as const) {
      const value = service.backends.filter((backend) => backend.state === state).length
      yield { labels: { ...labels, state }, value }
    }
  }
}

export function* weightSamples(state: State): Generator<Sample> {
  for (const [labels, { weight }] of backends(state)) yield { labels, value: weight }
}

export function* backendStateSamples(wanted: State): Generator<Sample> {
  for (const [labels, { state }] of backends(wanted))
    yield { labels: { ...labels, state }, value: 1 }
}

export function* checkSamples(report: HealthReport): Generator<Sample> {
  for (const { service, results } of report.all()) {
    const labels = serviceLabels(service)
    for (const [result, value] of results) yield { labels: { ...labels, result }, value }
  }
}

export function* healthySamples(report: HealthReport): Generator<Sample> {
  for (const { service, backends } of report.all()) {
    const labels = serviceLabels(service)
    for (const [address, { healthy }] of backends) {
      if (healthy === undefined) continue
      yield { labels: { ...labels, backend: labelText(address) }, value: healthy ? 1 : 0 }
    }
  }
}

/** A sample for each family that has backends. */
export function* familySamples(
  report: HealthReport,
  what: 'failOpen' | 'belowQuorum',
): Generator<Sample> {
  for (const { service, backends, [what]: those } of report.all()) {
    for (const of of new Set([...backends.keys()].map(family))) {
      const labels = { ...serviceLabels(service), family: `ipv${of}` }
      yield { labels, value: those.includes(of) ? 1 : 0 }
    }
  }
}

export function problemSamples(problems: readonly Problem[]): Sample[] {
  return tally(problems, (problem) => ({ source: labelText(problem.source), code: problem.code }))
}

export function attachmentSamples(attachments: readonly AttachmentInfo[]): Sample[] {
  return tally(attachments, ({ network, hook, program, mode }) => ({
    network: labelText(network),
    hook,
    program: labelText(program),
    mode: mode ?? '',
  }))
}

export function reasonSamples(label: 'reason' | 'event', rows: readonly ReasonCount[]): Sample[] {
  return rows.map((row) => ({
    labels: { [label]: labelText(row.reason), path: row.path },
    value: row.count,
  }))
}

/** Of a metric without labels. */
export function one(value: number): Sample[] {
  return [{ labels: {}, value }]
}

function rowLabels({ service, backend, path }: BackendCounters | ServiceCounters): Labels {
  const labels = serviceLabels(service)
  return backend === null ? { ...labels, path } : { ...labels, backend: backend ?? RETIRED, path }
}

function* backends({ services }: State): Generator<[Labels, Backend]> {
  for (const [key, service] of services) {
    const labels = serviceLabels(key)
    for (const backend of service.backends) {
      yield [{ ...labels, backend: labelText(backend.address) }, backend]
    }
  }
}

function serviceLabels(key: ServiceKey): Labels {
  const slash = key.indexOf('/')
  return { network: labelText(key.slice(0, slash)), service: labelText(key.slice(slash + 1)) }
}

function tally<T>(items: readonly T[], labelsOf: (item: T) => Labels): Sample[] {
  const counts = new Map<string, { labels: Labels; value: number }>()
  for (const item of items) {
    const labels = labelsOf(item)
    const key = JSON.stringify(labels)
    const count = counts.get(key)
    if (count === undefined) counts.set(key, { labels, value: 1 })
    else count.value += 1
  }
  return [...counts.values()]
}
