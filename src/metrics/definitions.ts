/**
 * Every metric of fairlead's own, in the order of the reference page, which is made from this table.
 * Those of the process come from prom-client: processMetrics.ts.
 */

import { HANDSHAKE_BOUNDS_SECONDS } from '../model/handshakes.js'

export interface MetricDefinition {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  /** What a value of 1 is one of. */
  readonly unit: string
  readonly help: string
  readonly labels: readonly string[]
  /** Upper bounds, in the unit of the name. */
  readonly buckets?: readonly number[]
}

const service = ['network', 'service'] as const
const backend = [...service, 'backend'] as const

/** From a refusal on the same node to the longest sensible timeout. */
const checkBuckets = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
]

/** A local answer takes tens of microseconds; an upstream is given up after seconds. */
const dnsBuckets = [
  0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
  5,
]

/** From one row to all of ten thousand services. */
const workBuckets = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
]

export const definitions = {
  // ---- traffic
  packets: {
    name: 'fairlead_packets_total',
    type: 'counter',
    unit: 'packets',
    help: 'Packets carried; direction in is from the client to the service.',
    labels: [...backend, 'path', 'direction'],
  },
  bytes: {
    name: 'fairlead_bytes_total',
    type: 'counter',
    unit: 'bytes',
    help: 'Bytes carried, from the IP header on; direction in is from the client to the service.',
    labels: [...backend, 'path', 'direction'],
  },
  connections: {
    name: 'fairlead_connections_total',
    type: 'counter',
    unit: 'flows',
    help: 'Flows that were given a backend.',
    labels: [...backend, 'path'],
  },
  closed: {
    name: 'fairlead_connections_closed_total',
    type: 'counter',
    unit: 'flows',
    help: 'Flows that ended, by reason, as below; of backends that have left, gone above all.',
    labels: [...backend, 'path', 'reason'],
  },
  handshake: {
    name: 'fairlead_handshake_seconds',
    type: 'histogram',
    unit: 'seconds',
    help: "From a client's SYN to the backend's SYN-ACK, of a sample of flows if there are many.",
    labels: [...backend, 'path'],
    buckets: HANDSHAKE_BOUNDS_SECONDS,
  },
  clientHandshake: {
    name: 'fairlead_client_handshake_seconds',
    type: 'histogram',
    unit: 'seconds',
    help: "From the backend's SYN-ACK to the client's ACK, of the same flows; not on the socket path.",
    labels: [...service, 'path'],
    buckets: HANDSHAKE_BOUNDS_SECONDS,
  },
  active: {
    name: 'fairlead_connections_active',
    type: 'gauge',
    unit: 'connections',
    help: 'Connections that have not ended; UDP on the socket path is not among them.',
    labels: [...backend, 'path'],
  },
  inactive: {
    name: 'fairlead_connections_inactive',
    type: 'gauge',
    unit: 'connections',
    help: 'Connections that have ended and are remembered for a while, as the last sweep found.',
    labels: [...backend, 'path'],
  },
  ends: {
    name: 'fairlead_connections_ended_total',
    type: 'counter',
    unit: 'flows',
    help: 'Flows that ended, by reason: fin, reset, idle, gone (the backend), evicted.',
    labels: ['reason', 'path'],
  },
  nodeConnections: {
    name: 'fairlead_node_connections_total',
    type: 'counter',
    unit: 'flows',
    help: 'Flows that were given a backend, of all services, those that are gone included.',
    labels: ['path'],
  },
  nodePacketsIn: {
    name: 'fairlead_node_incoming_packets_total',
    type: 'counter',
    unit: 'packets',
    help: 'Packets from clients to all services, those that are gone included.',
    labels: ['path'],
  },
  nodePacketsOut: {
    name: 'fairlead_node_outgoing_packets_total',
    type: 'counter',
    unit: 'packets',
    help: 'Packets from all services to clients, those that are gone included.',
    labels: ['path'],
  },
  nodeBytesIn: {
    name: 'fairlead_node_incoming_bytes_total',
    type: 'counter',
    unit: 'bytes',
    help: 'Bytes from clients to all services, those that are gone included.',
    labels: ['path'],
  },
  nodeBytesOut: {
    name: 'fairlead_node_outgoing_bytes_total',
    type: 'counter',
    unit: 'bytes',
    help: 'Bytes from all services to clients, those that are gone included.',
    labels: ['path'],
  },
  drops: {
    name: 'fairlead_drops_total',
    type: 'counter',
    unit: 'packets, calls',
    help: 'Packets or calls that were not carried, by reason.',
    labels: ['reason', 'path'],
  },
  events: {
    name: 'fairlead_events_total',
    type: 'counter',
    unit: 'events',
    help: 'What the programs did besides carrying packets: answers for VIPs, collisions, repairs.',
    labels: ['event', 'path'],
  },

  eventsLost: {
    name: 'fairlead_flow_events_lost_total',
    type: 'counter',
    unit: 'events',
    help: 'Events that those who watch were not told: more than may be (rate), or not read (room).',
    labels: ['reason'],
  },

  // ---- the desired state
  serviceInfo: {
    name: 'fairlead_service_info',
    type: 'gauge',
    unit: '1',
    help: 'Always 1. The service as it is configured; VIPs are joined by commas.',
    labels: [...service, 'mode', 'algorithm', 'prefers', 'vips'],
  },
  serviceBackends: {
    name: 'fairlead_service_backends',
    type: 'gauge',
    unit: 'backends',
    help: 'Backends of the service that are in the state.',
    labels: [...service, 'state'],
  },
  backendWeight: {
    name: 'fairlead_backend_weight',
    type: 'gauge',
    unit: 'weight',
    help: 'Weight of the backend.',
    labels: backend,
  },
  backendState: {
    name: 'fairlead_backend_state',
    type: 'gauge',
    unit: '1',
    help: 'Always 1. The state that the backend is in.',
    labels: [...backend, 'state'],
  },
  networks: {
    name: 'fairlead_networks',
    type: 'gauge',
    unit: 'networks',
    help: 'Networks in the desired state.',
    labels: [],
  },
  services: {
    name: 'fairlead_services',
    type: 'gauge',
    unit: 'services',
    help: 'Services in the desired state.',
    labels: [],
  },
  backends: {
    name: 'fairlead_backends',
    type: 'gauge',
    unit: 'backends',
    help: 'Backends of all services in the desired state.',
    labels: [],
  },
  backendSeries: {
    name: 'fairlead_backend_series',
    type: 'gauge',
    unit: '0, 1',
    help: '1 if backends have series of their own, 0 if there are too many of them.',
    labels: [],
  },
  stateRevision: {
    name: 'fairlead_state_revision',
    type: 'gauge',
    unit: 'revision',
    help: 'Revision of the desired state.',
    labels: [],
  },
  problems: {
    name: 'fairlead_problems',
    type: 'gauge',
    unit: 'items',
    help: 'Items that a source gave and that were not accepted.',
    labels: ['source', 'code'],
  },

  // ---- from sources to the kernel and DNS
  sourceCurrent: {
    name: 'fairlead_source_current',
    type: 'gauge',
    unit: '0, 1',
    help: '1 if what is in force is what the source says, 0 while it cannot be read or understood.',
    labels: ['source'],
  },
  sourceSnapshots: {
    name: 'fairlead_source_snapshots_total',
    type: 'counter',
    unit: 'snapshots',
    help: 'Times that the source told all that it has.',
    labels: ['source'],
  },
  sourceSnapshotTime: {
    name: 'fairlead_source_last_snapshot_timestamp_seconds',
    type: 'gauge',
    unit: 'seconds',
    help: 'When the source last told what it has, by the clock.',
    labels: ['source'],
  },
  changeLag: {
    name: 'fairlead_change_lag_seconds',
    type: 'histogram',
    unit: 'seconds',
    help: 'From when a source saw a change until that was reached: kernel, or DNS besides.',
    labels: ['source', 'reached'],
    buckets: workBuckets,
  },

  // ---- the kernel
  appliedRevision: {
    name: 'fairlead_reconcile_applied_revision',
    type: 'gauge',
    unit: 'revision',
    help: 'Revision that the kernel maps hold; behind the state revision while a change is written.',
    labels: [],
  },
  reconcileCycles: {
    name: 'fairlead_reconcile_cycles_total',
    type: 'counter',
    unit: 'cycles',
    help: 'Reconcile cycles begun.',
    labels: [],
  },
  reconcileFailures: {
    name: 'fairlead_reconcile_failures_total',
    type: 'counter',
    unit: 'cycles',
    help: 'Reconcile cycles that did not succeed.',
    labels: [],
  },
  repairedRows: {
    name: 'fairlead_reconcile_repaired_rows_total',
    type: 'counter',
    unit: 'rows',
    help: 'Rows in kernel maps found different from what had been written, and put right.',
    labels: [],
  },
  reconcileDuration: {
    name: 'fairlead_reconcile_last_duration_seconds',
    type: 'gauge',
    unit: 'seconds',
    help: 'How long the last reconcile cycle took.',
    labels: [],
  },
  reconcileTime: {
    name: 'fairlead_reconcile_duration_seconds',
    type: 'histogram',
    unit: 'seconds',
    help: 'How long reconcile cycles took.',
    labels: [],
    buckets: workBuckets,
  },
  sweepTime: {
    name: 'fairlead_flow_sweep_duration_seconds',
    type: 'histogram',
    unit: 'seconds',
    help: 'How long sweeps over the flow tables took; they run beside everything else.',
    labels: [],
    buckets: workBuckets,
  },
  sweepKept: {
    name: 'fairlead_flow_sweep_kept_rows',
    type: 'gauge',
    unit: 'rows',
    help: 'Rows of the flow tables that the last sweep left.',
    labels: [],
  },
  sweepDeleted: {
    name: 'fairlead_flow_sweep_deleted_rows_total',
    type: 'counter',
    unit: 'rows',
    help: 'Rows of the flow tables that sweeps deleted: idle too long, or their backend is gone.',
    labels: [],
  },
  sweepMended: {
    name: 'fairlead_flow_sweep_mended_connections_total',
    type: 'counter',
    unit: 'connections',
    help: 'By how much counts of active connections were put right; eviction makes them drift.',
    labels: [],
  },
  mapEntries: {
    name: 'fairlead_map_entries',
    type: 'gauge',
    unit: 'entries',
    help: 'Entries in use in a kernel map.',
    labels: ['map'],
  },
  mapCapacity: {
    name: 'fairlead_map_capacity_entries',
    type: 'gauge',
    unit: 'entries',
    help: 'Entries that a kernel map has room for.',
    labels: ['map'],
  },
  mapPressure: {
    name: 'fairlead_map_pressure_ratio',
    type: 'gauge',
    unit: 'ratio',
    help: 'Entries in use, of those that a kernel map has room for: 1 is full.',
    labels: ['map'],
  },
  attachments: {
    name: 'fairlead_attachments',
    type: 'gauge',
    unit: 'places',
    help: 'Places where a program is attached.',
    labels: ['network', 'hook', 'program', 'mode'],
  },
  interfaceMode: {
    name: 'fairlead_interface_mode',
    type: 'gauge',
    unit: '1',
    help: "Always 1. How a program is attached to an interface of the node's edge.",
    labels: ['interface', 'hook', 'program', 'mode'],
  },
  features: {
    name: 'fairlead_kernel_feature',
    type: 'gauge',
    unit: '0, 1',
    help: '1 if the running kernel offers the feature, else 0.',
    labels: ['feature'],
  },
  readbackDuration: {
    name: 'fairlead_readback_duration_seconds',
    type: 'gauge',
    unit: 'seconds',
    help: 'How long it took to read the kernel maps for this scrape.',
    labels: [],
  },
  readbackFailures: {
    name: 'fairlead_readback_failures_total',
    type: 'counter',
    unit: 'scrapes',
    help: 'Scrapes for which the kernel maps could not be read; their series were left out.',
    labels: [],
  },

  // ---- DNS
  dnsAnswers: {
    name: 'fairlead_dns_answers_total',
    type: 'counter',
    unit: 'replies',
    help: "Replies sent, by the listener's network, query type, rcode, origin and transport.",
    labels: ['network', 'type', 'rcode', 'source', 'transport'],
  },
  dnsAnswerDuration: {
    name: 'fairlead_dns_answer_duration_seconds',
    type: 'histogram',
    unit: 'seconds',
    help: 'From the arrival of a query to its reply.',
    labels: ['source', 'transport'],
    buckets: dnsBuckets,
  },
  dnsDropped: {
    name: 'fairlead_dns_dropped_total',
    type: 'counter',
    unit: 'queries',
    help: 'Queries that got no reply, by reason.',
    labels: ['reason'],
  },
  dnsForwarded: {
    name: 'fairlead_dns_forwarded_total',
    type: 'counter',
    unit: 'exchanges',
    help: 'Exchanges with an upstream, by outcome: an rcode, or why there was none.',
    labels: ['upstream', 'outcome'],
  },
  dnsForwardDuration: {
    name: 'fairlead_dns_forward_duration_seconds',
    type: 'histogram',
    unit: 'seconds',
    help: 'From sending to an upstream to its reply, or to giving up.',
    labels: ['upstream'],
    buckets: dnsBuckets,
  },
  dnsUpstreamAnswering: {
    name: 'fairlead_dns_upstream_answering',
    type: 'gauge',
    unit: '0, 1',
    help: '1 if the last exchange with the upstream had a reply, else 0.',
    labels: ['upstream'],
  },
  dnsInFlight: {
    name: 'fairlead_dns_forward_in_flight',
    type: 'gauge',
    unit: 'queries',
    help: 'Queries that wait for an upstream now.',
    labels: [],
  },

  // ---- health
  healthChecks: {
    name: 'fairlead_health_checks_total',
    type: 'counter',
    unit: 'checks',
    help: 'Checks of backends, by result: ok, or why not.',
    labels: [...service, 'result'],
  },
  healthCheckDuration: {
    name: 'fairlead_health_check_duration_seconds',
    type: 'histogram',
    unit: 'seconds',
    help: 'From the start of a check to its result.',
    labels: ['type', 'result'],
    buckets: checkBuckets,
  },
  backendHealthy: {
    name: 'fairlead_backend_healthy',
    type: 'gauge',
    unit: '0, 1',
    help: '1 if the backend is healthy by its checks, else 0; absent before the first result.',
    labels: backend,
  },
  healthFailOpen: {
    name: 'fairlead_health_fail_open',
    type: 'gauge',
    unit: '0, 1',
    help: '1 if all backends of the family fail their checks and are used all the same, else 0.',
    labels: [...service, 'family'],
  },
  healthBelowQuorum: {
    name: 'fairlead_health_below_quorum',
    type: 'gauge',
    unit: '0, 1',
    help: '1 if the family has less healthy weight than the quorum and is refused, else 0.',
    labels: [...service, 'family'],
  },

  // ---- the agent
  buildInfo: {
    name: 'fairlead_build_info',
    type: 'gauge',
    unit: '1',
    help: 'Always 1. Versions of the agent, of Node.js and of the kernel.',
    labels: ['version', 'node', 'kernel'],
  },
} as const satisfies Record<string, MetricDefinition>
