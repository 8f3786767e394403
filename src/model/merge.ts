/**
 * Merging snapshots: what holds across items and sources is settled here. Pure.
 */
import { Cidr, family, isUnicast, parseListen } from './address.js'
import { sameData } from './diff.js'
import type { Assignments } from './ipam.js'
import { assignmentKey, placeVips } from './ipam.js'
import type { ErrorCode } from '../errors.js'
import type { Network, Port, Problem, Service, ServiceKey, ServiceSpec, Snapshot } from './types.js'
import { serviceKey } from './types.js'

export interface SourceSnapshot {
  readonly name: string
  readonly snapshot: Snapshot
}

export interface Merged {
  /** Both maps are sorted by key. */
  readonly networks: ReadonlyMap<string, Network>
  readonly services: ReadonlyMap<ServiceKey, Service>
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
  const sourceOf = new Map(specs.map(({ spec, source }) => [spec, source]))
  for (const { service, family: of } of placement.exhausted) {
    const hasPool = networks.get(service.network)?.pools.some((pool) => family(pool) === of)
    problems.push({
      source: sourceOf.get(service) ?? '',
      item: `service ${serviceKey(service)}`,
      code: (hasPool === true ? 'POOL_EXHAUSTED' : 'REFERENCE') satisfies ErrorCode,
      reason:
        hasPool === true
          ? `no IPv${of} VIP is left in the pool of network ${service.network}`
          : `network ${service.network} has no IPv${of} pool for an automatic VIP`,
    })
  }
  const services = specs.map(({ spec }) => settle(spec, placement.assignments))
  return {
    networks: new Map([...networks].sort(([a], [b]) => compare(a, b))),
    services: new Map(
      services
        .map((service) => [serviceKey(service), service] as const)
        .sort(([a], [b]) => compare(a, b)),
    ),
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
  for (const [i, spec] of after.services.entries()) {
    const old = before.services[i]
    if (old === spec) continue
    if (old === undefined || !claimsSame(old, spec)) return undefined
    if (misfit(spec, merged.networks) !== undefined) return undefined
    replaced.push(spec)
  }
  if (replaced.length > 0 && merged.assignments.size > 0) {
    // An automatic VIP gives way to a backend that has its address.
    const automatic = new Set(merged.assignments.values())
    if (replaced.some(({ backends }) => backends.some(({ address }) => automatic.has(address))))
      return undefined
  }
  return replaced.map((spec) => settle(spec, merged.assignments))
}

function claimsSame(a: ServiceSpec, b: ServiceSpec): boolean {
  return (
    a.network === b.network &&
    a.name === b.name &&
    a.mode === b.mode &&
    sameData([a.vips, a.autoVips, a.ports], [b.vips, b.autoVips, b.ports])
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
  readonly source: string
  readonly spec: ServiceSpec
}

export interface Objection {
  readonly code: ErrorCode
  readonly reason: string
}

function mergeServices(
  sources: readonly SourceSnapshot[],
  networks: ReadonlyMap<string, Network>,
  problems: Problem[],
): SourcedSpec[] {
  const owners = new Map<ServiceKey, string>()
  const kept: SourcedSpec[] = []
  const object = (source: string, spec: ServiceSpec, objection: Objection): void =>
    void problems.push({ source, item: `service ${serviceKey(spec)}`, ...objection })
  for (const { name: source, snapshot } of sources) {
    for (const spec of snapshot.services) {
      const owner = owners.get(serviceKey(spec))
      if (owner === undefined) {
        owners.set(serviceKey(spec), source)
        kept.push({ source, spec })
      } else {
        const reason = `source ${owner} already defines this service`
        object(source, spec, { code: 'DUPLICATE', reason })
      }
    }
  }
  const conflicts = findConflicts(
    networks,
    kept.map(({ spec }) => spec),
  )
  return kept.filter(({ source, spec }) => {
    const conflict = conflicts.get(spec)
    if (conflict !== undefined) object(source, spec, conflict)
    return conflict === undefined
  })
}

/**
 * Services that cannot stand: they do not fit their network, or an earlier one has their VIP.
 * @param services in order of precedence
 */
export function findConflicts(
  networks: ReadonlyMap<string, Network>,
  services: readonly ServiceSpec[],
): Map<ServiceSpec, Objection> {
  const claims = new Claims()
  const conflicts = new Map<ServiceSpec, Objection>()
  for (const spec of services) {
    const objection = misfit(spec, networks) ?? claims.claim(spec)
    if (objection !== undefined) conflicts.set(spec, objection)
  }
  return conflicts
}

/** What is wrong with a service by itself, given the networks. */
function misfit(spec: ServiceSpec, networks: ReadonlyMap<string, Network>): Objection | undefined {
  const network = networks.get(spec.network)
  if (network === undefined) {
    return { code: 'REFERENCE', reason: `there is no network ${spec.network}` }
  }
  const families = network.subnets.map(family)
  const outside = (address: string): boolean => !families.includes(family(address))
  const stray = spec.vips.find(outside) ?? spec.backends.find((b) => outside(b.address))?.address
  if (stray !== undefined) {
    return {
      code: 'REFERENCE',
      reason: `network ${spec.network} has no IPv${family(stray)} subnet for ${stray}`,
    }
  }
  const addresses = new Set(spec.backends.map(({ address }) => address))
  if (addresses.size < spec.backends.length) {
    return { code: 'DUPLICATE', reason: 'two backends have the same address' }
  }
  const nobody = [...spec.vips, ...addresses].find((address) => !isUnicast(address))
  if (nobody !== undefined) {
    return { code: 'VALUE', reason: `${nobody} is not the address of one host` }
  }
  // A connection that one path has led to the backend would be led on by the other.
  const both = spec.vips.find((vip) => addresses.has(vip))
  if (both !== undefined) {
    return { code: 'DUPLICATE', reason: `VIP ${both} is a backend of the service too` }
  }
  return answersNames(spec, network)
}

/** A VIP's port that the network's own DNS listener has: one of the two would never be reached. */
function answersNames(spec: ServiceSpec, network: Network): Objection | undefined {
  for (const text of network.dns.listen) {
    const { host, port } = parseListen(text)
    const taken = spec.ports.length === 0 || spec.ports.some((each) => each.port === port)
    if (taken && spec.vips.includes(host)) {
      return { code: 'DUPLICATE', reason: `VIP ${host} port ${port} is where the network has DNS` }
    }
  }
  return undefined
}

/** Which VIPs and ports of which network are spoken for by address. */
class Claims {
  /** `protocol/port` of the node → `network/service`. */
  readonly #published = new Map<string, string>()
  /** `network/vip` → `protocol/port`, or `*` for any port → the service's name. */
  readonly #taken = new Map<string, Map<string, string>>()

  /** Enters all of the service's claims, or none and says which one is taken. */
  claim(spec: ServiceSpec): Objection | undefined {
    const published = this.#publishedTwice(spec)
    if (published !== undefined) return published
    const taken = spec.mode === 'dnsrr' ? undefined : this.#claimVips(spec)
    if (taken === undefined)
      for (const port of spec.publish ?? []) this.#published.set(portKey(port), serviceKey(spec))
    return taken
  }

  /** The node has each of its ports once, whatever the network. */
  #publishedTwice({ publish = [] }: ServiceSpec): Objection | undefined {
    for (const port of publish.map(portKey)) {
      const holder = this.#published.get(port)
      if (holder !== undefined)
        return { code: 'DUPLICATE', reason: `port ${port} is already published by ${holder}` }
    }
    return undefined
  }

  #claimVips(spec: ServiceSpec): Objection | undefined {
    const ports = portKeys(spec)
    for (const vip of spec.vips) {
      const holder = this.#holder(spec, vip, ports)
      if (holder !== undefined) return holder
    }
    for (const vip of spec.vips) {
      const key = `${spec.network}/${vip}`
      const there = this.#taken.get(key) ?? new Map<string, string>()
      for (const port of ports) there.set(port, spec.name)
      this.#taken.set(key, there)
    }
    return undefined
  }

  #holder(spec: ServiceSpec, vip: string, ports: readonly string[]): Objection | undefined {
    const there = this.#taken.get(`${spec.network}/${vip}`)
    if (there === undefined) return undefined
    const anyPort = there.get(ANY_PORT) ?? (ports[0] === ANY_PORT ? first(there) : undefined)
    if (anyPort !== undefined) {
      return { code: 'DUPLICATE', reason: `VIP ${vip} is taken by service ${anyPort}` }
    }
    for (const port of ports) {
      const holder = there.get(port)
      if (holder !== undefined) {
        return { code: 'DUPLICATE', reason: `VIP ${vip} ${port} is taken by service ${holder}` }
      }
    }
    return undefined
  }
}

const ANY_PORT = '*'

function portKeys(spec: ServiceSpec): string[] {
  if (spec.ports.length === 0) return [ANY_PORT]
  return spec.ports.map(portKey)
}

function portKey({ port, protocol }: Port): string {
  return `${protocol}/${port}`
}

function first(map: ReadonlyMap<string, string>): string | undefined {
  const [value] = map.values()
  return value
}

/** The service with its VIPs: those asked for, then the automatic ones, IPv4 first. */
function settle(spec: ServiceSpec, assignments: Assignments): Service {
  const { autoVips, ...service } = spec
  if (service.mode === 'dnsrr') return { ...service, vips: [] }
  const automatic = [...autoVips].sort().flatMap((of) => {
    const vip = assignments.get(assignmentKey(spec, of))
    return vip === undefined ? [] : [vip]
  })
  return { ...service, vips: [...service.vips, ...automatic] }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** The families that a network's pools can give automatic VIPs of. */
export function poolFamilies(pools: readonly string[]): (4 | 6)[] {
  const families = new Set(pools.map((pool) => Cidr.parse(pool).family))
  return ([4, 6] as const).filter((of) => families.has(of))
}
