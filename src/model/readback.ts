/**
 * The way back: what the kernel side tells, as an interface that the dataplane implements and that
 * metrics and api are handed by main. It carries values, never handles.
 */
import type { FlowPage, FlowQuery } from './flows.js'
import type { Path, ServiceKey } from './types.js'

/** Client to service is `in`. Bytes count from the IP header on. All only grow. */
export interface Counters {
  readonly packetsIn: number
  readonly bytesIn: number
  readonly packetsOut: number
  readonly bytesOut: number
  readonly connections: number
}

export interface BackendCounters extends Counters {
  readonly service: ServiceKey
  /** Canonical address; absent: what backends that have left the service had counted. */
  readonly backend?: string
  readonly path: Path
  /**
   * Connections that have not ended; not of UDP on the socket path. Goes up and down. Those of tc
   * and XDP are together, on the row of the former if there is one.
   */
  readonly active?: number
  /** Those that have ended and are still remembered, as the last sweep found. */
  readonly inactive?: number
}

/** How a backend's flows have ended. All only grow. */
export interface BackendEnds {
  readonly service: ServiceKey
  /** Canonical address; absent: of backends that have left the service. */
  readonly backend?: string
  readonly path: Path
  /** Reasons, as in `ends()`, and how often; those that are 0 may be left out. */
  readonly ends: readonly (readonly [string, number])[]
}

/** How long handshakes took, of those that were timed. All only grow. */
export interface Handshakes {
  readonly service: ServiceKey
  /** Canonical address; absent: of backends that have left the service; with `client`, of all. */
  readonly backend?: string
  readonly path: Path
  /** Whose answer was waited for: `backend` from SYN to SYN-ACK, `client` from there to the ACK. */
  readonly part: 'backend' | 'client'
  readonly sumSeconds: number
  /** For each of HANDSHAKE_BOUNDS_SECONDS those above the one before; and those above all. */
  readonly counts: readonly number[]
}

/** Of a whole path. */
export interface PathCounters extends Counters {
  readonly path: Path
}

export interface ReasonCount {
  /** Lower case, from the kernel's enum: `no_backend`, `fragment`, ... */
  readonly reason: string
  readonly path: Path
  readonly count: number
}

export interface MapOccupancy {
  readonly map: string
  readonly entries: number
  readonly capacity: number
}

export interface AttachmentInfo {
  /** Empty at the node's edge, which serves all networks. */
  readonly network: string
  /** Network namespace path; absent: the agent's own. */
  readonly namespace?: string
  /** An interface, or the cgroup's path. */
  readonly target: string
  readonly hook: 'tcx' | 'clsact' | 'cgroup' | 'xdp'
  readonly program: string
  /** XDP: in the driver, or behind it. */
  readonly mode?: 'native' | 'generic'
}

export interface ReconcileStats {
  /** Revision that the kernel holds. */
  readonly revision: number
  readonly cycles: number
  readonly failures: number
  /** Rows found different from what had been written, and put right. */
  readonly repaired: number
  readonly lastDurationSeconds: number
  readonly lastError?: string
}

/** What of the running kernel matters to fairlead; name → there or not. */
export type Features = Readonly<Record<string, boolean>>

export interface Readback {
  /**
   * One row per service, backend and path that has ever counted. Others run meanwhile; the rows of a
   * service are of one moment all the same.
   *
   * @param service of that one alone
   */
  counters(service?: ServiceKey): Promise<BackendCounters[]>
  /** The same of services as a whole: one row for each path, without a backend. */
  countersOfServices(): Promise<BackendCounters[]>
  /** What services that are gone had counted. */
  departed(): PathCounters[]
  drops(): ReasonCount[]
  events(): ReasonCount[]
  /** Why flows ended. */
  ends(): ReasonCount[]
  /** The same by backend; others run meanwhile. @param service of that one alone */
  backendEnds(service?: ServiceKey): Promise<BackendEnds[]>
  /** The same of services as a whole: one row for each path, without a backend. */
  endsOfServices(): Promise<BackendEnds[]>
  /** Others run meanwhile. @param service of that one alone */
  handshakes(service?: ServiceKey): Promise<Handshakes[]>
  /** The same of services as a whole: one row for each path and part, without a backend. */
  handshakesOfServices(): Promise<Handshakes[]>
  /** Events that those who watch were not told: `rate` (more than may be told), `room` (unread). */
  lostEvents(): Readonly<Record<string, number>>
  /**
   * Tracked connections, some at a time; others run meanwhile. One that comes or goes while pages are
   * asked for may be told or not.
   *
   * @throws FairleadError VALUE for a cursor that is none
   */
  flows(query: FlowQuery): Promise<FlowPage>
  /** Others run meanwhile. */
  occupancy(): Promise<MapOccupancy[]>
  attachments(): AttachmentInfo[]
  reconcile(): ReconcileStats
  features(): Features
}
