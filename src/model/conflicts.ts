/**
 * Which services cannot stand: they do not fit their network, or what they claim is an earlier
 * one's. Pure.
 */
import type { ErrorCode } from '../errors.js'
import { family, isUnicast, parseListen } from './address.js'
import { serviceKey, type Network, type Port, type ServiceSpec } from './types.js'

export interface Objection {
  readonly code: ErrorCode
  readonly reason: string
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
  const hosts = new Hosts(services)
  const conflicts = new Map<ServiceSpec, Objection>()
  for (const spec of services) {
    const objection = knownMisfit(spec, networks) ?? hosts.clash(spec) ?? claims.claim(spec)
    if (objection === undefined) hosts.add(spec)
    else conflicts.set(spec, objection)
  }
  return conflicts
}

interface Judged {
  readonly network: Network | undefined
  readonly objection: Objection | undefined
}

/** What is wrong with a spec in a network: neither of them changes. */
const judged = new WeakMap<ServiceSpec, Judged>()

function knownMisfit(
  spec: ServiceSpec,
  networks: ReadonlyMap<string, Network>,
): Objection | undefined {
  const network = networks.get(spec.network)
  const known = judged.get(spec)
  if (known !== undefined && known.network === network) return known.objection
  const objection = misfit(spec, networks)
  judged.set(spec, { network, objection })
  return objection
}

/** What is wrong with a service by itself, given the networks. */
export function misfit(
  spec: ServiceSpec,
  networks: ReadonlyMap<string, Network>,
): Objection | undefined {
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

/** An address that is VIP and host, and who has it as which. */
interface Contested {
  vip?: string
  host?: string
}

/**
 * Which addresses are VIPs and which are hosts. fairlead answers ARP for a VIP, and translates what
 * is sent to it: a host of that address would be reached by nobody, and a VIP that is a backend would
 * be balanced twice, or once, as the path has it.
 */
class Hosts {
  /** By network, then address; hardly ever anything, so that it costs no row a backend. */
  readonly #contested = new Map<string, Map<string, Contested>>()

  constructor(services: readonly ServiceSpec[]) {
    const vips = new Map<string, Set<string>>()
    for (const spec of services) {
      const there = vips.get(spec.network) ?? new Set()
      vips.set(spec.network, there)
      for (const vip of dialled(spec)) there.add(vip)
    }
    for (const { network, backends } of services) {
      const there = vips.get(network)
      if (there === undefined || there.size === 0) continue
      for (const { address } of backends) if (there.has(address)) this.#contest(network, address)
    }
  }

  clash(spec: ServiceSpec): Objection | undefined {
    const contested = this.#contested.get(spec.network)
    if (contested === undefined) return undefined
    for (const vip of dialled(spec)) {
      const host = contested.get(vip)?.host
      if (host !== undefined)
        return { code: 'DUPLICATE', reason: `VIP ${vip} is a backend of service ${host}` }
    }
    for (const { address } of spec.backends) {
      const holder = contested.get(address)?.vip
      if (holder !== undefined)
        return { code: 'DUPLICATE', reason: `backend ${address} is a VIP of service ${holder}` }
    }
    return undefined
  }

  /** To be called for each service that stands, in order. */
  add(spec: ServiceSpec): void {
    const contested = this.#contested.get(spec.network)
    if (contested === undefined) return
    for (const vip of dialled(spec)) {
      const address = contested.get(vip)
      if (address !== undefined) address.vip ??= spec.name
    }
    for (const backend of spec.backends) {
      const address = contested.get(backend.address)
      if (address !== undefined) address.host ??= spec.name
    }
  }

  #contest(network: string, address: string): void {
    const there = this.#contested.get(network) ?? new Map<string, Contested>()
    this.#contested.set(network, there.set(address, {}))
  }
}

function dialled({ mode, vips }: ServiceSpec): readonly string[] {
  return mode === 'dnsrr' ? [] : vips
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
    const taken = this.#claimVips(spec)
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
    for (const vip of dialled(spec)) {
      const holder = this.#holder(spec, vip, ports)
      if (holder !== undefined) return holder
    }
    for (const vip of dialled(spec)) {
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
