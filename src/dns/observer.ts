/**
 * What the DNS tells of itself. Whoever counts implements it; nothing here knows how.
 * Calls are made on the answering path: they must be cheap and must not throw.
 */

export type Transport = 'udp' | 'tcp'

/** Why a message got no answer, or no answer of substance. */
export type DropReason =
  | 'short' // fewer bytes than a header
  | 'response' // a response where a query belongs
  | 'oversized' // larger than any query we take
  | 'malformed' // answered with FORMERR
  | 'opcode' // answered with NOTIMP
  | 'class' // answered with REFUSED
  | 'edns_version' // answered with BADVERS
  | 'source_port' // port 0 cannot be answered
  | 'in_flight' // the cap on forwarded queries; answered with REFUSED
  | 'no_upstream' // not ours and nobody to ask; answered with REFUSED
  | 'connections' // the cap on TCP connections
  | 'idle' // a TCP connection that sent no whole query in time
  | 'unmatched' // an upstream's datagram that answers nothing we asked
  | 'send' // the kernel refused the reply
  | 'internal' // a fault of ours

/** How one question to one upstream ended. */
export type UpstreamOutcome = 'answered' | 'servfail' | 'refused' | 'timeout' | 'error'

export interface Answered {
  /** `address:port` as configured. */
  readonly listener: string
  /** Absent: a listener for the host. */
  readonly network?: string
  readonly transport: Transport
  /** Question type; `OTHER` for what has no name, `NONE` if the question could not be read. */
  readonly type: string
  readonly rcode: string
  readonly source: 'local' | 'forwarded' | 'refused'
  readonly seconds: number
}

export interface Forwarded {
  /** `address:port` */
  readonly upstream: string
  readonly outcome: UpstreamOutcome
  readonly seconds: number
}

export interface DnsObserver {
  answered(event: Answered): void
  dropped(reason: DropReason): void
  forwarded(event: Forwarded): void
  /** @param count queries now waiting for an upstream */
  inFlight(count: number): void
}
