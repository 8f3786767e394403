/**
 * Merging snapshots: what holds across items and sources is settled here. Pure.
 */
import { Cidr, family } from './address.js'
import { findConflicts, misfit, type Objection } from './conflicts.js'
import { sameData } from './diff.js'
import type { Assignments } from './ipam.js'
import { assignmentKey, placeVips } from './ipam.js'
import type { ErrorCode } from '../errors.js'
import type {
  Family,
  Network,
  Problem,
  Service,
  ServiceKey,
  ServiceSpec,
  Snapshot,
} from './types.js'
import { serviceKey } from './types.js'

export interface SourceSnapshot {
  readonly name: string
  readonly snapshot: Snapshot
}

export interface Merged {
  /** Both maps are sorted by key. */
  readonly networks: ReadonlyMap<string, Network>
  readonly services: ReadonlyMap<ServiceKey, Service>
  /** Of all services, whatever their networks. */
  readonly vips: ReadonlySet<string>
  /** Those found here; what the snapshots bring is not among them. */
  readonly problems: readonly Problem[]
  readonly assignments: Assignments
}

/**
 * @param sources    in order of precedence
 * @param previous   automatic VIPs so far
 * @param incomplete some source has not spoken yet: keep the assignments of services unseen
 */
export function merge(
  sources: readonly SourceSnapshot[],
  previous: Assignments,
  incomplete: boolean,
): Merged {
  const problems: Problem[] = []
  const networks = mergeNetworks(sources, problems)
  const specs = mergeServices(sources, networks, problems)
  const placement = placeVips(
    networks,
    specs.map(({ spec }) => spec),
    previous,
    incomplete,
  )
  const sourceOf = new Map(specs.map((sourced) => [sourced.spec, sourced]))
  for (const { service, family: of } of placement.exhausted) {
    const sourced = sourceOf.get(service)
    if (sourced === undefined) continue
    const hasPool = networks.get(service.network)?.pools.some((pool) => family(pool) === of)
    problems.push(
      problemOf(sourced, {
        code: hasPool === true ? 'POOL_EXHAUSTED' : 'REFERENCE',
        reason:
          hasPool === true
            ? `no IPv${of} VIP is left in the pool of network ${service.network}`
            : `network ${service.network} has no IPv${of} pool for an automatic VIP`,
      }),
    )
  }
  const services = specs.map(({ spec }) => settle(spec, placement.assignments))
  return {
    networks: new Map([...networks].sort(([a], [b]) => compare(a, b))),
    services: new Map(
      services
        .map((service) => [serviceKey(service), service] as const)
        .sort(([a], [b]) => compare(a, b)),
    ),
    vips: new Set(services.flatMap(({ vips }) => vips)),
    problems,
    assignments: placement.assignments,
  }
}

/**
 * The services that merge() would give otherwise, where one source has only replaced some by others
 * that claim the same: costs a comparison of references for each service, not a look at all of them.
 *
 * @param merged what there was, from snapshots of which `before` was one
 * @returns      undefined when it takes a whole merge to know
 */
export function patch(merged: Merged, before: Snapshot, after: Snapshot): Service[] | undefined {
  if (merged.problems.length > 0 || before.services.length !== after.services.length)
    return undefined
  if (!sameData(before.networks, after.networks)) return undefined
  const replaced: ServiceSpec[] = []
  // By index: pairs would be most of the cost.
  for (let i = 0; i < after.services.length; i++) {
    const old = before.services[i]
    const spec = after.services[i]
    if (old === spec) continue
    if (old === undefined || spec === undefined || !claimsSame(old, spec)) return undefined
    if (misfit(spec, merged.networks) !== undefined) return undefined
    replaced.push(spec)
    const known = new Set(old.backends.map(({ address }) => address))
    // An automatic VIP gives way to a backend that has its address; another VIP does not.
    for (const { address } of spec.backends)
      if (!known.has(address) && merged.vips.has(address)) return undefined
  }
  return replaced.map((spec) => settle(spec, merged.assignments))
}

function claimsSame(a: ServiceSpec, b: ServiceSpec): boolean {
  return (
    a.network === b.network &&
    a.name === b.name &&
    a.mode === b.mode &&
    sameData([a.vips, a.autoVips, a.ports, a.publish], [b.vips, b.autoVips, b.ports, b.publish])
  )
}

function mergeNetworks(
  sources: readonly SourceSnapshot[],
  problems: Problem[],
): Map<string, Network> {
  const networks = new Map<string, Network>()
  const owners = new Map<string, string>()
  for (const { name: source, snapshot } of sources) {
    for (const network of snapshot.networks) {
      const there = networks.get(network.name)
      if (there === undefined) {
        networks.set(network.name, network)
        owners.set(network.name, source)
      } else if (!sameData(there, network)) {
        problems.push({
          source,
          item: `network ${network.name}`,
          code: 'DUPLICATE' satisfies ErrorCode,
          reason: `source ${owners.get(network.name) ?? ''} already defines this network otherwise`,
        })
      }
    }
  }
  return networks
}

interface SourcedSpec {
  readonly source: SourceSnapshot
  readonly spec: ServiceSpec
}

function mergeServices(
  sources: readonly SourceSnapshot[],
  networks: ReadonlyMap<string, Network>,
  problems: Problem[],
): SourcedSpec[] {
  const owners = new Map<ServiceKey, string>()
  const kept: SourcedSpec[] = []
  for (const source of sources) {
    for (const spec of source.snapshot.services) {
      const owner = owners.get(serviceKey(spec))
      if (owner === undefined) {
        owners.set(serviceKey(spec), source.name)
        kept.push({ source, spec })
      } else {
        const reason = `source ${owner} already defines this service`
        problems.push(problemOf({ source, spec }, { code: 'DUPLICATE', reason }))
      }
    }
  }
  const conflicts = findConflicts(
    networks,
    kept.map(({ spec }) => spec),
  )
  return kept.filter((sourced) => {
    const conflict = conflicts.get(sourced.spec)
    if (conflict !== undefined) problems.push(problemOf(sourced, conflict))
    return conflict === undefined
  })
}

function problemOf({ source: { name, snapshot }, spec }: SourcedSpec, found: Objection): Problem {
  const key = serviceKey(spec)
  const place = snapshot.placeOf?.(key)
  return { source: name, item: `service ${key}`, ...(place !== undefined && { place }), ...found }
}

/** What became of a spec: the same object as long as it has the same VIPs. */
const settled = new WeakMap<ServiceSpec, Service>()

/** The service with its VIPs: those asked for, then the automatic ones, IPv4 first. */
function settle(spec: ServiceSpec, assignments: Assignments): Service {
  const before = settled.get(spec)
  if (before !== undefined && sameData(before.vips, vipsOf(spec, spec.autoVips, assignments)))
    return before
  const { autoVips, ...declared } = spec
  const service = { ...declared, vips: vipsOf(declared, autoVips, assignments) }
  settled.set(spec, service)
  return service
}

function vipsOf(
  service: Service,
  autoVips: readonly Family[],
  assignments: Assignments,
): readonly string[] {
  if (service.mode === 'dnsrr') return []
  const automatic = [...autoVips].sort().flatMap((of) => {
    const vip = assignments.get(assignmentKey(service, of))
    return vip === undefined ? [] : [vip]
  })
  return [...service.vips, ...automatic]
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** The families that a network's pools can give automatic VIPs of. */
export function poolFamilies(pools: readonly string[]): (4 | 6)[] {
  const families = new Set(pools.map((pool) => Cidr.parse(pool).family))
  return ([4, 6] as const).filter((of) => families.has(of))
}
