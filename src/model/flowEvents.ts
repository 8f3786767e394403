/** What happens to flows, as it is told to those who watch; and which of it is wanted. Pure. */
import { endMatches, type EndFilter, type FlowEnd } from './flows.js'
import type { Path, ServiceKey } from './types.js'

export const flowEventKinds = [
  'opened', // a flow was given a backend
  'closed', // it ended: both sides have closed, or it was idle, or its backend went
  'reset', // one side reset it
  'refused', // there is nobody to take it, and the client was told
  'dropped', // a packet was not carried
] as const
export type FlowEventKind = (typeof flowEventKinds)[number]

export interface FlowEvent {
  /** ISO 8601, to a microsecond. */
  readonly time: string
  readonly kind: FlowEventKind
  readonly path: Path
  /** `tcp`, `udp`, or the number of another. */
  readonly protocol: string
  /** Absent where the kernel does not know it: a UDP socket that connects, a call that is refused. */
  readonly client?: FlowEnd
  /** What was dialled; port 0: the packet has none. Of a reply that was dropped, its receiver. */
  readonly vip: FlowEnd
  readonly backend?: FlowEnd
  readonly service?: ServiceKey
  readonly network?: string
  /** Lower case: why it ended, was refused or dropped. */
  readonly reason?: string
  /** Of flows that were opened while somebody watched, and of all on the socket path: their life. */
  readonly durationSeconds?: number
  readonly packetsIn?: number
  readonly bytesIn?: number
  readonly packetsOut?: number
  readonly bytesOut?: number
}

/** All that are given hold. */
export interface FlowEventFilter {
  readonly kinds?: readonly FlowEventKind[]
  readonly network?: string
  /** `network/service`, or the service alone. */
  readonly service?: string
  readonly client?: EndFilter
  readonly vip?: EndFilter
  readonly backend?: EndFilter
}

export interface FlowEventRequest {
  readonly filter: FlowEventFilter
  /** One flow in so many is told of, with all that happens to it; default 1. */
  readonly oneIn?: number
  /** Events in a second that the kernel tells at most; default 1000. Of several requests the greatest counts. */
  readonly rate?: number
}

/** Calls must be cheap and must not throw. */
export interface FlowEventListener {
  event(event: FlowEvent): void
  /** So many were not told: there were more than `rate`, or they were not read fast enough. */
  lost(count: number): void
}

/** While nobody subscribes, nothing is sent. */
export interface FlowEventSource {
  /** @returns what ends it; idempotent */
  subscribe(request: FlowEventRequest, listener: FlowEventListener): () => void
}

export const DEFAULT_EVENT_RATE = 1000

export function flowEventMatches(event: FlowEvent, filter: FlowEventFilter): boolean {
  const { kinds, network, service } = filter
  const slash = event.service?.indexOf('/') ?? -1
  const of = event.service?.slice(0, Math.max(slash, 0)) ?? event.network
  return (
    (kinds?.includes(event.kind) ?? true) &&
    (network === undefined || of === network) &&
    (service === undefined ||
      event.service === service ||
      event.service?.slice(slash + 1) === service) &&
    endMatches(event.client, filter.client) &&
    endMatches(event.vip, filter.vip) &&
    endMatches(event.backend, filter.backend)
  )
}
