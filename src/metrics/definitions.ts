/**
 * Every metric of fairlead's own, in the order of the reference page, which is made from this table.
 * Those of the process come from prom-client and are not listed here.
 */

export interface MetricDefinition {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
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

export const definitions = {
  // ---- traffic
  packets: {
    name: 'fairlead_packets_total',
    type: 'counter',
    help: 'Packets carried; direction in is from the client to the service.',
    labels: [...backend, 'path', 'direction'],
  },
  bytes: {
    name: 'fairlead_bytes_total',
    type: 'counter',
    help: 'Bytes carried, from the IP header on; direction in is from the client to the service.',
    labels: [...backend, 'path', 'direction'],
  },
  connections: {
    name: 'fairlead_connections_total',
    type: 'counter',
    help: 'Flows that were given a backend.',
    labels: [...backend, 'path'],
  },
  active: {
    name: 'fairlead_connections_active',
    type: 'gauge',
    help: 'Connections that have not ended; UDP on the socket path is not among them.',
    labels: [...backend, 'path'],
  },
  ends: {
    name: 'fairlead_connections_ended_total',
    type: 'counter',
    help: 'Flows that ended, by reason: fin, reset, idle, gone (the backend), evicted.',
    labels: ['reason', 'path'],
  },
  drops: {
    name: 'fairlead_drops_total',
    type: 'counter',
    help: 'Packets or calls that were not carried, by reason.',
    labels: ['reason', 'path'],
  },
  events: {
    name: 'fairlead_events_total',
    type: 'counter',
    help: 'What the programs did besides carrying packets: answers for VIPs, collisions, repairs.',
    labels: ['event', 'path'],
  },

  // ---- the desired state
  serviceInfo: {
    name: 'fairlead_service_info',
    type: 'gauge',
    help: 'Always 1. The service as it is configured; VIPs are joined by commas.',
    labels: [...service, 'mode', 'algorithm', 'vips'],
  },
  serviceBackends: {
    name: 'fairlead_service_backends',
    type: 'gauge',
    help: 'Backends of the service that are in the state.',
    labels: [...service, 'state'],
  },
  backendWeight: {
    name: 'fairlead_backend_weight',
    type: 'gauge',
    help: 'Weight of the backend.',
    labels: backend,
  },
  backendState: {
    name: 'fairlead_backend_state',
    type: 'gauge',
    help: 'Always 1. The state that the backend is in.',
    labels: [...backend, 'state'],
  },
  networks: {
    name: 'fairlead_networks',
    type: 'gauge',
    help: 'Networks in the desired state.',
    labels: [],
  },
  services: {
    name: 'fairlead_services',
    type: 'gauge',
    help: 'Services in the desired state.',
    labels: [],
  },
  backends: {
    name: 'fairlead_backends',
    type: 'gauge',
    help: 'Backends of all services in the desired state.',
    labels: [],
  },
  backendSeries: {
    name: 'fairlead_backend_series',
    type: 'gauge',
    help: '1 if backends have series of their own, 0 if there are too many of them.',
    labels: [],
  },
  stateRevision: {
    name: 'fairlead_state_revision',
    type: 'gauge',
    help: 'Revision of the desired state.',
    labels: [],
  },
  problems: {
    name: 'fairlead_problems',
    type: 'gauge',
    help: 'Items that a source gave and that were not accepted.',
    labels: ['source', 'code'],
  },

  // ---- the kernel
  appliedRevision: {
    name: 'fairlead_reconcile_applied_revision',
    type: 'gauge',
    help: 'Revision that the kernel maps hold; behind the state revision while a change is written.',
    labels: [],
  },
  reconcileCycles: {
    name: 'fairlead_reconcile_cycles_total',
    type: 'counter',
    help: 'Reconcile cycles begun.',
    labels: [],
  },
  reconcileFailures: {
    name: 'fairlead_reconcile_failures_total',
    type: 'counter',
    help: 'Reconcile cycles that did not succeed.',
    labels: [],
  },
  repairedRows: {
    name: 'fairlead_reconcile_repaired_rows_total',
    type: 'counter',
    help: 'Rows in kernel maps found different from what had been written, and put right.',
    labels: [],
  },
  reconcileDuration: {
    name: 'fairlead_reconcile_last_duration_seconds',
    type: 'gauge',
    help: 'How long the last reconcile cycle took.',
    labels: [],
  },
  mapEntries: {
    name: 'fairlead_map_entries',
    type: 'gauge',
    help: 'Entries in use in a kernel map.',
    labels: ['map'],
  },
  mapCapacity: {
    name: 'fairlead_map_capacity_entries',
    type: 'gauge',
    help: 'Entries that a kernel map has room for.',
    labels: ['map'],
  },
  attachments: {
    name: 'fairlead_attachments',
    type: 'gauge',
    help: 'Places where a program is attached.',
    labels: ['network', 'hook', 'program', 'mode'],
  },
  features: {
    name: 'fairlead_kernel_feature',
    type: 'gauge',
    help: '1 if the running kernel offers the feature, else 0.',
    labels: ['feature'],
  },
  readbackDuration: {
    name: 'fairlead_readback_duration_seconds',
    type: 'gauge',
    help: 'How long it took to read the kernel maps for this scrape.',
    labels: [],
  },
  readbackFailures: {
    name: 'fairlead_readback_failures_total',
    type: 'counter',
    help: 'Scrapes for which the kernel maps could not be read; their series were left out.',
    labels: [],
  },

  // ---- DNS
  dnsAnswers: {
    name: 'fairlead_dns_answers_total',
    type: 'counter',
    help: "Replies sent, by the listener's network, query type, rcode, origin and transport.",
    labels: ['network', 'type', 'rcode', 'source', 'transport'],
  },
  dnsAnswerDuration: {
    name: 'fairlead_dns_answer_duration_seconds',
    type: 'histogram',
    help: 'From the arrival of a query to its reply.',
    labels: ['source', 'transport'],
    buckets: dnsBuckets,
  },
  dnsDropped: {
    name: 'fairlead_dns_dropped_total',
    type: 'counter',
    help: 'Queries that got no reply, by reason.',
    labels: ['reason'],
  },
  dnsForwarded: {
    name: 'fairlead_dns_forwarded_total',
    type: 'counter',
    help: 'Exchanges with an upstream, by outcome: an rcode, or why there was none.',
    labels: ['upstream', 'outcome'],
  },
  dnsForwardDuration: {
    name: 'fairlead_dns_forward_duration_seconds',
    type: 'histogram',
    help: 'From sending to an upstream to its reply, or to giving up.',
    labels: ['upstream'],
    buckets: dnsBuckets,
  },
  dnsInFlight: {
    name: 'fairlead_dns_forward_in_flight',
    type: 'gauge',
    help: 'Queries that wait for an upstream now.',
    labels: [],
  },

  // ---- health
  healthChecks: {
    name: 'fairlead_health_checks_total',
    type: 'counter',
    help: 'Checks of backends, by result: ok, or why not.',
    labels: [...service, 'result'],
  },
  healthCheckDuration: {
    name: 'fairlead_health_check_duration_seconds',
    type: 'histogram',
    help: 'From the start of a check to its result.',
    labels: ['type', 'result'],
    buckets: checkBuckets,
  },
  backendHealthy: {
    name: 'fairlead_backend_healthy',
    type: 'gauge',
    help: '1 if the backend is healthy by its checks, else 0; absent before the first result.',
    labels: backend,
  },
  healthFailOpen: {
    name: 'fairlead_health_fail_open',
    type: 'gauge',
    help: '1 if all backends of the family fail their checks and are used all the same, else 0.',
    labels: [...service, 'family'],
  },
  healthBelowQuorum: {
    name: 'fairlead_health_below_quorum',
    type: 'gauge',
    help: '1 if the family has less healthy weight than the quorum and is refused, else 0.',
    labels: [...service, 'family'],
  },

  // ---- the agent
  buildInfo: {
    name: 'fairlead_build_info',
    type: 'gauge',
    help: 'Always 1. Versions of the agent, of Node.js and of the kernel.',
    labels: ['version', 'node', 'kernel'],
  },
} as const satisfies Record<string, MetricDefinition>
