/**
 * The shapes that the agent answers with and that the commands read: one description for both ends,
 * and for anyone who reads `--json`. Fields are added, never renamed, below one version of the API.
 */
import { z } from 'zod'
import { flowStates } from '../model/flows.js'
import { ALGORITHMS } from '../model/types.js'

const count = z.number()
const path = z.enum(['tc', 'sock', 'xdp'])

/** Totals since the kernel maps were made; bytes count from the IP header on. */
export const countersSchema = z.object({
  path,
  packetsIn: count,
  bytesIn: count,
  packetsOut: count,
  bytesOut: count,
  connections: count,
  /** Those that have not ended; not of UDP on the socket path. tc has XDP's too, if both carried. */
  active: count,
  /** Those that have ended and are still remembered. */
  inactive: count,
})

export const backendHealthSchema = z.object({
  /** Absent: no result yet. */
  healthy: z.boolean().optional(),
  /** How long it has been so. */
  sinceSeconds: z.number().optional(),
  /** The last result: `ok`, or why not, and in words. */
  result: z.string().optional(),
  error: z.string().optional(),
  /** How long ago that came. */
  ageSeconds: z.number().optional(),
  /** Results in a row that were all `ok`, or all not. */
  consecutive: count,
})

const families = z.array(z.union([z.literal(4), z.literal(6)]))

/** How the backends are checked, and what follows for the service. */
export const serviceHealthSchema = z.object({
  type: z.enum(['tcp', 'http', 'https', 'exec']),
  port: z.number().optional(),
  path: z.string().optional(),
  command: z.array(z.string()).optional(),
  intervalSeconds: z.number(),
  timeoutSeconds: z.number(),
  rise: count,
  fall: count,
  quorum: z.number().optional(),
  /** Families of which all backends fail and are used all the same. */
  failOpen: families,
  /** Families that are refused, having less healthy weight than the quorum. */
  belowQuorum: families,
  /** Checks so far, by result. */
  checks: z.record(z.string(), count),
})

export const backendSchema = z.object({
  address: z.string(),
  weight: z.number(),
  state: z.enum(['active', 'draining', 'down']),
  slot: z.string().optional(),
  hostname: z.string().optional(),
  node: z.string().optional(),
  priority: z.number().optional(),
  /** One row a path that has ever counted. */
  counters: z.array(countersSchema),
  /** Of a backend that is checked. */
  health: backendHealthSchema.optional(),
})

export const serviceSchema = z.object({
  network: z.string(),
  name: z.string(),
  mode: z.enum(['vip', 'dnsrr']),
  algorithm: z.enum(ALGORITHMS),
  /** How replies from other nodes get back to clients outside. */
  return: z.enum(['entry', 'dsr-mac', 'dsr-tunnel', 'snat']).optional(),
  /** Slots of the table of maglev and sh, if not the default. */
  tableSize: z.number().optional(),
  locality: z.literal('prefer-local').optional(),
  affinity: z
    .object({ timeoutSeconds: z.number(), prefix4: z.number(), prefix6: z.number() })
    .optional(),
  thresholds: z.object({ upper: z.number(), lower: z.number() }).optional(),
  sourceRanges: z.object({ allow: z.array(z.string()), deny: z.array(z.string()) }).optional(),
  /** Of idle connections, where not the default. */
  timeouts: z
    .object({
      synSeconds: z.number().optional(),
      establishedSeconds: z.number().optional(),
      closingSeconds: z.number().optional(),
      udpSeconds: z.number().optional(),
      reset: z.boolean().optional(),
    })
    .optional(),
  /** How long connections to a draining or removed backend go on, if not as the agent has it. */
  drainSeconds: z.number().optional(),
  ttlSeconds: z.number(),
  vips: z.array(z.string()),
  /** Empty in mode vip: every TCP and UDP port. */
  ports: z.array(
    z.object({
      protocol: z.enum(['tcp', 'udp']),
      port: z.number(),
      targetPort: z.number(),
      name: z.string().optional(),
    }),
  ),
  aliases: z.array(z.string()),
  backends: z.array(backendSchema),
  /** The whole service's, those of backends that have left included; one row a path. */
  counters: z.array(countersSchema),
  /** Of a service that is checked. */
  health: serviceHealthSchema.optional(),
})

export const networkSchema = z.object({
  name: z.string(),
  subnets: z.array(z.string()),
  pools: z.array(z.string()),
  reserved: z.array(z.string()),
  dns: z.array(z.string()),
  services: count,
})

export const problemSchema = z.object({
  source: z.string(),
  item: z.string(),
  place: z.string().optional(),
  code: z.string(),
  reason: z.string(),
})

export const reasonCountSchema = z.object({ reason: z.string(), path, count })

export const mapSchema = z.object({ map: z.string(), entries: count, capacity: count })

export const attachmentSchema = z.object({
  network: z.string(),
  namespace: z.string().optional(),
  target: z.string(),
  hook: z.enum(['tcx', 'clsact', 'cgroup', 'xdp']),
  program: z.string(),
  mode: z.enum(['native', 'generic']).optional(),
})

export const statusSchema = z.object({
  version: z.string(),
  /** Name of the node. */
  node: z.string(),
  kernel: z.string(),
  uptimeSeconds: z.number(),
  /**
   * `applied`: what the kernel holds, behind `desired` while a change is being written.
   * `answering`: what both the kernel, with its programs attached, and DNS hold.
   */
  revision: z.object({ desired: z.number(), applied: z.number(), answering: z.number() }),
  reconcile: z.object({
    cycles: count,
    failures: count,
    repaired: count,
    lastDurationSeconds: z.number(),
    lastError: z.string().optional(),
  }),
  sources: z.array(z.object({ name: z.string(), from: z.string().optional(), problems: count })),
  networks: count,
  services: count,
  problems: count,
  attachments: z.array(attachmentSchema),
  /** Whether this kernel has IPVS. */
  ipvs: z.enum(['loaded', 'loadable', 'absent']),
  /** Which of an engine's services are served here; absent: no engine is followed. */
  takeover: z
    .object({ mode: z.enum(['all', 'labelled', 'none']), names: z.array(z.string()) })
    .optional(),
  features: z.record(z.string(), z.boolean()),
})

const endSchema = z.object({ address: z.string(), port: z.number() })

export const flowSchema = z.object({
  path,
  protocol: z.enum(['tcp', 'udp']),
  /** As IPVS calls it. */
  state: z.enum(flowStates),
  /** Until it is forgotten if it stays idle; absent: not known yet. */
  expiresSeconds: z.number().optional(),
  client: endSchema,
  /** What the client dialled. */
  vip: endSchema,
  /** Absent: it has been removed. */
  backend: endSchema.optional(),
  /** `network/service`. */
  service: z.string().optional(),
  /** The client as the backend sees it, where that is another one. */
  seenAs: endSchema.optional(),
})

/** A page. Without `next` there are no more; an empty page may have one. */
export const flowsSchema = z.object({ flows: z.array(flowSchema), next: z.string().optional() })

/** What may be asked for; all that is given holds. */
export const flowParametersSchema = z.strictObject({
  /** A page ends soon after so many. */
  limit: z.coerce.number<string | number>().int().min(1).max(10_000).default(1_000),
  /** `next` of the page before. */
  cursor: z.string().max(100).optional(),
  path: path.optional(),
  protocol: z.enum(['tcp', 'udp']).optional(),
  state: z.enum(flowStates).optional(),
  network: z.string().optional(),
  /** `network/service`, or the service alone. */
  service: z.string().optional(),
  /** `ADDRESS`, `ADDRESS/PREFIX`, `ADDRESS:PORT`, `[ADDRESS]:PORT` or `:PORT`. */
  client: z.string().optional(),
  vip: z.string().optional(),
  backend: z.string().optional(),
})

/** Totals of one service, or backend, over all paths. */
export const totalsSchema = z.object({
  network: z.string(),
  service: z.string(),
  /** Absent: of the service; empty: what backends that have left had counted. */
  backend: z.string().optional(),
  packetsIn: count,
  bytesIn: count,
  packetsOut: count,
  bytesOut: count,
  connections: count,
  active: count,
})

/** @see totalsSchema */
export const countersOfSchema = z.object({
  /** Seconds since the agent started: the time between two answers, whatever the way took. */
  uptimeSeconds: z.number(),
  counters: z.array(totalsSchema),
})

export const countersParametersSchema = z.strictObject({
  by: z.enum(['service', 'backend']).default('service'),
  network: z.string().optional(),
  /** `network/service`, or the service alone. */
  service: z.string().optional(),
})

export const servicesSchema = z.object({ services: z.array(serviceSchema) })
export const networksSchema = z.object({ networks: z.array(networkSchema) })
export const problemsSchema = z.object({ problems: z.array(problemSchema) })
export const dropsSchema = z.object({
  drops: z.array(reasonCountSchema),
  events: z.array(reasonCountSchema),
})
export const mapsSchema = z.object({ maps: z.array(mapSchema) })
export const reloadSchema = z.object({ revision: z.number() })
export const errorSchema = z.object({ code: z.string(), message: z.string() })

export type FlowView = z.infer<typeof flowSchema>
export type FlowParameters = z.input<typeof flowParametersSchema>
export type TotalsView = z.infer<typeof totalsSchema>
export type CountersView = z.infer<typeof countersOfSchema>
export type CountersParameters = z.input<typeof countersParametersSchema>
export type PathCounters = z.infer<typeof countersSchema>
export type BackendView = z.infer<typeof backendSchema>
export type ServiceView = z.infer<typeof serviceSchema>
export type ServiceHealthView = z.infer<typeof serviceHealthSchema>
export type NetworkView = z.infer<typeof networkSchema>
export type StatusView = z.infer<typeof statusSchema>
export type DropsView = z.infer<typeof dropsSchema>
export type MapView = z.infer<typeof mapSchema>
export type ProblemView = z.infer<typeof problemSchema>
