/**
 * From the file's text to what it says: networks and services in canonical form, item by item, so
 * that a mistake costs one item and is told with its place. Pure.
 */
import { canonicalAddress, Cidr, family, formatListen, parseListen } from '../../model/address.js'
import { findConflicts } from '../../model/conflicts.js'
import { poolFamilies } from '../../model/merge.js'
import { serviceKey } from '../../model/types.js'
import type { Backend, Family, Network, Port, ServiceSpec, Timeouts } from '../../model/types.js'
import { choiceOf } from './choice.js'
import { YamlFile, type FieldPath, type Mistake, type Places } from './document.js'
import { durationMs, expectation, shown } from './fields.js'
import { healthOf } from './health.js'
import { check } from './issues.js'
import {
  networkSchema,
  outlineSchema,
  parsePort,
  serviceSchema,
  type NetworkEntry,
  type ServiceEntry,
} from './schema.js'

const DEFAULT_TTL_SECONDS = 5

/** One entry of `networks` or `services`: what it defines, or why it does not. */
export interface Entry<T> {
  /** Canonical; absent if the entry has no usable name. */
  readonly name?: string
  /**
   * A service has one item per network. With mistakes: the last good definition, if there was one.
   */
  readonly items: readonly T[]
  readonly mistakes: readonly Mistake[]
}

/** What the entries said when they last were good. */
export interface LastGood {
  readonly networks: readonly Network[]
  readonly services: readonly ServiceSpec[]
}

const NOTHING: LastGood = { networks: [], services: [] }

export interface Entries {
  readonly networks: readonly Entry<Network>[]
  readonly services: readonly Entry<ServiceSpec>[]
}

export interface ParsedFile extends Entries {
  /** The `agent:` section as it stands; config.ts checks it. */
  readonly agent: unknown
  readonly yaml: YamlFile
}

/** The file as a whole is unusable, or is not. */
export type Outcome =
  | { readonly ok: true; readonly file: ParsedFile }
  | { readonly ok: false; readonly mistakes: readonly Mistake[] }

/**
 * @param name the file as messages call it
 * @param last stands in for entries with mistakes
 */
export function parseFile(name: string, text: string, last: LastGood = NOTHING): Outcome {
  const outcome = parseEntries(name, text, last.networks)
  if (!outcome.ok) return outcome
  const services = keepServices(outcome.file.services, last.services)
  return { ok: true, file: { ...outcome.file, services } }
}

/** Entries of services with mistakes get their last good definitions, if there were any. */
export function keepServices(
  entries: readonly Entry<ServiceSpec>[],
  last: readonly ServiceSpec[],
): readonly Entry<ServiceSpec>[] {
  if (entries.every(({ mistakes }) => mistakes.length === 0)) return entries
  return keepLast(entries, last, serviceKey)
}

/**
 * The same as parseFile(), but nothing stands in for services with mistakes.
 *
 * @param lastNetworks stand in for networks with mistakes
 */
export function parseEntries(
  name: string,
  text: string,
  lastNetworks: readonly Network[] = [],
): Outcome {
  const yaml = YamlFile.parse(name, text)
  if (yaml.mistakes.length > 0) return { ok: false, mistakes: yaml.mistakes }
  const outline = check(outlineSchema, yaml.value, yaml, [])
  if (!outline.ok) return outline
  const networks = keepLast(
    unique(
      (outline.value.networks ?? []).map((value, i) => networkEntry(value, yaml, ['networks', i])),
      networkName,
      (i) => yaml.place(['networks', i, 'name']),
    ),
    lastNetworks,
    networkName,
  )
  const known = new Map(networks.flatMap(({ items }) => items).map((item) => [item.name, item]))
  const services = unique(
    (outline.value.services ?? []).map((value, i) =>
      serviceEntry(value, known, yaml, ['services', i]),
    ),
    serviceKey,
    (i) => yaml.place(['services', i, 'name']),
  )
  const settled = withoutConflicts(services, known, (i) => yaml.place(['services', i]))
  return { ok: true, file: { networks, services: settled, agent: outline.value.agent, yaml } }
}

function networkName(network: Network): string {
  return network.name
}

function networkEntry(value: unknown, yaml: YamlFile, at: FieldPath): Entry<Network> {
  const checked = check(networkSchema, value, yaml, at)
  if (!checked.ok) return { ...nameOf(value), items: [], mistakes: checked.mistakes }
  const entry = checked.value
  const complain = complaints(yaml, at)
  const subnets = entry.subnets.map((text) => Cidr.parse(text))
  if (subnets.length === 2 && subnets[0]?.family === subnets[1]?.family) {
    complain(['subnets', 1], `is a second IPv${family(entry.subnets[1] ?? '')} range`)
  }
  entry.pool?.forEach((text, i) => {
    const pool = Cidr.parse(text)
    if (!subnets.some((subnet) => subnet.family === pool.family)) {
      complain(['pool', i], `is IPv${pool.family}, but the network has no such subnet`)
    }
  })
  const mistakes = complain.mistakes
  const name = entry.name.toLowerCase()
  if (mistakes.length > 0) return { name, items: [], mistakes }
  return { name, items: [networkOf(name, entry, subnets.map(String))], mistakes }
}

function networkOf(name: string, entry: NetworkEntry, subnets: string[]): Network {
  const listen = (entry.dns?.listen ?? []).map((text) => parseListen(text, 53))
  const reserved = [...(entry.reserved ?? []), ...listen.map(({ host }) => host)]
  const { namespace, bridge, interfaces = [], sockets = [] } = entry.attach ?? {}
  return {
    name,
    subnets,
    pools: entry.pool?.map((text) => Cidr.parse(text).toString()) ?? subnets,
    reserved: [...new Set(reserved.map(canonicalAddress))],
    attachment: {
      ...(namespace === undefined ? {} : { namespace }),
      ...(bridge === undefined ? {} : { bridge }),
      interfaces: [...new Set(interfaces)],
      sockets: [...new Set(sockets)],
    },
    dns: { listen: [...new Set(listen.map(formatListen))] },
    ...(entry.edge === true && { edge: true }),
  }
}

/** One service by itself, whoever wrote it: what it shares with others is not looked at. */
export function serviceEntry(
  value: unknown,
  networks: ReadonlyMap<string, Network>,
  yaml: Places,
  at: FieldPath,
): Entry<ServiceSpec> {
  const checked = check(serviceSchema, value, yaml, at)
  if (!checked.ok) return { ...nameOf(value), items: [], mistakes: checked.mistakes }
  const entry = checked.value
  const complain = complaints(yaml, at)
  const names = networksOf(entry, networks, complain)
  const common = commonPart(entry, complain)
  const vips = vipsOf(entry, complain)
  for (const network of names) familiesFit(entry, network, complain)
  if (complain.mistakes.length > 0) {
    return { name: common.name, items: [], mistakes: complain.mistakes }
  }
  const items = names.map((network) => ({
    ...common,
    network: network.name,
    vips: vips ?? [],
    autoVips: vips === undefined && common.mode === 'vip' ? automatic(network) : [],
  }))
  return { name: common.name, items, mistakes: [] }
}

function automatic(network: Network): Family[] {
  return poolFamilies(network.pools)
}

function networksOf(
  entry: ServiceEntry,
  known: ReadonlyMap<string, Network>,
  complain: Complain,
): Network[] {
  if (entry.network !== undefined && entry.networks !== undefined) {
    complain(['networks'], 'cannot stand beside network')
    return []
  }
  const named: { name: string; path: FieldPath }[] =
    entry.network === undefined
      ? (entry.networks ?? []).map((name, i) => ({ name, path: ['networks', i] }))
      : [{ name: entry.network, path: ['network'] }]
  if (named.length === 0) complain(['network'], 'is missing; must be the name of a network')
  const seen = new Set<string>()
  return named.flatMap(({ name, path }) => {
    const network = known.get(name.toLowerCase())
    if (network === undefined) {
      complain(path, `there is no network ${shown(name)}, or it has a mistake`, 'REFERENCE')
    } else if (seen.has(network.name)) {
      complain(path, `names ${shown(name)} twice`, 'DUPLICATE')
    }
    if (network !== undefined) seen.add(network.name)
    return network === undefined ? [] : [network]
  })
}

function commonPart(
  entry: ServiceEntry,
  complain: Complain,
): Omit<ServiceSpec, 'network' | 'vips' | 'autoVips'> {
  const ttlMs = entry.ttl === undefined ? DEFAULT_TTL_SECONDS * 1000 : (durationMs(entry.ttl) ?? 0)
  if (ttlMs % 1000 !== 0) complain(['ttl'], expectation('whole seconds', entry.ttl))
  const ports = portsOf(entry.ports, 'ports', complain)
  const publish = portsOf(entry.publish, 'publish', complain)
  if (entry.return?.startsWith('dsr')) dsrFits(ports, publish, complain)
  const health = entry.health && healthOf(entry.health, ports, complain)
  return {
    name: entry.name.toLowerCase(),
    mode: entry.mode ?? 'vip',
    ports,
    ...(publish.length > 0 && { publish }),
    ...(entry.return !== undefined && { return: entry.return }),
    ...choiceOf(entry, complain),
    ttlSeconds: Math.floor(ttlMs / 1000),
    aliases: [...new Set((entry.aliases ?? []).map((alias) => alias.toLowerCase()))],
    backends: backendsOf(entry, complain),
    ...(health === undefined ? {} : { health }),
    ...(entry.timeouts === undefined ? {} : { timeouts: timeoutsOf(entry.timeouts) }),
    ...(entry.drain === undefined ? {} : { drainSeconds: (durationMs(entry.drain) ?? 0) / 1000 }),
  }
}

/** Who answers by himself has to be what the client dialled. */
function dsrFits(ports: readonly Port[], publish: readonly Port[], complain: Complain): void {
  const moved = ports.findIndex(({ port, targetPort }) => port !== targetPort)
  if (moved >= 0) complain(['ports', moved], 'changes the port, which DSR cannot')
  if (publish.length > 0) complain(['publish'], 'cannot stand with DSR')
}

function portsOf(
  values: ServiceEntry['ports'],
  field: 'ports' | 'publish',
  complain: Complain,
): Port[] {
  const taken = new Set<string>()
  return (values ?? []).map((value, i) => {
    const port = portOf(value)
    const key = `${port.protocol}/${port.port}`
    if (taken.has(key)) complain([field, i], `defines ${key} again`, 'DUPLICATE')
    taken.add(key)
    return port
  })
}

function portOf(value: NonNullable<ServiceEntry['ports']>[number]): Port {
  if (typeof value === 'number') return { protocol: 'tcp', port: value, targetPort: value }
  if (typeof value === 'string') {
    const port = parsePort(value)
    if (port === undefined) throw new RangeError(`unchecked port ${value}`)
    return port
  }
  return {
    protocol: value.protocol ?? 'tcp',
    port: value.port,
    targetPort: value.targetPort ?? value.port,
    ...(value.name === undefined ? {} : { name: value.name.toLowerCase() }),
  }
}

function backendsOf(entry: ServiceEntry, complain: Complain): Backend[] {
  const taken = new Set<string>()
  return (entry.backends ?? []).flatMap((value, i) => {
    const given = typeof value === 'string' ? { address: value } : value
    const texts = typeof given.address === 'string' ? [given.address] : given.address
    const addresses = texts.map(canonicalAddress)
    for (const address of addresses) {
      if (taken.has(address)) complain(['backends', i], `has ${address} again`, 'DUPLICATE')
      taken.add(address)
    }
    const [one, two] = addresses
    if (one === undefined || (two !== undefined && family(one) === family(two))) {
      complain(['backends', i, 'address'], 'must be one address, or one per family')
    }
    const { weight = 1, state = 'active', slot, hostname, node, priority, via } = { ...given }
    const nodes = (typeof via === 'string' ? [via] : (via ?? [])).map(canonicalAddress)
    return addresses.map((address) => ({
      address,
      weight,
      state,
      ...viaIn(nodes, address),
      ...(slot === undefined ? {} : { slot: slot.toLowerCase() }),
      ...(hostname === undefined ? {} : { hostname: hostname.toLowerCase() }),
      ...(node === undefined ? {} : { node: node.toLowerCase() }),
      ...(priority === undefined ? {} : { priority }),
    }))
  })
}

/** The node's address of the same family as the backend's. */
function viaIn(nodes: readonly string[], address: string): { via?: string } {
  const via = nodes.find((node) => family(node) === family(address))
  return via === undefined ? {} : { via }
}

/** Undefined: automatic. */
function vipsOf(entry: ServiceEntry, complain: Complain): string[] | undefined {
  const { vip = 'auto' } = entry
  if (entry.mode === 'dnsrr' && entry.vip !== undefined) {
    complain(['vip'], 'cannot stand with mode dnsrr')
  }
  if (vip === 'auto') return undefined
  const vips = (typeof vip === 'string' ? [vip] : vip).map(canonicalAddress)
  if (vips.length === 0) complain(['vip'], 'must be auto or at least one address')
  if (new Set(vips).size < vips.length) complain(['vip'], 'has an address twice', 'DUPLICATE')
  return vips
}

function familiesFit(entry: ServiceEntry, network: Network, complain: Complain): void {
  const families = new Set(network.subnets.map(family))
  const fits = (text: string, path: FieldPath): void => {
    const of = family(canonicalAddress(text))
    if (families.has(of)) return
    complain(path, `${text} is IPv${of}, but network ${network.name} has no such subnet`)
  }
  if (entry.vip !== undefined && entry.vip !== 'auto') {
    if (typeof entry.vip === 'string') fits(entry.vip, ['vip'])
    else entry.vip.forEach((vip, i) => fits(vip, ['vip', i]))
  }
  entry.backends?.forEach((backend, i) => {
    const address = typeof backend === 'string' ? backend : backend.address
    for (const text of typeof address === 'string' ? [address] : address) {
      fits(text, ['backends', i])
    }
  })
}

/** Later entries that define again what an earlier one did become mistakes. */
function unique<T>(
  entries: readonly Entry<T>[],
  keyOf: (item: T) => string,
  placeOf: (index: number) => string,
): Entry<T>[] {
  const first = new Map<string, number>()
  return entries.map((entry, index) => {
    const clash = entry.items.map(keyOf).find((key) => first.has(key))
    if (clash === undefined) {
      for (const item of entry.items) first.set(keyOf(item), index)
      return entry
    }
    const reason = `${clash} is already defined at ${placeOf(first.get(clash) ?? 0)}`
    return reject(entry, { place: placeOf(index), code: 'DUPLICATE', reason })
  })
}

/** What the model would refuse, refused here, where the place is known. */
function withoutConflicts(
  entries: readonly Entry<ServiceSpec>[],
  networks: ReadonlyMap<string, Network>,
  placeOf: (index: number) => string,
): Entry<ServiceSpec>[] {
  const conflicts = findConflicts(
    networks,
    entries.flatMap(({ items }) => items),
  )
  return entries.map((entry, index) => {
    const conflict = entry.items.map((item) => conflicts.get(item)).find((c) => c !== undefined)
    return conflict === undefined ? entry : reject(entry, { place: placeOf(index), ...conflict })
  })
}

/**
 * Entries with mistakes get their last good items: by name, or, where the name itself cannot be
 * read, all that the file does not define otherwise, since it may be any of them.
 */
function keepLast<T extends { readonly name: string }>(
  entries: readonly Entry<T>[],
  last: readonly T[],
  keyOf: (item: T) => string,
): Entry<T>[] {
  const defined = new Set(entries.flatMap(({ items }) => items).map(keyOf))
  const bad = new Set(entries.filter(({ mistakes }) => mistakes.length > 0).map((e) => e.name))
  const missing = bad.size === 0 ? [] : last.filter((item) => !defined.has(keyOf(item)))
  const byName = new Map<string | undefined, T[]>()
  for (const item of missing) {
    const owner = bad.has(item.name) ? item.name : undefined
    byName.set(owner, [...(byName.get(owner) ?? []), item])
  }
  return entries.map((entry) => {
    if (entry.mistakes.length === 0) return entry
    const items = byName.get(entry.name) ?? []
    byName.delete(entry.name)
    return { ...entry, items }
  })
}

function reject<T>(entry: Entry<T>, mistake: Mistake): Entry<T> {
  return { ...entry, items: [], mistakes: [mistake] }
}

function nameOf(value: unknown): { name?: string } {
  if (typeof value !== 'object' || value === null || !('name' in value)) return {}
  return typeof value.name === 'string' ? { name: value.name.toLowerCase() } : {}
}

export interface Complain {
  (path: FieldPath, reason: string, code?: Mistake['code']): void
  readonly mistakes: Mistake[]
}

function complaints(yaml: Places, at: FieldPath): Complain {
  const mistakes: Mistake[] = []
  const complain = (path: FieldPath, reason: string, code: Mistake['code'] = 'VALUE'): void => {
    mistakes.push({ place: yaml.place([...at, ...path]), code, reason })
  }
  return Object.assign(complain, { mistakes })
}

function timeoutsOf(given: NonNullable<ServiceEntry['timeouts']>): Timeouts {
  const { syn, established, closing, udp, reset } = given
  const seconds = (value: number | string): number => (durationMs(value) ?? 0) / 1000
  return {
    ...(syn !== undefined && { synSeconds: seconds(syn) }),
    ...(established !== undefined && { establishedSeconds: seconds(established) }),
    ...(closing !== undefined && { closingSeconds: seconds(closing) }),
    ...(udp !== undefined && { udpSeconds: seconds(udp) }),
    ...(reset === true && { reset }),
  }
}
