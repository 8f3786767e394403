/**
 * The zone: what names and addresses mean, as a pure function of one desired state.
 *
 * Only an index. Records are made in answer.ts when somebody asks, so that another zone costs one
 * pass over the services, or, where some of them are only replaced, what these cost. The indexes
 * that need every backend (host names, reverse) are made at their first use.
 */

import { Cidr, parseListen } from '../model/address.js'
import { sameData } from '../model/diff.js'
import { replacements, SharedMap, type Replacement } from '../model/sharedMap.js'
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
  /**
   * Another resolver knows the asker's networks as well: ours are only services, what is below them and
   * what belongs to them; of addresses only VIPs. All else is its to give, or to deny.
   */
  readonly shared?: boolean
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

export const NAMESERVER_LABEL = 'ns'
const TASKS_PREFIX = 'tasks.'
const PORT_NAME = /^_([^.]+)\._(tcp|udp)\.(.+)$/
/** What is a service's. */
const SERVED: ReadonlySet<Found['kind']> = new Set(['service', 'backends', 'port', 'pointer'])
const PROTOCOL_NAME = /^_(tcp|udp)\.(.+)$/

type Asking = Pick<Asker, 'stack' | 'shared'>

/** By a word of a service's backends: the names of those that have it, and of some that had it. */
type Whose = Map<string, string[]>

/** One network's names. */
class NetworkNames {
  readonly #subnets: readonly Cidr[]
  /** Made when they are first asked for; from then on successors share them. */
  #hosts: Whose | undefined
  #addresses: Whose | undefined
  /** Services of which they may have words that nobody has any more. */
  #stale = 0

  constructor(
    readonly network: Network,
    readonly domain: string | undefined,
    /** By name. */
    readonly members: SharedMap<Service>,
    /** Services by alias. */
    readonly aliases: ReadonlyMap<string, readonly string[]> = aliasesOf(members),
  ) {
    this.#subnets = network.subnets.map((subnet) => Cidr.parse(subnet))
  }

  isOf(network: Network, domain: string | undefined, members: readonly Service[]): boolean {
    if (this.network !== network || this.domain !== domain) return false
    if (this.members.size !== members.length) return false
    let at = 0
    for (const service of this.members.values()) if (service !== members[at++]) return false
    return true
  }

  /** @returns the same with other services in place of some; undefined if more than that differs */
  with(services: readonly Replacement<Service>[]): NetworkNames | undefined {
    for (const { before, after } of services)
      if (!sameData(before.aliases, after.aliases)) return undefined
    const members = this.members.with(services.map(({ after }) => [after.name, after]))
    if (members === undefined) return undefined
    const names = new NetworkNames(this.network, this.domain, members, this.aliases)
    names.#share(
      this,
      services.map(({ after }) => after),
    )
    return names
  }

  /** Another network of the name, or other services in it. */
  followedBy(
    network: Network,
    domain: string | undefined,
    services: readonly Service[],
  ): NetworkNames {
    const names = namesOf(network, domain, services)
    const changed = services.filter((service) => this.members.get(service.name) !== service)
    names.#share(this, changed)
    return names
  }

  /** What is added does not show in the previous one: it looks whether its services have that. */
  #share(previous: NetworkNames, changed: readonly Service[]): void {
    const gone = Math.max(0, previous.members.size + changed.length - this.members.size)
    this.#stale = previous.#stale + gone
    // Else they would grow with each change.
    if (this.#stale > Math.max(64, this.members.size / 4)) {
      this.#stale = 0
      return
    }
    this.#hosts = previous.#hosts && indexed(changed, hostnamesOf, previous.#hosts)
    this.#addresses = previous.#addresses && indexed(changed, addressesOf, previous.#addresses)
  }

  #named(name: string): Service | undefined {
    return this.members.get(name)
  }

  /** A service's own name wins over aliases; services that share an alias answer together. */
  services(name: string, stack: string | undefined): readonly Service[] | undefined {
    const ofStack = stack === undefined ? undefined : this.#named(`${stack}_${name}`)
    const own = ofStack ?? this.#named(name)
    if (own !== undefined) return [own]
    const aliased = this.aliases.get(name)
    if (aliased !== undefined) return aliased.flatMap((each) => this.#named(each) ?? [])
    for (const [head, tail] of cuts(name)) {
      const qualified = this.#named(`${tail}_${head}`)
      if (qualified !== undefined) return [qualified]
    }
    return undefined
  }

  find(name: string, asking: Asking): Found | undefined {
    const { stack, shared } = asking
    if (name.startsWith('_')) return this.#findPort(name, asking)
    const services = this.services(name, stack)
    if (services !== undefined) return { kind: 'service', services, tasks: false }
    if (name.startsWith(TASKS_PREFIX)) {
      const behind = this.services(name.slice(TASKS_PREFIX.length), stack)
      if (behind !== undefined) return { kind: 'service', services: behind, tasks: true }
    }
    const host = shared === true ? undefined : this.#hostNamed(name)
    if (host !== undefined) return host
    for (const [head, tail] of cuts(name)) {
      const backends =
        oneOf(this.services(tail, stack), ({ slot, hostname, address }) =>
          [slot, hostname, addressLabel(address)].includes(head),
        ) ?? oneOf(this.services(head, stack), ({ slot }) => slot === tail)
      if (backends !== undefined) return backends
    }
    if (name === NAMESERVER_LABEL && shared !== true) {
      const addresses = this.network.dns.listen.map((text) => parseListen(text, 53).host)
      return {
        kind: 'nameserver',
        addresses: addresses.filter((a) => a !== '0.0.0.0' && a !== '::'),
      }
    }
    return undefined
  }

  #findPort(name: string, asking: Asking): Found | undefined {
    const [, label, protocol, owner] = PORT_NAME.exec(name) ?? []
    if (label !== undefined && protocol !== undefined && owner !== undefined) {
      const ports = this.#ports(owner, protocol as Protocol, asking).filter(
        ({ port }) => port.name === label || String(port.port) === label,
      )
      return ports.length === 0 ? undefined : { kind: 'port', ports }
    }
    const [, below, parent] = PROTOCOL_NAME.exec(name) ?? []
    if (below === undefined || parent === undefined) return undefined
    const any = this.#ports(parent, below as Protocol, asking).length > 0
    return any ? { kind: 'empty' } : undefined
  }

  #ports(owner: string, protocol: Protocol, asking: Asking): ServicePort[] {
    const found = owner.startsWith('_') ? undefined : this.find(owner, asking)
    if (found?.kind !== 'service') return []
    return found.services.flatMap((service) =>
      service.ports
        .filter((port) => port.protocol === protocol)
        .map((port) => ({ service, port, tasks: found.tasks || service.mode === 'dnsrr' })),
    )
  }

  #hostNamed(name: string): Found | undefined {
    this.#hosts ??= indexed(this.members.values(), hostnamesOf)
    const backends: Backend[] = []
    let ttlSeconds = Infinity
    for (const service of this.#inOrder(this.#hosts.get(name))) {
      const own = service.backends.filter(({ hostname }) => hostname === name)
      backends.push(...own)
      if (own.length > 0) ttlSeconds = Math.min(ttlSeconds, service.ttlSeconds)
    }
    return backends.length === 0 ? undefined : { kind: 'backends', ttlSeconds, backends }
  }

  pointer(address: string, { shared }: Asking): Found | undefined {
    this.#addresses ??= indexed(this.members.values(), addressesOf)
    const names = new Set<string>()
    let ttlSeconds = Infinity
    for (const service of this.#inOrder(this.#addresses.get(address))) {
      if (shared === true && !service.vips.includes(address)) continue
      const own = this.#namesOf(service, address)
      for (const name of own) names.add(name)
      if (own.length > 0) ttlSeconds = Math.min(ttlSeconds, service.ttlSeconds)
    }
    return names.size === 0 ? undefined : { kind: 'pointer', ttlSeconds, names: [...names] }
  }

  /** What an address is called as VIP and as backends of a service. */
  #namesOf({ name, vips, backends }: Service, of: string): string[] {
    const those = backends.filter(({ address, state }) => address === of && state !== 'down')
    return [
      ...(vips.includes(of) ? [this.qualify(name)] : []),
      ...those.map(({ hostname, slot }) =>
        this.qualify(`${hostname ?? slot ?? addressLabel(of)}.${name}`),
      ),
    ]
  }

  #inOrder(names: readonly string[] = []): Service[] {
    const sorted = [...names].sort((a, b) => this.members.placeOf(a) - this.members.placeOf(b))
    return sorted.flatMap((name) => this.#named(name) ?? [])
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
}

/** Of the first of the services that has such backends, these. */
function oneOf(
  services: readonly Service[] | undefined,
  isOne: (backend: Backend) => boolean,
): Found | undefined {
  for (const { backends: all, ttlSeconds } of services ?? []) {
    const backends = all.filter(isOne)
    if (backends.length > 0) return { kind: 'backends', ttlSeconds, backends }
  }
  return undefined
}

function namesOf(
  network: Network,
  domain: string | undefined,
  services: readonly Service[],
): NetworkNames {
  const byName = SharedMap.of(services.map((service) => [service.name, service] as const))
  return new NetworkNames(network, domain, byName)
}

function aliasesOf(members: ReadonlyMap<string, Service>): Map<string, string[]> {
  const aliases: Whose = new Map()
  for (const { name, aliases: of } of members.values())
    for (const alias of of) addTo(aliases, alias, name)
  return aliases
}

function hostnamesOf({ backends }: Service): string[] {
  return backends.flatMap(({ hostname }) => hostname ?? [])
}

function addressesOf({ vips, backends }: Service): string[] {
  return [...vips, ...backends.map(({ address }) => address)]
}

function indexed(
  services: Iterable<Service>,
  wordsOf: (service: Service) => string[],
  index: Whose = new Map(),
): Whose {
  for (const service of services)
    for (const word of wordsOf(service)) addTo(index, word, service.name)
  return index
}

function addTo(index: Whose, word: string, name: string): void {
  const names = index.get(word)
  if (names === undefined) index.set(word, [name])
  else if (!names.includes(name)) names.push(name)
}

/** Immutable; safe to share between listeners. */
export class Zone {
  constructor(
    readonly revision: number,
    readonly options: ZoneOptions,
    readonly covered: ReadonlyMap<string, NetworkNames>,
    /** All networks there are: names in the others are denied, not passed on. */
    readonly known: ReadonlySet<string>,
    /** That it was made of. */
    readonly state?: State,
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
      const { found = { kind: 'absent' }, network } = this.#search(inner, seen, asker, home)
      // Below the domain a network is a name among others, without a zone of its own.
      return { found: found.kind === 'apex' ? { kind: 'empty' } : found, apex: domain, network }
    }
    const { found, network, apex } = this.#search(name, seen, asker, home)
    if (asker.shared === true && (found === undefined || !SERVED.has(found.kind))) return undefined
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
    asking: Asking,
    home: string,
  ): { found?: Found; network: string; apex: string } {
    for (const names of seen) {
      const found = names.find(name, asking)
      if (found !== undefined) return { found, network: names.network.name, apex: '.' }
    }
    for (const names of seen) {
      const network = names.network.name
      if (name === network) return { found: { kind: 'apex' }, network, apex: network }
      if (!isWithin(name, network)) continue
      const inner = name.slice(0, -network.length - 1)
      const found = names.find(inner, asking)
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
      const found = reverse.whole ? names.pointer(reverse.address, asker) : undefined
      if (found === undefined) continue
      const apexBits = bits ?? reverse.bits
      return { found, network, apex: this.#reverseApex(name, reverse, apexBits) }
    }
    if (held === undefined || asker.shared === true) return undefined
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
 * @param previous an earlier zone; what has not changed since is taken from it
 * @returns        what they mean at this revision
 */
export function buildZone(
  state: State,
  networks: readonly string[] | undefined,
  options: ZoneOptions,
  previous?: Zone,
): Zone {
  const names = networks ?? [...state.networks.keys()]
  const kept = replacedIn(state, names, options, previous)
  if (kept !== undefined) return zoneOf(state, options, kept)
  const covered = new Map<string, NetworkNames>()
  const members = new Map<string, Service[]>(names.map((name) => [name, []]))
  for (const service of state.services.values()) members.get(service.network)?.push(service)
  for (const [name, services] of members) {
    const network = state.networks.get(name)
    if (network === undefined) continue
    const known = previous?.covered.get(name)
    if (known?.isOf(network, options.domain, services) === true) covered.set(name, known)
    else {
      const now = known?.followedBy(network, options.domain, services)
      covered.set(name, now ?? namesOf(network, options.domain, services))
    }
  }
  return zoneOf(state, options, covered)
}

function zoneOf(
  state: State,
  options: ZoneOptions,
  covered: ReadonlyMap<string, NetworkNames>,
): Zone {
  return new Zone(state.revision, options, covered, new Set(state.networks.keys()), state)
}

/** The previous zone's names with other services in place of some, if nothing else differs. */
function replacedIn(
  { networks, services }: State,
  names: readonly string[],
  options: ZoneOptions,
  previous: Zone | undefined,
): Map<string, NetworkNames> | undefined {
  if (previous?.state?.networks !== networks || previous.options.domain !== options.domain)
    return undefined
  const replaced = replacements(previous.state.services, services)
  if (replaced === undefined) return undefined
  const byNetwork = new Map<string, Replacement<Service>[]>(names.map((name) => [name, []]))
  for (const each of replaced) byNetwork.get(each.after.network)?.push(each)
  const covered = new Map<string, NetworkNames>()
  for (const [name, own] of byNetwork) {
    if (!networks.has(name)) continue
    const known = previous.covered.get(name)
    const now = own.length === 0 ? known : known?.with(own)
    if (now === undefined) return undefined
    covered.set(name, now)
  }
  return covered
}
