/** From the desired state and the kernel's totals to what the API answers: pure functions. */
import { groupBy } from '../model/groupBy.js'
import type { BackendHealth, ServiceHealth } from '../model/observe.js'
import type { BackendCounters } from '../model/readback.js'
import type {
  Backend,
  HealthCheck,
  Network,
  Problem,
  Service,
  ServiceKey,
  State,
} from '../model/types.js'
import { serviceKey } from '../model/types.js'
import { Pace } from '../pace.js'
import type { OverviewServiceView } from './liveSchema.js'
import type {
  BackendView,
  NetworkView,
  PathCounters,
  ServiceHealthView,
  ServiceView,
  StatusView,
  TotalsView,
} from './schema.js'

/** Rows of counters by service. */
export type CounterIndex = ReadonlyMap<ServiceKey, readonly BackendCounters[]>

export function indexCounters(rows: readonly BackendCounters[]): CounterIndex {
  return groupBy(rows, ({ service }) => service)
}

/** @param found what checks have found, if there are any */
export function serviceView(
  service: Service,
  index: CounterIndex,
  found?: ServiceHealth,
): ServiceView {
  const rows = index.get(serviceKey(service)) ?? []
  const byBackend = groupBy(rows, ({ backend }) => backend)
  return {
    network: service.network,
    name: service.name,
    mode: service.mode,
    algorithm: service.algorithm,
    ...choiceView(service),
    ...lifeView(service),
    ttlSeconds: service.ttlSeconds,
    vips: [...service.vips],
    ports: service.ports.map((port) => ({ ...port })),
    aliases: [...service.aliases],
    backends: service.backends.map((backend) => ({
      ...backend,
      counters: sumByPath(byBackend.get(backend.address) ?? []),
      ...backendHealthView(found?.backends.get(backend.address)),
    })),
    counters: sumByPath(rows),
    ...(service.health && found ? { health: serviceHealthView(service.health, found) } : {}),
  }
}

function backendHealthView(found: BackendHealth | undefined): Pick<BackendView, 'health'> {
  return found === undefined ? {} : { health: { ...found } }
}

function serviceHealthView(check: HealthCheck, found: ServiceHealth): ServiceHealthView {
  return {
    type: check.type,
    ...(check.port === undefined ? {} : { port: check.port }),
    ...('path' in check ? { path: check.path } : {}),
    ...('command' in check ? { command: [...check.command] } : {}),
    intervalSeconds: check.intervalMs / 1000,
    timeoutSeconds: check.timeoutMs / 1000,
    rise: check.rise,
    fall: check.fall,
    ...(check.quorum === undefined ? {} : { quorum: check.quorum }),
    failOpen: [...found.failOpen],
    belowQuorum: [...found.belowQuorum],
    checks: Object.fromEntries(found.results),
  }
}

/** @param found what checks have found, if there are any */
export function overviewServiceView(service: Service, found?: ServiceHealth): OverviewServiceView {
  const { network, name, mode, algorithm, vips, ports, backends } = service
  return {
    ...{ network, name, mode, algorithm },
    ...{ vips: [...vips], ports: ports.map((port) => ({ ...port })) },
    backends: backendStates(backends),
    ...(found && found.failOpen.length > 0 && { failOpen: true }),
  }
}

export function backendStates(backends: readonly Backend[]): OverviewServiceView['backends'] {
  const states = { active: 0, draining: 0, down: 0 }
  for (const { state } of backends) states[state]++
  return states
}

/** What decides who gets which backend; only what was asked for. */
function choiceView({
  return: back,
  tableSize,
  locality,
  affinity,
  thresholds,
  sourceRanges,
}: Service) {
  return {
    ...(back !== undefined && { return: back }),
    ...(tableSize !== undefined && { tableSize }),
    ...(locality !== undefined && { locality }),
    ...(affinity !== undefined && { affinity }),
    ...(thresholds !== undefined && { thresholds }),
    ...(sourceRanges !== undefined && {
      sourceRanges: { allow: [...sourceRanges.allow], deny: [...sourceRanges.deny] },
    }),
  }
}

/** How long flows live; only what was asked for. */
function lifeView({ timeouts, drainSeconds }: Service) {
  return {
    ...(timeouts !== undefined && { timeouts: { ...timeouts } }),
    ...(drainSeconds !== undefined && { drainSeconds }),
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

/** Sums over paths. Others run meanwhile. */
export async function totalsViews(
  rows: readonly BackendCounters[],
  asked: {
    readonly by: 'service' | 'backend'
    readonly network?: string | undefined
    readonly service?: string | undefined
  },
): Promise<Iterable<TotalsView>> {
  const sums = new Map<string, TotalsView>()
  const pace = new Pace()
  for (const row of rows) {
    if (pace.due) await pace.rest()
    const slash = row.service.indexOf('/')
    const [network, service] = [row.service.slice(0, slash), row.service.slice(slash + 1)]
    if (asked.network !== undefined && asked.network !== network) continue
    if (asked.service !== undefined && ![row.service, service].includes(asked.service)) continue
    const backend = asked.by === 'backend' ? (row.backend ?? '') : undefined
    const key = backend === undefined ? row.service : `${row.service} ${backend}`
    let sum = sums.get(key)
    if (sum === undefined) {
      const named = { network, service, ...(backend !== undefined && { backend }) }
      sums.set(key, (sum = { ...named, ...NO_TRAFFIC }))
    }
    add(sum, row)
  }
  return sums.values()
}

const NO_TRAFFIC = {
  ...{ packetsIn: 0, bytesIn: 0, packetsOut: 0, bytesOut: 0 },
  ...{ connections: 0, active: 0 },
}

type Traffic = Omit<PathCounters, 'path' | 'inactive'>

function add(sum: Traffic, row: BackendCounters): void {
  sum.packetsIn += row.packetsIn
  sum.bytesIn += row.bytesIn
  sum.packetsOut += row.packetsOut
  sum.bytesOut += row.bytesOut
  sum.connections += row.connections
  sum.active += row.active ?? 0
}

function sumByPath(rows: readonly BackendCounters[]): PathCounters[] {
  const sums = new Map<string, PathCounters>()
  for (const row of rows) {
    const sum = sums.get(row.path) ?? zero(row.path)
    add(sum, row)
    sum.inactive += row.inactive ?? 0
    sums.set(row.path, sum)
  }
  return [...sums.values()].sort((a, b) => a.path.localeCompare(b.path))
}

function zero(path: PathCounters['path']): PathCounters {
  return { path, ...NO_TRAFFIC, inactive: 0 }
}
