/**
 * What of a service is reached from outside, by the edge interfaces of the node: rows of network 0;
 * and the ports that are published there, for the containers of its own network. Pure.
 */
import { family, isAddress, toWords } from '../model/address.js'
import type { Backend, Network, Port, Service } from '../model/types.js'
import { addressRow, IPPROTO, type PortPlan, type VipPlan, type Words } from './rows.js'

/** The network of the programs at the edge; no network has this id. */
export const OUTSIDE_NETWORK = 0

export interface Outside {
  /** Addresses of this node that ports are published on. */
  readonly addresses: readonly string[]
  /** Agents of other nodes, whose tunnelled packets are taken. */
  readonly peers: readonly string[]
  /**
   * Backends of services with `return: snat` → this node's address towards them; `HERE`: they need
   * none. Absent, or without one: not known yet, or there is no route.
   */
  readonly sources?: ReadonlyMap<string, string>
}

/** Of a backend that is on this node. */
export const HERE = 'here'

/** How packets from outside get to a backend. */
export interface ViaPlan {
  /** Where the tunnel ends; with snat this node's own, or zeros. */
  readonly words: number[]
  readonly kind: number
}

export const NO_VIA: ViaPlan = { words: [0, 0, 0, 0], kind: 0 }

interface Scope {
  readonly service: Service
  readonly network: Network
  readonly networkId: number
  readonly id: number
  /** No backend is reached by another node, or in another manner than by routing. */
  readonly isHere: boolean
  /** Absent: the node has no edge. */
  readonly outside: Outside | undefined
}

export function isPublished({ publish = [] }: Service, outside: Outside | undefined): boolean {
  return publish.length > 0 && outside !== undefined
}

export function outsideVips(scope: Scope, { vip }: Words): VipPlan[] {
  const { service, network, id, outside } = scope
  if (outside === undefined) return []
  const any = service.ports.length === 0
  const exposed = network.edge === true ? service.vips : []
  const vips = exposed.map((address) => ({
    ...addressRow(OUTSIDE_NETWORK, address),
    flags: any ? vip.balanced | vip.anyPort : vip.balanced,
    service: any ? id : 0,
  }))
  const nodes = publishing(scope, outside).map(([network, address]) => ({
    ...addressRow(network, address),
    flags: vip.node,
    service: 0,
  }))
  // What is not of a flow that XDP knows, as errors and fragments are, gets to tc by this row.
  const sources = [...new Set(sourcesOf(service, outside))].filter(isAddress).map((address) => ({
    ...addressRow(OUTSIDE_NETWORK, address),
    flags: vip.node,
    service: 0,
  }))
  return [...vips, ...nodes, ...sources]
}

/** This node's address towards each backend, with `return: snat`; empty text: not known. */
export function sourcesOf(service: Service, outside: Outside | undefined): string[] {
  if (service.return !== 'snat' || outside === undefined) return []
  return service.backends.map(({ address }) => outside.sources?.get(address) ?? '')
}

export function outsidePorts(scope: Scope): PortPlan[] {
  const { service, network, id, outside } = scope
  if (outside === undefined) return []
  const exposed = network.edge === true ? service.vips : []
  return [
    ...exposed.flatMap((address) =>
      service.ports.map((port) => portRow(OUTSIDE_NETWORK, address, port, id)),
    ),
    ...publishing(scope, outside).flatMap(([network, address]) =>
      (service.publish ?? []).map((port) => portRow(network, address, port, id)),
    ),
  ]
}

/**
 * Networks, and addresses of the node that have the published ports in them: the outside, and the
 * service's own if its containers have a VIP there and every backend is here, since no way to
 * another node begins at a container. Without a VIP they may not even reach each other, as on an
 * engine's gateway bridge.
 */
function publishing({ service, networkId, isHere }: Scope, outside: Outside): [number, string][] {
  const inside = isHere && service.vips.length > 0
  const networks = inside ? [OUTSIDE_NETWORK, networkId] : [OUTSIDE_NETWORK]
  return nodeAddresses(service, outside).flatMap((address) =>
    networks.map((network): [number, string] => [network, address]),
  )
}

/** Those of a family that the service has backends of: the node itself answers on the others. */
function nodeAddresses({ publish = [], backends }: Service, { addresses }: Outside): string[] {
  if (publish.length === 0) return []
  const families = new Set(backends.map(({ address }) => family(address)))
  return addresses.filter((address) => families.has(family(address)))
}

/** One whose agent is this node's own is here, whatever the service says. */
export function viaOf(
  { address, via }: Backend,
  { return: path = 'entry' }: Service,
  outside: Outside | undefined,
  { via: kinds }: Words,
): ViaPlan {
  const here = outside === undefined || (via !== undefined && outside.addresses.includes(via))
  if (here) return NO_VIA
  if (path === 'snat') {
    const source = outside.sources?.get(address)
    if (source === HERE) return NO_VIA
    return {
      words: source === undefined ? NO_VIA.words : [...toWords(source)],
      kind: kinds.snat,
    }
  }
  if (path === 'entry')
    return via === undefined ? NO_VIA : { words: [...toWords(via)], kind: kinds.entry }
  return { words: [...toWords(address)], kind: kinds[path] }
}

function portRow(
  network: number,
  address: string,
  { protocol, port, targetPort }: Port,
  id: number,
): PortPlan {
  const row = addressRow(network, address)
  return {
    family: row.family,
    key: { ...row.key, port, protocol: IPPROTO[protocol], pad: 0 },
    value: { service: id, target_port: targetPort, pad: 0 },
  }
}
