/**
 * The shapes that the agent answers with and that the commands read: one description for both ends,
 * and for anyone who reads `--json`. Fields are added, never renamed, below one version of the API.
 */
import { z } from 'zod'
import { backendReasons, choosers, matches, outcomes, wayKinds } from '../model/explain.js'
import { flowEventKinds } from '../model/flowEvents.js'
import { flowStates } from '../model/flows.js'
import { ALGORITHMS } from '../model/types.js'

const count = z.number()
/** The hook family that handled a connection. */
export const pathSchema = z.enum(['tc', 'sock', 'xdp'])

/** Client to service is `in`; bytes count from the IP header on. */
export const traffic = {
  packetsIn: count,
  bytesIn: count,
  packetsOut: count,
  bytesOut: count,
  connections: count,
}

/** Totals since the kernel maps were made. */
export const countersSchema = z.object({
  path: pathSchema,
  ...traffic,
  active: count.describe(
    "Those that have not ended; not of UDP on the socket path. tc has XDP's too, if both carried.",
  ),
  inactive: count.describe('Those that have ended and are still remembered.'),
})

export const backendHealthSchema = z.object({
  healthy: z.boolean().optional().describe('Absent: no result yet.'),
  sinceSeconds: z.number().optional().describe('How long it has been so.'),
  result: z.string().optional().describe('The last result: `ok`, or why not, and in words.'),
  error: z.string().optional(),
  ageSeconds: z.number().optional().describe('How long ago that came.'),
  consecutive: count.describe('Results in a row that were all `ok`, or all not.'),
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
  failOpen: families.describe('Families of which all backends fail and are used all the same.'),
  belowQuorum: families.describe(
    'Families that are refused, having less healthy weight than the quorum.',
  ),
  checks: z.record(z.string(), count).describe('Checks so far, by result.'),
})

export const backendSchema = z.object({
  address: z.string(),
  weight: z.number(),
  state: z.enum(['active', 'draining', 'down']),
  slot: z.string().optional(),
  hostname: z.string().optional(),
  node: z.string().optional(),
  priority: z.number().optional(),
  counters: z.array(countersSchema).describe('One row a path that has ever counted.'),
  health: backendHealthSchema.optional().describe('Of a backend that is checked.'),
})

export const portSchema = z.object({
  protocol: z.enum(['tcp', 'udp']),
  port: z.number(),
  targetPort: z.number(),
  name: z.string().optional(),
})

export const serviceSchema = z.object({
  network: z.string(),
  name: z.string(),
  mode: z.enum(['vip', 'dnsrr']),
  algorithm: z.enum(ALGORITHMS),
  return: z
    .enum(['entry', 'dsr-mac', 'dsr-tunnel', 'snat'])
    .optional()
    .describe('How replies from other nodes get back to clients outside.'),
  tableSize: z
    .number()
    .optional()
    .describe('Slots of the table of maglev and sh, if not the default.'),
  locality: z.literal('prefer-local').optional(),
  affinity: z
    .object({ timeoutSeconds: z.number(), prefix4: z.number(), prefix6: z.number() })
    .optional(),
  thresholds: z.object({ upper: z.number(), lower: z.number() }).optional(),
  sourceRanges: z.object({ allow: z.array(z.string()), deny: z.array(z.string()) }).optional(),
  timeouts: z
    .object({
      synSeconds: z.number().optional(),
      establishedSeconds: z.number().optional(),
      closingSeconds: z.number().optional(),
      udpSeconds: z.number().optional(),
      reset: z.boolean().optional(),
    })
    .optional()
    .describe('Of idle connections, where not the default.'),
  drainSeconds: z
    .number()
    .optional()
    .describe(
      'How long connections to a draining or removed backend go on, if not as the agent has it.',
    ),
  ttlSeconds: z.number(),
  vips: z.array(z.string()),
  ports: z.array(portSchema).describe('Empty in mode vip: every TCP and UDP port.'),
  aliases: z.array(z.string()),
  backends: z.array(backendSchema),
  counters: z
    .array(countersSchema)
    .describe("The whole service's, those of backends that have left included; one row a path."),
  health: serviceHealthSchema.optional().describe('Of a service that is checked.'),
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

export const reasonCountSchema = z.object({ reason: z.string(), path: pathSchema, count })

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
  node: z.string().describe('Name of the node.'),
  kernel: z.string(),
  uptimeSeconds: z.number(),
  revision: z
    .object({ desired: z.number(), applied: z.number(), answering: z.number() })
    .describe(
      '`applied`: what the kernel holds, behind `desired` while a change is being written. `answering`: what both the kernel, with its programs attached, and DNS hold.',
    ),
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
  ipvs: z.enum(['loaded', 'loadable', 'absent']).describe('Whether this kernel has IPVS.'),
  takeover: z
    .object({ mode: z.enum(['all', 'labelled', 'none']), names: z.array(z.string()) })
    .optional()
    .describe("Which of an engine's services are served here; absent: no engine is followed."),
  features: z.record(z.string(), z.boolean()),
})

const endSchema = z.object({ address: z.string(), port: z.number() })

export const flowSchema = z.object({
  path: pathSchema,
  protocol: z.enum(['tcp', 'udp']),
  state: z.enum(flowStates).describe('As IPVS calls it.'),
  expiresSeconds: z
    .number()
    .optional()
    .describe('Until it is forgotten if it stays idle; absent: not known yet.'),
  client: endSchema,
  vip: endSchema.describe('What the client dialled.'),
  backend: endSchema.optional().describe('Absent: it has been removed.'),
  service: z.string().optional().describe('`network/service`.'),
  seenAs: endSchema
    .optional()
    .describe('The client as the backend sees it, where that is another one.'),
})

/** A page. Without `next` there are no more; an empty page may have one. */
export const flowsSchema = z.object({ flows: z.array(flowSchema), next: z.string().optional() })

/** What may be asked for; all that is given holds. */
export const flowParametersSchema = z.strictObject({
  limit: z.coerce
    .number<string | number>()
    .int()
    .min(1)
    .max(10_000)
    .default(1_000)
    .describe('A page ends soon after so many.'),
  cursor: z.string().max(100).optional().describe('`next` of the page before.'),
  path: pathSchema.optional(),
  protocol: z.enum(['tcp', 'udp']).optional(),
  state: z.enum(flowStates).optional(),
  network: z.string().optional(),
  service: z.string().optional().describe('`network/service`, or the service alone.'),
  client: z
    .string()
    .optional()
    .describe('`ADDRESS`, `ADDRESS/PREFIX`, `ADDRESS:PORT`, `[ADDRESS]:PORT` or `:PORT`.'),
  vip: z.string().optional(),
  backend: z.string().optional(),
})

/** What becomes of a packet, or of a connect(), and why. */
export const explanationSchema = z.object({
  path: pathSchema,
  /** Empty: the outside. */
  network: z.string(),
  protocol: z.enum(['tcp', 'udp']),
  client: endSchema,
  /** What the client dials. */
  vip: endSchema,
  /** Whether it begins a connection, or is one's later packet. */
  first: z.boolean(),
  outcome: z.enum(outcomes),
  /** Why it was refused or dropped: as in `drops`. */
  reason: z.string().optional(),
  /** What the destination is. */
  match: z.enum(matches),
  /** `network/service`. */
  service: z.string().optional(),
  /** Absent: the service has no source ranges. */
  source: z.enum(['allowed', 'denied']).optional(),
  /** The connection that the packet is of, as it is tracked. */
  flow: z
    .object({
      state: z.enum(flowStates),
      /** Only its client's first packet has been seen. */
      embryonic: z.boolean(),
      idleSeconds: z.number(),
      expiresSeconds: z.number(),
      /** Absent: it has been removed. */
      backend: z.string().optional(),
      /** Whether it decides; else it is over. */
      used: z.boolean(),
    })
    .optional(),
  affinity: z
    .object({
      timeoutSeconds: z.number(),
      /** What the client had. */
      backend: z.string().optional(),
      secondsLeft: z.number(),
      used: z.boolean(),
    })
    .optional(),
  choice: z
    .object({
      algorithm: z.enum(ALGORITHMS),
      /** Who named the backend. */
      by: z.enum(choosers),
      /** Of the ring. */
      slots: count.optional(),
      /** Where the choice began. */
      slot: z.number().optional(),
      /** Hexadecimal, 64 bits. */
      hash: z.string().optional(),
      /** Connections that the cursor has placed. */
      placed: count.optional(),
      /** Whether the same packet would go there for sure, if nothing happens before. */
      certain: z.boolean(),
    })
    .optional(),
  backend: endSchema.optional(),
  /** The client as the backend sees it, where that is another one. */
  seenAs: endSchema.optional(),
  way: z
    .object({
      kind: z.enum(wayKinds),
      interface: z.string().optional(),
      nextHop: z.string().optional(),
      veth: z.string().optional(),
      mac: z.string().optional(),
      state: z.string().optional(),
    })
    .optional(),
  /** All of the service's, each with why it was chosen or not. */
  backends: z.array(
    z.object({
      address: z.string(),
      weight: z.number(),
      /** Absent: it is no longer the service's. */
      state: z.enum(['active', 'draining', 'down']).optional(),
      active: count,
      slots: count,
      reason: z.enum(backendReasons),
      /** The reason in words. */
      text: z.string(),
      /** All that it was given, and those of them that one side reset, since the maps were made. */
      connections: count,
      resets: count,
      /** Mean of those that were timed; absent: none was. */
      handshakeSeconds: z.number().optional(),
    }),
  ),
  /** What would be counted besides, as in `events`. */
  events: z.array(z.string()),
  /** The same in words, in the order of the decision. */
  steps: z.array(z.object({ step: z.string(), text: z.string() })),
})

export const explainParametersSchema = z.strictObject({
  /** `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`; without a port any of a client's. */
  client: z.string(),
  /** `ADDRESS:PORT` or `[ADDRESS]:PORT`: what the client dials. */
  vip: z.string(),
  protocol: z.enum(['tcp', 'udp']),
  /** Absent: the one that the client is of, or the outside; empty: the outside. */
  network: z.string().optional(),
  /** Absent: the first that sees the client's traffic. */
  path: pathSchema.optional(),
  /** `true`: a packet in the middle of a TCP connection, not its first. */
  established: z.enum(['true', 'false']).optional(),
})

/** What of flows may be watched for; all that is given holds. */
export const eventParametersSchema = z.strictObject({
  /** Joined by commas; else all. */
  kind: z
    .string()
    .transform((text) => text.split(','))
    .pipe(z.array(z.enum(flowEventKinds)))
    .optional(),
  network: z.string().optional(),
  /** `network/service`, or the service alone. */
  service: z.string().optional(),
  /** `ADDRESS`, `ADDRESS/PREFIX`, `ADDRESS:PORT`, `[ADDRESS]:PORT` or `:PORT`. */
  client: z.string().optional(),
  vip: z.string().optional(),
  backend: z.string().optional(),
  /** One flow in so many. */
  sample: z.coerce.number<string | number>().int().min(1).max(1_000_000).optional(),
  /** Events a second at most, of all who watch the greatest. */
  rate: z.coerce.number<string | number>().int().min(1).max(100_000).optional(),
})

/** Data of an event `flow`. */
export const flowEventSchema = z.object({
  /** ISO 8601. */
  time: z.string(),
  kind: z.enum(flowEventKinds),
  path: pathSchema,
  /** `tcp`, `udp`, or the number of another. */
  protocol: z.string(),
  /** Absent: not known. */
  client: endSchema.optional(),
  /** What was dialled; port 0: the packet has none. */
  vip: endSchema,
  backend: endSchema.optional(),
  /** `network/service`. */
  service: z.string().optional(),
  network: z.string().optional(),
  /** Why it ended, was refused or dropped. */
  reason: z.string().optional(),
  durationSeconds: z.number().optional(),
  packetsIn: count.optional(),
  bytesIn: count.optional(),
  packetsOut: count.optional(),
  bytesOut: count.optional(),
})

/** Data of an event `watching`: what happens from then on is told. */
export const watchingSchema = z.object({})

/** Data of an event `lost`: so many were not told. */
export const lostEventsSchema = z.object({ count })

/** Totals of one service, or backend, over all paths. */
export const totalsSchema = z.object({
  network: z.string(),
  service: z.string(),
  backend: z
    .string()
    .optional()
    .describe('Absent: of the service; empty: what backends that have left had counted.'),
  ...traffic,
  active: count,
})

/** @see totalsSchema */
export const countersOfSchema = z.object({
  uptimeSeconds: z
    .number()
    .describe(
      'Seconds since the agent started: the time between two answers, whatever the way took.',
    ),
  counters: z.array(totalsSchema),
})

/** What is to be captured; all that is given holds. */
export const pcapParametersSchema = z.strictObject({
  /** `network/service`. */
  service: z.string(),
  /** Its address. */
  backend: z.string().optional(),
  /** `ADDRESS` or `ADDRESS/PREFIX`. */
  client: z.string().optional(),
  /** Bytes of each packet, from the Ethernet header on; absent: its headers. */
  snaplen: z.coerce.number<string | number>().int().min(64).max(2048).optional(),
  /** Packets in a second beyond which others are left out, and counted. */
  rate: z.coerce.number<string | number>().int().min(1).max(20_000).default(1_000),
  /** It ends after so many packets. */
  count: z.coerce.number<string | number>().int().min(1).max(10_000_000).optional(),
  /** And after so long. */
  seconds: z.coerce.number<string | number>().min(0.1).max(3600).default(60),
})

export const countersParametersSchema = z.strictObject({
  by: z.enum(['service', 'backend']).default('service'),
  network: z.string().optional(),
  service: z.string().optional().describe('`network/service`, or the service alone.'),
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
export type FlowEventView = z.infer<typeof flowEventSchema>
export type FlowParameters = z.input<typeof flowParametersSchema>
export type ExplanationView = z.infer<typeof explanationSchema>
export type ExplainParameters = z.input<typeof explainParametersSchema>
export type PcapParameters = z.input<typeof pcapParametersSchema>
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
