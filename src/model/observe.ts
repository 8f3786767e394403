/**
 * What a sink reports about its own work, as interfaces: the metrics sink implements them and main
 * hands them to the sinks that do the work, so that no sink imports another.
 */

/** Where an answer came from. */
export type DnsSource = 'local' | 'forwarded' | 'refused'

export interface DnsAnswered {
  /** Name of the listener's network; `host` for the host's listener. */
  readonly network: string
  readonly transport: 'udp' | 'tcp'
  /** Query type as dns-packet names it: `A`, `AAAA`, `SRV`, ... */
  readonly type: string
  /** `NOERROR`, `NXDOMAIN`, ... */
  readonly rcode: string
  readonly source: DnsSource
  /** From the query's arrival to the reply's hand-over to the kernel. */
  readonly seconds: number
}

export interface DnsForwarded {
  /** `address:port` of the upstream, as configured. */
  readonly upstream: string
  /** An rcode in upper case, or `timeout`, `error`, `mismatch`, ... */
  readonly outcome: string
  /** From sending to the reply, or to giving up. */
  readonly seconds: number
}

/** Calls must be cheap and must not throw. */
export interface DnsObserver {
  answered(answer: DnsAnswered): void
  /** A query that got no reply. @param reason lower case: `malformed`, `oversized`, `loop`, ... */
  dropped(reason: string): void
  forwarded(exchange: DnsForwarded): void
  /** Forwarded queries that wait for an upstream now. */
  inFlight(count: number): void
}
