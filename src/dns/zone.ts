/**
 * The zone: what names and addresses mean, as a pure function of one desired state.
 *
 * Only an index. Records are made in answer.ts when somebody asks, so that replacing the zone
 * costs one pass over the services, not over their backends; the indexes that need every backend
 * (host names, reverse) are made at their first use.
 */

import { Cidr, parseListen } from '../model/address.js'
import { sameData } from '../model/diff.js'
import type { Backend, Network, Port, Protocol, Service, State } from '../model/types.js'
import {
  addressLabel,
  cuts,
  isWithin,
  parseReverse,
  reverseApex,
  type ReverseName,
} from './name.js'

export interface ZoneOptions {
  /** A domain of which all names are ours, without dots at its ends: `cluster.internal`. */
  readonly domain?: string
  /** How long the absence of a name or record may be remembered. */
  readonly negativeTtlSeconds: number
  /** Ask upstreams for single labels that no network knows, instead of denying them. */
  readonly forwardSingleLabel: boolean
}

/** On whose behalf a question is answered. */
export interface Asker {
  /** Networks whose names are seen; the first that knows a name answers. */
  readonly networks: readonly string[]
  /** Of a service `stack_name`, this asker may say just `name`. */
  readonly stack?: string
}

/** What a name turned out to be. */
export type Found =
  | { readonly kind: 'service'; readonly services: readonly Service[]; readonly tasks: boolean }
  | {
      readonly kind: 'backends'
      readonly ttlSeconds: number
      readonly backends: readonly Backend[]
    }
  | { readonly kind: 'port'; readonly ports: readonly ServicePort[] }
  | { readonly kind: 'pointer'; readonly ttlSeconds: number; readonly names: readonly string[] }
  | { readonly kind: 'nameserver'; readonly addresses: readonly string[] }
  | { readonly kind: 'apex' }
  /** Exists only because names below it do. */
  | { readonly kind: 'empty' }
  | { readonly kind: 'absent' }

export interface ServicePort {
  readonly service: Service
  readonly port: Port
  readonly tasks: boolean
}

export interface Resolution {
  readonly found: Found
  /** Where our authority over the name begins: the owner of its SOA. `.` if it has no other. */
  readonly apex: string
  /** The network whose name server the apex's SOA and NS name. */
  readonly network: string
}

interface Pointer {
  ttlSeconds: number
  readonly names: Set<string>
}

interface HostName {
  ttlSeconds: number
  readonly backends: Backend[]
}

export const NAMESERVER_LABEL = 'ns'
const TASKS_PREFIX = 'tasks.'
const PORT_NAME = /^_([^.]+)\._(tcp|udp)\.(.+)$/
const PROTOCOL_NAME = /^_(tcp|udp)\.(.+)$/

/** One network's names. */
class NetworkNames {
  /** Places among the members. */
  readonly #byName: Map<string, number>
  readonly #byAlias: Map<string, number[]>
  readonly #subnets: readonly Cidr[]
  #byHostname: ReadonlyMap<string, HostName> | undefined
  #byAddress: ReadonlyMap<string, Pointer> | undefined

  constructor(
    readonly network: Network,
    readonly domain: string | undefined,
    readonly members: readonly Service[],
    /** Whose indexes do as well, when no service has come, gone or been called otherwise. */
    previous?: NetworkNames,
  ) {
    this.#subnets = network.subnets.map((subnet) => Cidr.parse(subnet))
    if (previous?.isNamedAs(members) === true) {
      this.#byName = previous.#byName
      this.#byAlias = previous.#byAlias
      return
    }
    this.#byName = new Map()
    this.#byAlias = new Map()
    members.forEach((service, place) => this.#add(service, place))
  }

  isNamedAs(members: readonly Service[]): boolean {
    return (
      this.members.length === members.length &&
      this.members.every((old, place) => {
        const service = members[place]
        if (service === old || service === undefined) return service === old
        return service.name === old.name && sameData(service.aliases, old.aliases)
      })
    )
  }

  isOf(network: Network, domain: string | undefined, members: readonly Service[]): boolean {
    return (
      this.network === network &&
      this.domain === domain &&
      this.members.length === members.length &&
      this.members.every((service, index) => service === members[index])
    )
  }

  #add(service: Service, place: number): void {
    this.#byName.set(service.name, place)
    for (const alias of service.aliases) {
      const sharing = this.#byAlias.get(alias)
      if (sharing === undefined) this.#byAlias.set(alias, [place])
      else sharing.push(place)
    }
  }

  #named(name: string): Service | undefined {
    return this.members[this.#byName.get(name) ?? -1]
  }

  /** A service's own name wins over aliases; services that share an alias answer together. */
  services(name: string, stack: string | undefined): readonly Service[] | undefined {
    const ofStack = stack === undefined ? undefined : this.#named(`${stack}_${name}`)
    const own = ofStack ?? this.#named(name)
    if (own !== undefined) return [own]
    const aliased = this.#byAlias.get(name)
    if (aliased !== undefined) return aliased.flatMap((place) => this.members[place] ?? [])
    for (const [head, tail] of cuts(name)) {
      const qualified = this.#named(`${tail}_${head}`)
      if (qualified !== undefined) return [qualified]
    }
    return undefined
  }

  find(name: string, stack: string | undefined): Found | undefined {
    if (name.startsWith('_')) return this.#findPort(name, stack)
    const services = this.services(name, stack)
    if (services !== undefined) return { kind: 'service', services, tasks: false }
    if (name.startsWith(TASKS_PREFIX)) {
      const behind = this.services(name.slice(TASKS_PREFIX.length), stack)
      if (behind !== undefined) return { kind: 'service', services: behind, tasks: true }
    }
    const host = this.#hostnames().get(name)
    if (host !== undefined) return { kind: 'backends', ...host }
    for (const [head, tail] of cuts(name)) {
      const backends = this.#oneOf(head, this.services(tail, stack) ?? [])
      if (backends !== undefined) return backends
    }
    if (name === NAMESERVER_LABEL) {
      const addresses = this.network.dns.listen.map((text) => parseListen(text, 53).host)
      return {
        kind: 'nameserver',
        addresses: addresses.filter((a) => a !== '0.0.0.0' && a !== '::'),
      }
    }
    return undefined
  }

  /** `slot.service`, and as well `hostname.service` and `10-0-0-5.service`. */
  #oneOf(label: string, services: readonly Service[]): Found | undefined {
    for (const service of services) {
      const backends = service.backends.filter(
        ({ slot, hostname, address }) =>
          slot === label || hostname === label || addressLabel(address) === label,
      )
      if (backends.length > 0) return { kind: 'backends', ttlSeconds: service.ttlSeconds, backends }
    }
    return undefined
  }

  #findPort(name: string, stack: string | undefined): Found | undefined {
    const [, label, protocol, owner] = PORT_NAME.exec(name) ?? []
    if (label !== undefined && protocol !== undefined && owner !== undefined) {
      const ports = this.#ports(owner, protocol as Protocol, stack).filter(
        ({ port }) => port.name === label || String(port.port) === label,
      )
      return ports.length === 0 ? undefined : { kind: 'port', ports }
    }
    const [, below, parent] = PROTOCOL_NAME.exec(name) ?? []
    if (below === undefined || parent === undefined) return undefined
    const any = this.#ports(parent, below as Protocol, stack).length > 0
    return any ? { kind: 'empty' } : undefined
  }

  #ports(owner: string, protocol: Protocol, stack: string | undefined): ServicePort[] {
    const found = owner.startsWith('_') ? undefined : this.find(owner, stack)
    if (found?.kind !== 'service') return []
    return found.services.flatMap((service) =>
      service.ports
        .filter((port) => port.protocol === protocol)
        .map((port) => ({ service, port, tasks: found.tasks || service.mode === 'dnsrr' })),
    )
  }

  pointer(address: string): Found | undefined {
    const pointer = this.#addresses().get(address)
    if (pointer === undefined) return undefined
    return { kind: 'pointer', ttlSeconds: pointer.ttlSeconds, names: [...pointer.names] }
  }

  /** @returns how many leading bits our authority fixes; undefined: the name is outside */
  authorityBits(reverse: ReverseName): number | undefined {
    const held = this.#subnets.find(
      (subnet) => reverse.bits >= subnet.prefix && subnet.contains(reverse.address),
    )
    return held?.prefix
  }

  /** A name of this network in full. */
  qualify(name: string): string {
    const full = `${name}.${this.network.name}`
    return this.domain === undefined ? full : `${full}.${this.domain}`
  }

  #hostnames(): ReadonlyMap<string, HostName> {
    if (this.#byHostname !== undefined) return this.#byHostname
    const index = new Map<string, HostName>()
    for (const { backends, ttlSeconds } of this.members) {
      for (const backend of backends) {
        if (backend.hostname === undefined) continue
        const known = index.get(backend.hostname)
        if (known === undefined) index.set(backend.hostname, { ttlSeconds, backends: [backend] })
        else {
          known.backends.push(backend)
          known.ttlSeconds = Math.min(known.ttlSeconds, ttlSeconds)
        }
      }
    }
    this.#byHostname = index
    return index
  }

  #addresses(): ReadonlyMap<string, Pointer> {
    if (this.#byAddress !== undefined) return this.#byAddress
    const index = new Map<string, Pointer>()
    const point = (address: string, name: string, ttlSeconds: number): void => {
      const known = index.get(address)
      if (known === undefined) index.set(address, { ttlSeconds, names: new Set([name]) })
      else {
        known.names.add(name)
        known.ttlSeconds = Math.min(known.ttlSeconds, ttlSeconds)
      }
    }
    for (const { name, vips, backends, ttlSeconds } of this.members) {
      for (const vip of vips) point(vip, this.qualify(name), ttlSeconds)
      for (const { address, hostname, slot, state } of backends) {
        if (state === 'down') continue
        const label = hostname ?? slot ?? addressLabel(address)
        point(address, this.qualify(`${label}.${name}`), ttlSeconds)
      }
    }
    this.#byAddress = index
    return index
  }
}

/** Immutable; safe to share between listeners. */
export class Zone {
  constructor(
    readonly revision: number,
    readonly options: ZoneOptions,
    readonly covered: ReadonlyMap<string, NetworkNames>,
    /** All networks there are: names in the others are denied, not passed on. */
    readonly known: ReadonlySet<string>,
  ) {}

  /**
   * @param name lower-case, no dot at the end
   * @returns undefined when the name is not ours to answer
   */
  resolve(name: string, asker: Asker): Resolution | undefined {
    const reverse = parseReverse(name)
    if (reverse !== undefined) return this.#resolveReverse(name, reverse, asker)
    const seen = asker.networks.flatMap((network) => this.covered.get(network) ?? [])
    const { domain } = this.options
    const home = seen[0]?.network.name ?? 'invalid'
    if (domain !== undefined && isWithin(name, domain)) {
      if (name === domain) return { found: { kind: 'apex' }, apex: domain, network: home }
      const inner = name.slice(0, -domain.length - 1)
      const { found = { kind: 'absent' }, network } = this.#search(inner, seen, asker.stack, home)
      // Below the domain a network is a name among others, without a zone of its own.
      return { found: found.kind === 'apex' ? { kind: 'empty' } : found, apex: domain, network }
    }
    const { found, network, apex } = this.#search(name, seen, asker.stack, home)
    if (found !== undefined) return { found, apex, network }
    if (!this.#isOurs(name, seen, asker.stack)) return undefined
    return { found: { kind: 'absent' }, apex, network }
  }

  /** A name of a network in full, domain included. */
  qualify(name: string, network: string): string {
    const full = `${name}.${network}`
    return this.options.domain === undefined ? full : `${full}.${this.options.domain}`
  }

  #search(
    name: string,
    seen: readonly NetworkNames[],
    stack: string | undefined,
    home: string,
  ): { found?: Found; network: string; apex: string } {
    for (const names of seen) {
      const found = names.find(name, stack)
      if (found !== undefined) return { found, network: names.network.name, apex: '.' }
    }
    for (const names of seen) {
      const network = names.network.name
      if (name === network) return { found: { kind: 'apex' }, network, apex: network }
      if (!isWithin(name, network)) continue
      const inner = name.slice(0, -network.length - 1)
      const found = names.find(inner, stack)
      if (found !== undefined) return { found, network, apex: network }
      if (inner === 'tasks') return { found: { kind: 'empty' }, network, apex: network }
      return { network, apex: network }
    }
    if (name === 'tasks') return { found: { kind: 'empty' }, network: home, apex: '.' }
    return { network: home, apex: '.' }
  }

  /** Whether a name that nobody has would be ours; else a typing error would leak upstream. */
  #isOurs(name: string, seen: readonly NetworkNames[], stack: string | undefined): boolean {
    if (name === '.') return false
    if (!name.includes('.')) return !this.options.forwardSingleLabel
    for (const [head, tail] of cuts(name)) {
      if (this.known.has(tail)) return true
      if (seen.some((names) => names.services(tail, stack) !== undefined)) return true
      if (head === 'tasks' && !tail.includes('.')) return true
    }
    return false
  }

  #resolveReverse(name: string, reverse: ReverseName, asker: Asker): Resolution | undefined {
    let held: { names: NetworkNames; bits: number } | undefined
    for (const network of asker.networks) {
      const names = this.covered.get(network)
      if (names === undefined) continue
      const bits = names.authorityBits(reverse)
      if (bits !== undefined) held ??= { names, bits }
      const found = reverse.whole ? names.pointer(reverse.address) : undefined
      if (found === undefined) continue
      const apexBits = bits ?? reverse.bits
      return { found, network, apex: this.#reverseApex(name, reverse, apexBits) }
    }
    if (held === undefined) return undefined
    const apex = this.#reverseApex(name, reverse, held.bits)
    const kind = apex === name ? 'apex' : reverse.whole ? 'absent' : 'empty'
    return { found: { kind }, apex, network: held.names.network.name }
  }

  #reverseApex(name: string, reverse: ReverseName, bits: number): string {
    return reverseApex(name, Math.max(1, Math.ceil(bits / reverse.bitsPerLabel)))
  }
}

/**
 * @param networks names of the networks to cover; absent: all
 * @param previous an earlier zone; networks in which nothing changed keep their indexes
 * @returns        what they mean at this revision
 */
export function buildZone(
  state: State,
  networks: readonly string[] | undefined,
  options: ZoneOptions,
  previous?: Zone,
): Zone {
  const members = new Map<string, Service[]>()
  for (const name of networks ?? state.networks.keys()) members.set(name, [])
  for (const service of state.services.values()) members.get(service.network)?.push(service)
  const covered = new Map<string, NetworkNames>()
  for (const [name, services] of members) {
    const network = state.networks.get(name)
    if (network === undefined) continue
    const known = previous?.covered.get(name)
    const unchanged = known?.isOf(network, options.domain, services) === true
    covered.set(
      name,
      unchanged ? known : new NetworkNames(network, options.domain, services, known),
    )
  }
  return new Zone(state.revision, options, covered, new Set(state.networks.keys()))
}
