/**
 * What a service is in the kernel: a pure function of it, its network and the ids. Field names are
 * those of bpf/maps.h; the codecs refuse any other.
 */
import type { Value } from 'libbpf-ts'
import { Cidr, family, toWords } from '../model/address.js'
import { serviceRing, servingBackends } from '../model/ring.js'
import type { Algorithm, Backend, Family, Network, ReturnPath, Service } from '../model/types.js'
import { policyOf, sourcePlans } from './policy.js'
import {
  isPublished,
  NO_VIA,
  outsidePorts,
  outsideVips,
  viaOf,
  type Outside,
  type ViaPlan,
} from './outside.js'

export type Fields = Record<string, Value>

interface AddressFields extends Fields {
  network: number
  addr: number | number[]
}

/** Numeric values of the enums in bpf/maps.h that rows are made of, from the object's BTF. */
export interface Words {
  readonly algorithm: Readonly<Record<Algorithm, number>>
  readonly vip: {
    readonly balanced: number
    readonly anyPort: number
    readonly backend: number
    readonly node: number
  }
  readonly onLink: number
  readonly via: Readonly<Record<'here' | ReturnPath, number>>
  readonly closed: number
  readonly service: { readonly sources: number; readonly listedOnly: number }
  readonly source: { readonly allow: number; readonly deny: number }
}

export interface RowIds {
  readonly network: number
  readonly service: number
  /** Name of this node: whose backends are local. */
  readonly node?: string
  /** @param address of one of the service's backends */
  backend(address: string): number
}

export interface BackendPlan {
  readonly id: number
  readonly address: string
  readonly words: number[]
  readonly flags: number
  readonly weight: number
  readonly via: ViaPlan
  /** Its flows end: the row changes incarnation. */
  readonly down: boolean
  /** It takes no new flow and keeps those it has, for as long as the service allows. */
  readonly draining: boolean
}

/** A row of vips4 or vips6, or what one service adds to it. */
export interface VipPlan {
  readonly family: Family
  readonly key: Fields
  readonly flags: number
  /** 0 unless the any-port flag is set. */
  readonly service: number
}

export interface PortPlan {
  readonly family: Family
  readonly key: Fields
  readonly value: Fields
}

/** A row of the sources map. */
export interface SourcePlan {
  readonly key: Fields
  readonly value: number
}

/** Fields of a service's row that are neither ring nor algorithm. */
export interface Policy extends Fields {
  flags: number
  affinity_prefix4: number
  affinity_prefix6: number
  affinity_seconds: number
  upper: number
  lower: number
}

export interface ServicePlan {
  readonly id: number
  readonly backends: readonly BackendPlan[]
  /** Backend ids in the order of the slots. */
  readonly ring4: readonly number[]
  readonly ring6: readonly number[]
  readonly algorithm: number
  readonly policy: Policy
  readonly sources: readonly SourcePlan[]
  readonly vips: readonly VipPlan[]
  readonly ports: readonly PortPlan[]
}

export const IPPROTO = { tcp: 6, udp: 17 } as const

/**
 * Whether the kernel has to know of a service. One without a VIP is answered by DNS alone: nothing
 * is translated to its backends, so a direct flow to them cannot collide with anything.
 */
export function hasRows(service: Service, outside?: Outside): boolean {
  return service.vips.length > 0 || isPublished(service, outside)
}

/** The backends that rows are made of: those of a family that has a VIP, or is published. */
export function reachableBackends(service: Service, outside?: Outside): Backend[] {
  const published = isPublished(service, outside) ? (outside?.addresses ?? []) : []
  const dialled = [...service.vips, ...published].map(family)
  const reached = { 4: dialled.includes(4), 6: dialled.includes(6) }
  return service.backends.filter(({ address }) => reached[family(address)])
}

/** @param backends of it, as reachableBackends() gives them */
export function servicePlan(
  service: Service,
  network: Network,
  ids: RowIds,
  words: Words,
  outside?: Outside,
  backends = reachableBackends(service, outside),
): ServicePlan {
  const serving = {
    4: servingOf(service, backends, 4, ids),
    6: servingOf(service, backends, 6, ids),
  }
  const all = serving[4].length + serving[6].length === backends.length
  const taking = all ? undefined : new Set([...serving[4], ...serving[6]])
  const idOf = (address: string): number => ids.backend(address)
  const plans = backends.map((backend): BackendPlan => {
    const { address, weight, state } = backend
    const at = toWords(address)
    const onLink = isOnLink(network, at)
    const closed = taking?.has(backend) === false
    return {
      id: ids.backend(address),
      address,
      words: at.slice(),
      flags: (onLink ? words.onLink : 0) | (closed ? words.closed : 0),
      weight,
      via: viaOf(backend, service, outside, words),
      down: state === 'down',
      draining: closed && state === 'draining',
    }
  })
  const isHere = plans.every(({ via }) => via.kind === NO_VIA.kind)
  const scope = { service, network, networkId: ids.network, id: ids.service, isHere, outside }
  return {
    id: ids.service,
    backends: plans,
    ring4: serviceRing(service, serving[4], idOf),
    ring6: serviceRing(service, serving[6], idOf),
    algorithm: words.algorithm[service.algorithm],
    policy: policyOf(service, words.service),
    sources: sourcePlans(service, ids.service, words.source),
    vips: [...vipPlans(service, plans, ids, words), ...outsideVips(scope, words)],
    ports: [...portPlans(service, ids), ...outsidePorts(scope)],
  }
}

/** Read once: there are many services in a network, and one object for it. */
const subnetsOf = new WeakMap<Network, readonly Cidr[]>()

function isOnLink(network: Network, words: readonly number[]): boolean {
  let subnets = subnetsOf.get(network)
  if (subnets === undefined) {
    subnets = network.subnets.map((subnet) => Cidr.parse(subnet))
    subnetsOf.set(network, subnets)
  }
  const of = familyOf(words)
  return subnets.some((subnet) => subnet.family === of && subnet.containsWords(words))
}

function familyOf([a, b, c]: readonly number[]): Family {
  return a === 0 && b === 0 && c === 0xffff ? 4 : 6
}

/**
 * The plan with backends that the service has lost and that may keep their flows.
 *
 * @param network id
 */
export function withLingering(
  plan: ServicePlan,
  lingering: readonly BackendPlan[],
  network: number,
  words: Words,
): ServicePlan {
  if (lingering.length === 0) return plan
  const rows = lingering.map(({ address }) => ({
    ...addressRow(network, address),
    flags: words.vip.backend,
    service: 0,
  }))
  return {
    ...plan,
    backends: [
      ...plan.backends,
      ...lingering.map((backend) => ({
        ...backend,
        flags: backend.flags | words.closed,
        draining: true,
      })),
    ],
    vips: [...plan.vips, ...rows],
  }
}

function servingOf(
  service: Service,
  backends: readonly Backend[],
  of: Family,
  ids: RowIds,
): Backend[] {
  const those = backends.filter(({ address }) => family(address) === of)
  if (those.length === 0) return those
  return servingBackends(those, service.locality, ids.node ?? '')
}

function vipPlans(
  service: Service,
  backends: readonly BackendPlan[],
  ids: RowIds,
  words: Words,
): VipPlan[] {
  const { balanced, anyPort, backend } = words.vip
  const any = service.ports.length === 0
  const plans: VipPlan[] = service.vips.map((address) => ({
    ...addressRow(ids.network, address),
    flags: any ? balanced | anyPort : balanced,
    service: any ? ids.service : 0,
  }))
  for (const { words: at } of backends) {
    const family = familyOf(at)
    plans.push({ family, key: addressKey(ids.network, family, at), flags: backend, service: 0 })
  }
  return plans
}

function portPlans(service: Service, ids: RowIds): PortPlan[] {
  return service.vips.flatMap((address) =>
    service.ports.map(({ protocol, port, targetPort }) => {
      const { family, key } = addressRow(ids.network, address)
      return {
        family,
        key: { ...key, port, protocol: IPPROTO[protocol], pad: 0 },
        value: { service: ids.service, target_port: targetPort, pad: 0 },
      }
    }),
  )
}

/** The key of vips4 or vips6, which is the beginning of that of ports4 or ports6. */
export function addressRow(
  network: number,
  address: string,
): { family: Family; key: AddressFields } {
  const words = toWords(address)
  const of = family(address)
  return { family: of, key: addressKey(network, of, words) }
}

function addressKey(network: number, of: Family, words: readonly number[]): AddressFields {
  return { network, addr: of === 4 ? (words[3] ?? 0) : words.slice() }
}

/**
 * The row of an address that several services claim. Two any-port services on one VIP are the
 * model's to refuse; should they come, the lower id has it, whatever the order of writing.
 */
export function mergeVips(parts: readonly { readonly flags: number; readonly service: number }[]): {
  flags: number
  service: number
} {
  let flags = 0
  let service = 0
  for (const part of parts) {
    flags |= part.flags
    if (part.service !== 0 && (service === 0 || part.service < service)) service = part.service
  }
  return { flags, service }
}
