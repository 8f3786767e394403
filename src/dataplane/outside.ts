/**
 * What of a service is reached from outside, by the edge interfaces of the node: rows of network 0.
 * Pure.
 */
import { family } from '../model/address.js'
import type { Network, Port, Service } from '../model/types.js'
import { addressRow, IPPROTO, type PortPlan, type VipPlan, type Words } from './rows.js'

/** The network of the programs at the edge; no network has this id. */
export const OUTSIDE_NETWORK = 0

export interface Outside {
  /** Addresses of this node that ports are published on. */
  readonly addresses: readonly string[]
}

interface Scope {
  readonly service: Service
  readonly network: Network
  readonly id: number
  /** Absent: the node has no edge. */
  readonly outside: Outside | undefined
}

export function isPublished({ publish = [] }: Service, outside: Outside | undefined): boolean {
  return publish.length > 0 && outside !== undefined
}

export function outsideVips({ service, network, id, outside }: Scope, { vip }: Words): VipPlan[] {
  if (outside === undefined) return []
  const any = service.ports.length === 0
  const exposed = network.edge === true ? service.vips : []
  const vips = exposed.map((address) => ({
    ...addressRow(OUTSIDE_NETWORK, address),
    flags: any ? vip.balanced | vip.anyPort : vip.balanced,
    service: any ? id : 0,
  }))
  const nodes = nodeAddresses(service, outside).map((address) => ({
    ...addressRow(OUTSIDE_NETWORK, address),
    flags: vip.node,
    service: 0,
  }))
  return [...vips, ...nodes]
}

export function outsidePorts({ service, network, id, outside }: Scope): PortPlan[] {
  if (outside === undefined) return []
  const exposed = network.edge === true ? service.vips : []
  return [
    ...exposed.flatMap((address) => service.ports.map((port) => portRow(address, port, id))),
    ...nodeAddresses(service, outside).flatMap((address) =>
      (service.publish ?? []).map((port) => portRow(address, port, id)),
    ),
  ]
}

/** Those of a family that the service has backends of: the node itself answers on the others. */
function nodeAddresses({ publish = [], backends }: Service, { addresses }: Outside): string[] {
  if (publish.length === 0) return []
  const families = new Set(backends.map(({ address }) => family(address)))
  return addresses.filter((address) => families.has(family(address)))
}

function portRow(address: string, { protocol, port, targetPort }: Port, id: number): PortPlan {
  const row = addressRow(OUTSIDE_NETWORK, address)
  return {
    family: row.family,
    key: { ...row.key, port, protocol: IPPROTO[protocol], pad: 0 },
    value: { service: id, target_port: targetPort, pad: 0 },
  }
}
