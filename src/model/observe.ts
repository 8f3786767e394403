/**
 * What a sink reports about its own work, as interfaces: the metrics sink implements them and main
 * hands them to the sinks that do the work, so that no sink imports another.
 */
import type { Family, ServiceKey } from './types.js'

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

export interface HealthChecked {
  readonly type: 'tcp' | 'http' | 'https' | 'exec'
  readonly result: CheckResult
  /** From the start of the check to its result. */
  readonly seconds: number
}

/** `ok`, or why not. */
export type CheckResult = (typeof checkResults)[number]
export const checkResults = [
  'ok',
  'refused', // by the backend, or on the way to it
  'timeout',
  'status', // another one than counts as healthy
  'protocol', // not HTTP, or not TLS
  'certificate',
  'exit', // the program's
  'error', // of our own: no namespace, no socket, no such program
] as const

/** Calls must be cheap and must not throw. */
export interface HealthObserver {
  checked(check: HealthChecked): void
}

/** What is known of a backend that is checked. */
export interface BackendHealth {
  /** Absent: no result yet. */
  readonly healthy?: boolean
  /** How long it has been so. */
  readonly sinceSeconds?: number
  /** The last result, and why it was not `ok`. */
  readonly result?: CheckResult
  readonly error?: string
  /** How long ago the last result came. */
  readonly ageSeconds?: number
  /** Results in a row that were all `ok`, or all not. */
  readonly consecutive: number
}

export interface ServiceHealth {
  readonly service: ServiceKey
  /** Families of which all backends fail and are used all the same. */
  readonly failOpen: readonly Family[]
  /** Families with less healthy weight than the quorum: refused. */
  readonly belowQuorum: readonly Family[]
  /** Results so far, those of backends that have left included. */
  readonly results: ReadonlyMap<CheckResult, number>
  /** By address, in the order of the service; those that its source calls down are not checked. */
  readonly backends: ReadonlyMap<string, BackendHealth>
}

/** What the health source has found, as the metrics and the API show it. */
export interface HealthReport {
  /** All services that are checked. */
  all(): Iterable<ServiceHealth>
  of(service: ServiceKey): ServiceHealth | undefined
}

/** Where a snapshot comes from. */
export interface SnapshotNote {
  /** When the source learnt of the change, by performance.now(). */
  readonly seenMs: number
  /** It is what was last known: the source cannot be read, or not understood as a whole. */
  readonly stale: boolean
}

/** How long the dataplane's own work takes. Calls must be cheap and must not throw. */
export interface WorkObserver {
  reconciled(seconds: number): void
  swept(sweep: FlowSweep): void
}

/** One run over the flow tables. */
export interface FlowSweep {
  readonly kept: number
  readonly deleted: number
  /** By how much the counts of active connections were wrong, over all backends. */
  readonly mended: number
  readonly seconds: number
}

/** What becomes of changes that sources see. Calls must be cheap and must not throw. */
export interface ChangeObserver {
  /** @param tell publishes what the source says; states that it makes are of this change */
  during(source: string, seenMs: number, tell: () => void): void
  /** A revision that is on its way now. */
  stated(revision: number): void
  /** All revisions up to this one are there. */
  reached(place: ChangePlace, revision: number): void
}

/** `dns` follows the kernel. */
export type ChangePlace = 'kernel' | 'dns'

/** Calls must be cheap and must not throw. */
export interface SourceObserver {
  published(source: string, stale: boolean): void
  /** Whether what the source said last is still what it says. */
  current(source: string, current: boolean): void
}
