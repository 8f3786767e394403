/** A tracked connection as people see it, and which of them are wanted. Pure. */
import { FairleadError } from '../errors.js'
import { canonicalAddress, Cidr, isAddress } from './address.js'
import type { Path, ServiceKey } from './types.js'

/** As IPVS calls them. */
export const flowStates = [
  'SYN_RECV', // the client has not been answered, or has not answered back
  'ESTABLISHED',
  'FIN_WAIT', // the client has closed its side
  'CLOSE_WAIT', // the backend has closed its side
  'TIME_WAIT', // both have
  'CLOSE', // one of them has reset it
  'UDP',
] as const
export type FlowState = (typeof flowStates)[number]

export interface FlowEnd {
  readonly address: string
  readonly port: number
}

export interface Flow {
  /** `xdp` is the node's edge, in whichever mode. */
  readonly path: Path
  readonly protocol: 'tcp' | 'udp'
  readonly state: FlowState
  /** Until it is forgotten if it stays idle; absent before the first sweep. */
  readonly expiresSeconds?: number
  readonly client: FlowEnd
  /** What the client dialled. */
  readonly vip: FlowEnd
  /** Absent: it has been removed, and the flow is about to go. */
  readonly backend?: FlowEnd
  readonly service?: ServiceKey
  /** The client as the backend sees it, where that is another one. */
  readonly seenAs?: FlowEnd
}

/** All that are given hold. */
export interface FlowFilter {
  readonly path?: Path
  readonly protocol?: Flow['protocol']
  readonly state?: FlowState
  readonly network?: string
  /** `network/service`, or the service alone. */
  readonly service?: string
  readonly client?: EndFilter
  readonly vip?: EndFilter
  readonly backend?: EndFilter
}

export interface EndFilter {
  readonly within?: Cidr
  readonly port?: number
}

export interface FlowQuery {
  readonly filter: FlowFilter
  /** A page ends soon after so many. */
  readonly limit: number
  /** `next` of the page before; absent: from the start. */
  readonly cursor?: string
}

export interface FlowPage {
  readonly flows: readonly Flow[]
  /** Absent: there are no more. A page may be empty and have one. */
  readonly next?: string
}

/**
 * @param text `ADDRESS`, `ADDRESS/PREFIX`, `ADDRESS:PORT`, `[ADDRESS]:PORT` or `:PORT`
 * @throws FairleadError VALUE
 */
export function parseEnd(text: string): EndFilter {
  const bare = isAddress(text) || text.includes('/')
  const [, bracketed, plain, digits] = bare
    ? [undefined, undefined, text, undefined]
    : (/^(?:\[([^\]]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text) ?? [])
  const host = bracketed ?? plain
  const port = digits === undefined ? undefined : Number(digits)
  const wrong = bracketed?.includes(':') === false || (port !== undefined && port > 65535)
  if (host === undefined || wrong || (host !== '' && !bare && !isAddress(host)))
    throw new FairleadError('VALUE', `not address, address/prefix or address:port: ${text}`)
  return {
    ...(host !== '' && { within: rangeOf(host) }),
    ...(port !== undefined && { port }),
  }
}

function rangeOf(host: string): Cidr {
  if (host.includes('/')) return Cidr.parse(host)
  const address = canonicalAddress(host)
  return Cidr.parse(`${address}/${address.includes(':') ? 128 : 32}`)
}

export function flowMatches(flow: Flow, filter: FlowFilter): boolean {
  const { path, protocol, state, network, service } = filter
  const slash = flow.service?.indexOf('/') ?? -1
  return (
    (path === undefined || flow.path === path) &&
    (protocol === undefined || flow.protocol === protocol) &&
    (state === undefined || flow.state === state) &&
    (network === undefined || flow.service?.slice(0, Math.max(slash, 0)) === network) &&
    (service === undefined ||
      flow.service === service ||
      flow.service?.slice(slash + 1) === service) &&
    endMatches(flow.client, filter.client) &&
    endMatches(flow.vip, filter.vip) &&
    endMatches(flow.backend, filter.backend)
  )
}

export function endMatches(end: FlowEnd | undefined, wanted: EndFilter | undefined): boolean {
  if (wanted === undefined) return true
  if (end === undefined) return false
  if (wanted.port !== undefined && wanted.port !== end.port) return false
  return wanted.within === undefined || wanted.within.contains(end.address)
}
