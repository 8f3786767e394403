/** From the desired state and the kernel's totals to series: pure functions. */
import type { BackendCounters, AttachmentInfo } from '../model/readback.js'
import type { Backend, Problem, Service, ServiceKey, State } from '../model/types.js'
import { labelText } from './labels.js'
import type { Sample } from './series.js'

/** The `backend` label of what backends that have left had counted. */
export const RETIRED = 'retired'

export interface Traffic {
  readonly packets: Sample[]
  readonly bytes: Sample[]
  readonly connections: Sample[]
}

/** The totals of every row, whether or not its service is still wanted: a counter must not fall. */
export function trafficSamples(rows: readonly BackendCounters[]): Traffic {
  const traffic: Traffic = { packets: [], bytes: [], connections: [] }
  for (const row of rows) {
    const labels = {
      ...serviceLabels(row.service),
      backend: row.backend ?? RETIRED,
      path: row.path,
    }
    const inward = { ...labels, direction: 'in' }
    const outward = { ...labels, direction: 'out' }
    traffic.packets.push({ labels: inward, value: row.packetsIn })
    traffic.packets.push({ labels: outward, value: row.packetsOut })
    traffic.bytes.push({ labels: inward, value: row.bytesIn })
    traffic.bytes.push({ labels: outward, value: row.bytesOut })
    traffic.connections.push({ labels, value: row.connections })
  }
  return traffic
}

export interface Wanted {
  readonly info: Sample[]
  readonly weights: Sample[]
  readonly states: Sample[]
}

export function serviceSamples(state: State): Wanted {
  const wanted: Wanted = { info: [], weights: [], states: [] }
  for (const [key, service] of state.services) {
    const labels = serviceLabels(key)
    wanted.info.push({ labels: { ...labels, ...infoLabels(service) }, value: 1 })
    for (const backend of service.backends) addBackend(wanted, labels, backend)
  }
  return wanted
}

export function problemSamples(problems: readonly Problem[]): Sample[] {
  return tally(problems, (problem) => ({ source: labelText(problem.source), code: problem.code }))
}

export function attachmentSamples(attachments: readonly AttachmentInfo[]): Sample[] {
  return tally(attachments, ({ network, hook, program }) => ({
    network: labelText(network),
    hook,
    program: labelText(program),
  }))
}

function addBackend(wanted: Wanted, service: Record<string, string>, backend: Backend): void {
  const labels = { ...service, backend: labelText(backend.address) }
  wanted.weights.push({ labels, value: backend.weight })
  wanted.states.push({ labels: { ...labels, state: backend.state }, value: 1 })
}

function infoLabels(service: Service): Record<string, string> {
  const { mode, algorithm, vips } = service
  return { mode, algorithm, vips: labelText(vips.join(',')) }
}

function serviceLabels(key: ServiceKey): { network: string; service: string } {
  const slash = key.indexOf('/')
  return { network: labelText(key.slice(0, slash)), service: labelText(key.slice(slash + 1)) }
}

function tally<T>(items: readonly T[], labelsOf: (item: T) => Record<string, string>): Sample[] {
  const counts = new Map<string, { labels: Record<string, string>; value: number }>()
  for (const item of items) {
    const labels = labelsOf(item)
    const key = JSON.stringify(labels)
    const count = counts.get(key)
    if (count === undefined) counts.set(key, { labels, value: 1 })
    else count.value += 1
  }
  return [...counts.values()]
}
