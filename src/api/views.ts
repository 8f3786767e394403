/** From the desired state and the kernel's totals to what the API answers: pure functions. */
import type { BackendCounters } from '../model/readback.js'
import type { Network, Problem, Service, ServiceKey, State } from '../model/types.js'
import { serviceKey } from '../model/types.js'
import type { NetworkView, PathCounters, ServiceView, StatusView } from './schema.js'

/** Rows of counters by service. */
export type CounterIndex = ReadonlyMap<ServiceKey, readonly BackendCounters[]>

export function indexCounters(rows: readonly BackendCounters[]): CounterIndex {
  return groupBy(rows, ({ service }) => service)
}

export function serviceView(service: Service, index: CounterIndex): ServiceView {
  const rows = index.get(serviceKey(service)) ?? []
  const byBackend = groupBy(rows, ({ backend }) => backend)
  return {
    network: service.network,
    name: service.name,
    mode: service.mode,
    algorithm: service.algorithm,
    ttlSeconds: service.ttlSeconds,
    vips: [...service.vips],
    ports: service.ports.map((port) => ({ ...port })),
    aliases: [...service.aliases],
    backends: service.backends.map((backend) => ({
      ...backend,
      counters: sumByPath(byBackend.get(backend.address) ?? []),
    })),
    counters: sumByPath(rows),
  }
}

export function networkView(network: Network, state: State): NetworkView {
  const { name, subnets, pools, reserved, dns } = network
  return {
    name,
    subnets: [...subnets],
    pools: [...pools],
    reserved: [...reserved],
    dns: [...dns.listen],
    services: [...state.services.values()].filter(({ network }) => network === name).length,
  }
}

/** @param sources those that there are, in order of precedence */
export function sourceViews(
  sources: readonly { readonly name: string; readonly from?: string }[],
  problems: readonly Problem[],
): StatusView['sources'] {
  return sources.map((source) => ({
    ...source,
    problems: problems.filter((problem) => problem.source === source.name).length,
  }))
}

function sumByPath(rows: readonly BackendCounters[]): PathCounters[] {
  const sums = new Map<string, PathCounters>()
  for (const row of rows) {
    const sum = sums.get(row.path) ?? zero(row.path)
    sum.packetsIn += row.packetsIn
    sum.bytesIn += row.bytesIn
    sum.packetsOut += row.packetsOut
    sum.bytesOut += row.bytesOut
    sum.connections += row.connections
    sums.set(row.path, sum)
  }
  return [...sums.values()].sort((a, b) => a.path.localeCompare(b.path))
}

function zero(path: PathCounters['path']): PathCounters {
  return { path, packetsIn: 0, bytesIn: 0, packetsOut: 0, bytesOut: 0, connections: 0 }
}

function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>()
  for (const item of items) {
    const key = keyOf(item)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [item])
    else group.push(item)
  }
  return groups
}
