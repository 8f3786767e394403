/** What becomes of a packet or a connect(), and why. Pure. */
import type { FlowEnd, FlowState } from './flows.js'
import type { Algorithm, BackendState, Path, Protocol, ServiceKey } from './types.js'

/** What is asked about. Addresses are canonical and of one family. */
export interface Question {
  readonly client: { readonly address: string; /** Absent: any. */ readonly port?: number }
  /** What the client dials. */
  readonly vip: FlowEnd
  readonly protocol: Protocol
  /** Absent: the one that the client is of, or the outside. */
  readonly network?: string
  /** Absent: the first that sees the client's traffic. */
  readonly path?: Path
  /** A packet in the middle of a connection, not its first. Of TCP. */
  readonly established?: boolean
}

export const outcomes = [
  'translated', // to a backend
  'passed', // as it is: none of ours, or of a connection straight to a backend
  'refused', // its sender is told: reset, unreachable, ECONNREFUSED
  'dropped',
] as const
export type Outcome = (typeof outcomes)[number]

/** What the destination is in the network. */
export const matches = [
  'none', // no address of ours
  'backend', // a backend's, dialled without a VIP
  'port', // a VIP with a row of that port
  'any_port', // a VIP whose every port is one service's
  'no_port', // a VIP without that port
  'published', // an address of this node with a published port
  'not_published', // an address of this node, that port is not ours
] as const
export type Match = (typeof matches)[number]

/** Who named the backend. */
export const choosers = [
  'flow', // the connection has it already
  'affinity', // the client had it before
  'hash', // of client, or of the connection
  'turn', // the cursor's place in the ring
  'least', // the fewest live connections
  'lot', // any of those in the ring: the one told is an example
] as const
export type Chooser = (typeof choosers)[number]

/** Why a backend was, or was not, chosen. */
export const backendReasons = [
  'chosen',
  'possible', // as likely as the one told
  'down',
  'draining',
  'leaving', // removed; its connections go on for a while
  'family', // of the other address family
  'unreached', // no address of its family is dialled
  'weight', // 0, and others have more
  'standby', // others have a lower priority number
  'remote', // others are on this node
  'overloaded', // it has as many connections as it may
  'flow', // the connection has another
  'affinity', // the client keeps another
  'hash', // the hash leads to another's slot
  'turn', // it is another's turn
  'least', // another has fewer connections for its weight
  'not_asked', // nothing was chosen
  'not_in_ring', // could be used, and has no slot: the maps disagree with the state
] as const
export type BackendReason = (typeof backendReasons)[number]

export interface ExplainedBackend {
  readonly address: string
  readonly weight: number
  /** Absent: it is no longer the service's. */
  readonly state?: BackendState
  /** Live connections, all paths together. */
  readonly active: number
  /** Of the ring of the client's family. */
  readonly slots: number
  readonly reason: BackendReason
}

export const wayKinds = [
  'neighbour', // on the bridge
  'route', // by routing
  'stack', // as the kernel would have it without us
  'socket', // connect() goes there
  'hairpin', // back to the container
  ...(['entry', 'dsr-mac', 'dsr-tunnel', 'snat'] as const), // a service's `return`
] as const

/** How the packet goes on. */
export interface Way {
  readonly kind: (typeof wayKinds)[number]
  readonly interface?: string
  /** Of a tunnel its other end. */
  readonly nextHop?: string
  /** Of the next hop; absent: not known, and asked for with the first packet. */
  readonly mac?: string
  /** Of a container that gets its packets at its own end of this veth, past the bridge. */
  readonly veth?: string
  /** The neighbour's state, as `ip neighbour` has it, or that there is no route. */
  readonly state?: string
}

/** The connection that the packet is of, as it is tracked. */
export interface ExplainedFlow {
  readonly state: FlowState
  /** Only its client's first packet has been seen. */
  readonly embryonic: boolean
  readonly idleSeconds: number
  readonly expiresSeconds: number
  /** Absent: it has been removed. */
  readonly backend?: string
  /** Whether it decides; else it is over, and the packet begins another or is refused. */
  readonly used: boolean
}

export interface Explanation {
  readonly path: Path
  /** Empty: the outside. */
  readonly network: string
  readonly protocol: Protocol
  readonly client: FlowEnd
  readonly vip: FlowEnd
  /** Whether it begins a connection, or is one's later packet. */
  readonly first: boolean
  readonly outcome: Outcome
  /** Why it was refused or dropped: as `fairlead drops` has it. */
  readonly reason?: string
  readonly match: Match
  readonly service?: ServiceKey
  /** Whether its source ranges let the client in; absent: it has none. */
  readonly source?: 'allowed' | 'denied'
  readonly flow?: ExplainedFlow
  readonly affinity?: {
    readonly timeoutSeconds: number
    /** What the client had; absent: none, or it has been removed. */
    readonly backend?: string
    /** Until it is forgotten; 0: it is. */
    readonly secondsLeft: number
    readonly used: boolean
  }
  readonly choice?: {
    readonly algorithm: Algorithm
    readonly by: Chooser
    /** Of the ring. */
    readonly slots?: number
    /** Where the choice began, or ended if no neighbour had to serve. */
    readonly slot?: number
    /** Hexadecimal, 64 bits. */
    readonly hash?: string
    /** Connections that the cursor has placed. */
    readonly placed?: number
    /** Whether the same packet would go there for sure, if nothing happens before. */
    readonly certain: boolean
  }
  readonly backend?: FlowEnd
  /** The client as the backend sees it, where that is another one. */
  readonly seenAs?: FlowEnd
  readonly way?: Way
  /** All of the service's. */
  readonly backends: readonly ExplainedBackend[]
  /** What would be counted besides: `collision`, `reselect`, ... */
  readonly events: readonly string[]
}

export interface Explainer {
  /**
   * Changes nothing.
   *
   * @throws FairleadError REFERENCE for a network or path that is not here, VALUE when it is not clear
   *         which network is meant
   */
  explain(question: Question): Promise<Explanation>
}
