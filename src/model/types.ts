/**
 * The words of fairlead: what a source publishes and what every sink is a view of.
 *
 * All of it is immutable data in canonical form: names lower-case, addresses as `canonicalAddress`
 * prints them (RFC 5952; never v4-mapped). Nothing here knows of maps, zones or files.
 */

export type Family = 4 | 6
export type Protocol = 'tcp' | 'udp'
export type Mode = 'vip' | 'dnsrr'
/** How new flows are spread: the names that IPVS and others have for it. */
export const ALGORITHMS = ['rr', 'wrr', 'random', 'lc', 'wlc', 'sh', 'maglev'] as const
export type Algorithm = (typeof ALGORITHMS)[number]

/** A client's flows go to the backend that its last one went to. */
export interface Affinity {
  /** Since the client's last new flow, 1 or more. */
  readonly timeoutSeconds: number
  /** Leading bits of an IPv4 address that make one client, 1..32. */
  readonly prefix4: number
  /** 1..128 */
  readonly prefix6: number
}

/** Flows that one backend may have. */
export interface Thresholds {
  /** It takes no more from this number on, 1 or more. */
  readonly upper: number
  /** And takes them again when it has fewer than this, 1..upper. */
  readonly lower: number
}

/** Who may use a service: the longest range that has the client decides. CIDR, canonical. */
export interface SourceRanges {
  /** Not empty: nobody else may. */
  readonly allow: readonly string[]
  readonly deny: readonly string[]
}

/**
 * By the node of entry, between agents or (`snat`) because the backend sees that node as its client;
 * or straight to the client, the packet led to the MAC or in a tunnel.
 */
export type ReturnPath = 'entry' | 'dsr-mac' | 'dsr-tunnel' | 'snat'

/** The hook family that handled a connection. */
export type Path = 'tc' | 'sock' | 'xdp'

/** `active` takes new flows; `draining` keeps the ones it has; `down` takes none and is not named. */
export type BackendState = 'active' | 'draining' | 'down'

/** Where on this node a network's containers are reached. */
export interface Attachment {
  /** Path of the network namespace that holds the bridge and interfaces; absent: the agent's own. */
  readonly namespace?: string
  /** Bridge that joins the containers; every veth port of it is attached (tc). */
  readonly bridge?: string
  /** Globs over interface names in `namespace`, attached besides the bridge's ports (tc). */
  readonly interfaces: readonly string[]
  /** Globs over network-namespace paths whose sockets are balanced; `host` is the agent's own. */
  readonly sockets: readonly string[]
}

export interface NetworkDns {
  /** `address:port` or `[address]:port`, opened inside the attachment's namespace. Empty: none. */
  readonly listen: readonly string[]
  /** Whose questions to an engine's resolver are answered with this network's names. Absent: nobody's. */
  readonly askers?: readonly NamespaceAsker[]
}

/** A container, as its network namespace: on several networks it is an asker of each of them. */
export interface NamespaceAsker {
  /** Path. */
  readonly namespace: string
  /** Of its networks, those of the lowest rank are asked first; then by name. */
  readonly rank: number
  /** Of a service `stack_name` it may say just `name`. */
  readonly stack?: string
}

/** Between agents: how packets of a network's clients reach containers on other nodes, and theirs here. */
export interface Tunnels {
  /** This node's end; the interface that has it belongs to the edge. */
  readonly address: string
  /** The other nodes' ends: packets are taken from these alone. */
  readonly peers: readonly string[]
  /** What other nodes call containers of this one, whose addresses here mean nothing to them. */
  readonly aliases: readonly Alias[]
}

export interface Alias {
  /** As other nodes dial it. */
  readonly alias: string
  /** Its address here. */
  readonly address: string
}

export interface Network {
  readonly name: string
  /** CIDR, canonical, at most one per family. */
  readonly subnets: readonly string[]
  /** CIDR ranges that automatic VIPs come from; networks may share them, being scopes of their own. */
  readonly pools: readonly string[]
  /** Addresses that must never become automatic VIPs (gateways, listeners). */
  readonly reserved: readonly string[]
  readonly attachment: Attachment
  readonly dns: NetworkDns
  /** VIPs are reached from outside too, by the edge interfaces of the node. Absent: they are not. */
  readonly edge?: boolean
  /** Absent: none but what the agent's own settings name. */
  readonly tunnels?: Tunnels
}

export interface Port {
  readonly protocol: Protocol
  /** 1..65535 */
  readonly port: number
  /** 1..65535 */
  readonly targetPort: number
  /** For SRV: `_name._protocol.service`. Absent: the port has no SRV name but its number's. */
  readonly name?: string
}

export interface Backend {
  /** One address of one family; a dual-stack container is two backends of the same slot. */
  readonly address: string
  /** 0..65535; 0 takes no new flow unless all are 0. */
  readonly weight: number
  readonly state: BackendState
  /** Name under which `slot.service` resolves. */
  readonly slot?: string
  /** The container or host name, for PTR. */
  readonly hostname?: string
  /** Address of its node's agent, of the same family. Absent: it is routed to. */
  readonly via?: string
  /** The node it is on. Absent: unknown. */
  readonly node?: string
  /** `false`: the service's health check cannot reach it from this node. Absent: it can. */
  readonly checked?: false
  /** Of the backends that can take flows, those of the least number do. Absent: 0. */
  readonly priority?: number
}

/** When a backend is checked, and how many results in a row turn it. */
interface HealthTiming {
  readonly intervalMs: number
  /** At most `intervalMs`. */
  readonly timeoutMs: number
  /** Successes in a row that bring a backend back, 1 or more. */
  readonly rise: number
  /** Failures in a row that take a backend out, 1 or more. */
  readonly fall: number
  /** Least weight of healthy backends, of one family, with which the service is offered at all. */
  readonly quorum?: number
}

/** How the backends of a service are asked whether they work; each is asked at its address. */
export type HealthCheck = HealthTiming &
  (
    | { readonly type: 'tcp'; readonly port: number }
    | {
        readonly type: 'http' | 'https'
        readonly port: number
        /** With query; begins with `/`. */
        readonly path: string
        /** Host header and server name; absent: the backend's address. */
        readonly host?: string
        /** Ranges of codes that count as healthy, both ends included. */
        readonly statuses: readonly (readonly [number, number])[]
        /** Whether the certificate must be valid for `host`. */
        readonly verify: boolean
      }
    | {
        readonly type: 'exec'
        readonly port?: number
        /** Program and arguments; `{address}` and `{port}` in them are replaced. Exit 0: healthy. */
        readonly command: readonly string[]
      }
  )

/** How long a service's flows may be idle before they are forgotten; absent: the default. */
export interface Timeouts {
  /** TCP, until the client has answered the backend; default 60. */
  readonly synSeconds?: number
  /** TCP, until both sides have closed; default 8,000. */
  readonly establishedSeconds?: number
  /** TCP, once both have, or one has reset; default 30. */
  readonly closingSeconds?: number
  /** Default 120. */
  readonly udpSeconds?: number
  /** Both ends of a TCP flow that ends idle are reset; absent: with their next packet. */
  readonly reset?: boolean
}

/** A service on one network, as a source gives it. */
export interface ServiceSpec {
  readonly network: string
  readonly name: string
  readonly mode: Mode
  /** Addresses asked for. */
  readonly vips: readonly string[]
  /** Families for which the network's pool gives a VIP. Empty in mode dnsrr. */
  readonly autoVips: readonly Family[]
  /** Empty: every TCP and UDP port of the VIP (the any-port VIP). */
  readonly ports: readonly Port[]
  /** Ports of the node's own addresses that lead to the backends. Absent: none. */
  readonly publish?: readonly Port[]
  /** How replies of backends on other nodes get back to clients outside. Absent: `entry`. */
  readonly return?: ReturnPath
  readonly algorithm: Algorithm
  /** Slots of the table of maglev and sh: prime. Absent: the default. */
  readonly tableSize?: number
  /** Absent: backends of this node and of others are alike. */
  readonly locality?: 'prefer-local'
  readonly affinity?: Affinity
  readonly thresholds?: Thresholds
  readonly sourceRanges?: SourceRanges
  readonly ttlSeconds: number
  readonly aliases: readonly string[]
  readonly backends: readonly Backend[]
  /** Absent: backends are not checked. */
  readonly health?: HealthCheck
  readonly timeouts?: Timeouts
  /**
   * How long flows of a backend that drains or was removed may go on. Absent: the agent's default;
   * without one, those of a draining backend until they end, those of a removed one not at all.
   */
  readonly drainSeconds?: number
}

/** A service on one network with its VIPs settled: none in mode dnsrr or if the pool had none. */
export type Service = Omit<ServiceSpec, 'autoVips'>

/** `network/service`: unique in a state. */
export type ServiceKey = string

/** Something that a source or the model could not accept. The rest stays in force. */
export interface Problem {
  readonly source: string
  /** What it is about: `network overlay1`, `service overlay1/vote`. */
  readonly item: string
  /** `file:line:column field`, where there is one. */
  readonly place?: string
  /** Stable, of FairleadError's codes. */
  readonly code: string
  readonly reason: string
}

/** What a source publishes: always the whole of what it knows, what is older first (it wins). */
export interface Snapshot {
  readonly networks: readonly Network[]
  readonly services: readonly ServiceSpec[]
  readonly problems: readonly Problem[]
  /** Where the source has each service, for problems that only the model can find. */
  readonly placeOf?: (service: ServiceKey) => string | undefined
}

/** The one desired state. Replaced whole; `revision` grows by one each time it differs. */
export interface State {
  readonly revision: number
  readonly networks: ReadonlyMap<string, Network>
  readonly services: ReadonlyMap<ServiceKey, Service>
  readonly problems: readonly Problem[]
}

export function serviceKey(service: {
  readonly network: string
  readonly name: string
}): ServiceKey {
  return `${service.network}/${service.name}`
}
