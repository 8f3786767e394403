/**
 * From the desired state and the kernel's totals to samples: pure generators, so that a large set
 * is made as it is rendered.
 */
import { family } from '../model/address.js'
import { HANDSHAKE_BOUNDS_SECONDS } from '../model/handshakes.js'
import type { HealthReport } from '../model/observe.js'
import type {
  AttachmentInfo,
  BackendCounters,
  BackendEnds,
  Handshakes,
  MapOccupancy,
  PathCounters,
  ReasonCount,
} from '../model/readback.js'
import { addCounters } from '../model/sums.js'
import type { Backend, Path, Problem, Service, ServiceKey, State } from '../model/types.js'
import { Pace } from '../pace.js'
import { labelPairs } from './exposition.js'
import { labelText } from './labels.js'
import type { Sample } from './series.js'

/** The `backend` label of what backends that have left had counted. */
export const RETIRED = 'retired'

/** Of all backends together, those that have left included. */
export type ServiceCounters = Omit<BackendCounters, 'backend'> & { readonly backend: null }

export type ServiceEnds = Omit<BackendEnds, 'backend'> & { readonly backend: null }
export type ServiceHandshakes = Omit<Handshakes, 'backend'> & { readonly backend: null }

/** What says whose a row is. */
interface Owned {
  readonly service: ServiceKey
  readonly backend?: string | null
  readonly path: Path
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] }
type Rows = readonly (BackendCounters | ServiceCounters)[]
type Labels = Record<string, string>

/** Of all services together, by path. Others run meanwhile. */
export async function sumOfNode(rows: readonly PathCounters[]): Promise<PathCounters[]> {
  const sums = new Map<Path, Mutable<PathCounters>>()
  const pace = new Pace()
  for (const row of rows) {
    const { path, packetsIn, bytesIn, packetsOut, bytesOut, connections } = row
    const sum = sums.get(path)
    if (sum !== undefined) addCounters(sum, row)
    else sums.set(path, { path, packetsIn, bytesIn, packetsOut, bytesOut, connections })
    if (pace.due) await pace.rest()
  }
  return [...sums.values()]
}

// The totals of every row, whether or not its service is still wanted: a counter must not fall.

export function* packetSamples(rows: Rows, texts: LabelTexts): Generator<Sample> {
  for (const row of rows) {
    const labels = texts.ofRow(row)
    yield { labels: `${labels},direction="in"`, value: row.packetsIn }
    yield { labels: `${labels},direction="out"`, value: row.packetsOut }
  }
}

export function* byteSamples(rows: Rows, texts: LabelTexts): Generator<Sample> {
  for (const row of rows) {
    const labels = texts.ofRow(row)
    yield { labels: `${labels},direction="in"`, value: row.bytesIn }
    yield { labels: `${labels},direction="out"`, value: row.bytesOut }
  }
}

export function* connectionSamples(rows: Rows, texts: LabelTexts): Generator<Sample> {
  for (const row of rows) yield { labels: texts.ofRow(row), value: row.connections }
}

export function* activeSamples(rows: Rows, texts: LabelTexts): Generator<Sample> {
  for (const row of rows)
    if (row.active !== undefined) yield { labels: texts.ofRow(row), value: row.active }
}

export function* inactiveSamples(rows: Rows, texts: LabelTexts): Generator<Sample> {
  for (const row of rows)
    if (row.inactive !== undefined) yield { labels: texts.ofRow(row), value: row.inactive }
}

/** Rows of services as a whole, as such. */
export function ofServices<T extends object>(rows: readonly T[]): (T & { backend: null })[] {
  return rows.map((row) => ({ ...row, backend: null }))
}

export function* closedSamples(
  rows: readonly (BackendEnds | ServiceEnds)[],
  texts: LabelTexts,
): Generator<Sample> {
  for (const row of rows) {
    const labels = texts.ofRow(row)
    for (const [reason, value] of row.ends) {
      if (value > 0) yield { labels: `${labels},reason="${labelText(reason)}"`, value }
    }
  }
}

const FINE = [...HANDSHAKE_BOUNDS_SECONDS, '+Inf'].map((bound) => `,le="${bound}"`)
/** Powers of ten alone; undefined: what is in it is told with the next. */
const COARSE = FINE.map((label) => (/"(0\.0*)?1"|Inf/.test(label) ? label : undefined))

/**
 * Of a histogram: what it has in each of HANDSHAKE_BOUNDS_SECONDS and below, and in all. Without
 * detail of some of these bounds: so many series are too many when there are many services.
 */
export function* handshakeSamples(
  rows: readonly (Handshakes | ServiceHandshakes)[],
  detailed: boolean,
  texts: LabelTexts,
): Generator<Sample> {
  const bounds = detailed ? FINE : COARSE
  for (const row of rows) {
    const labels = texts.ofRow(row)
    let below = 0
    for (const [i, bound] of bounds.entries()) {
      below += row.counts[i] ?? 0
      if (bound !== undefined) yield { labels: labels + bound, value: below, suffix: '_bucket' }
    }
    yield { labels, value: row.sumSeconds, suffix: '_sum' }
    yield { labels, value: below, suffix: '_count' }
  }
}

export function nodeSamples(
  sums: readonly PathCounters[],
  what: Exclude<keyof PathCounters, 'path'>,
): Sample[] {
  return sums.map((sum) => ({ labels: { path: sum.path }, value: sum[what] }))
}

export function* infoSamples({ services }: State, texts: LabelTexts): Generator<Sample> {
  for (const [key, service] of services) {
    const { mode, algorithm, vips } = service
    const shown = {
      mode,
      algorithm,
      prefers: preferences(service),
      vips: labelText(vips.join(',')),
    }
    const own = labelPairs(shown)
    yield { labels: `${texts.of(key)},${own}`, value: 1 }
  }
}

/** What makes some backends take more than their weight; joined by commas. */
function preferences({ affinity, locality, backends, return: back }: Service): string {
  return [
    ...(affinity === undefined ? [] : ['affinity']),
    ...(back?.startsWith('dsr') === true ? ['dsr'] : []),
    ...(locality === undefined ? [] : ['locality']),
    ...(backends.some(({ priority }) => priority !== backends[0]?.priority) ? ['priority'] : []),
  ].join(',')
}

export function* serviceBackendSamples({ services }: State, texts: LabelTexts): Generator<Sample> {
  for (const [key, { backends }] of services) {
    const counts = { active: 0, draining: 0, down: 0 }
    for (const { state } of backends) counts[state]++
    for (const state of ['active', 'draining', 'down'] as const)
      yield { labels: `${texts.of(key)},state="${state}"`, value: counts[state] }
  }
}

export function* weightSamples(state: State, texts: LabelTexts): Generator<Sample> {
  for (const [labels, { weight }] of backends(state, texts)) yield { labels, value: weight }
}

export function* backendStateSamples(wanted: State, texts: LabelTexts): Generator<Sample> {
  for (const [labels, { state }] of backends(wanted, texts))
    yield { labels: `${labels},state="${state}"`, value: 1 }
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

/** At the node's edge alone: there are few of those, and as many others as there are containers. */
export function interfaceSamples(attachments: readonly AttachmentInfo[]): Sample[] {
  return attachments
    .filter(({ network }) => network === '')
    .map(({ target, hook, program, mode }) => ({
      labels: {
        interface: labelText(target),
        hook,
        program: labelText(program),
        mode: mode ?? '',
      },
      value: 1,
    }))
}

export function pressureSamples(maps: readonly MapOccupancy[]): Sample[] {
  return maps.map(({ map, entries, capacity }) => ({
    labels: { map },
    value: capacity === 0 ? 0 : entries / capacity,
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

function* backends({ services }: State, texts: LabelTexts): Generator<[string, Backend]> {
  for (const [key, service] of services) {
    const labels = texts.of(key)
    for (const backend of service.backends)
      yield [`${labels},backend="${labelText(backend.address)}"`, backend]
  }
}

/** Labels of services as they are rendered: made once for all that a scrape says of a service. */
export class LabelTexts {
  readonly #texts = new Map<ServiceKey, string>()

  of(key: ServiceKey): string {
    let text = this.#texts.get(key)
    if (text === undefined) {
      text = labelPairs(serviceLabels(key))
      this.#texts.set(key, text)
    }
    return text
  }

  ofRow({ service, backend, path }: Owned): string {
    const labels = this.of(service)
    if (backend === null) return `${labels},path="${path}"`
    return `${labels},backend="${backend ?? RETIRED}",path="${path}"`
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
