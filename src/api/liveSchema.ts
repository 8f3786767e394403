/**
 * What the page and other watchers follow: an overview that stays small with many services, what
 * changed, and the messages of `GET /v1/live`.
 */
import { z } from 'zod'
import { ALGORITHMS } from '../model/types.js'
import { pathSchema, portSchema, traffic } from './schema.js'

const count = z.number()

const statesSchema = z.object({ active: count, draining: count, down: count })

/** A service in few words. */
export const overviewServiceSchema = z.object({
  network: z.string(),
  name: z.string(),
  mode: z.enum(['vip', 'dnsrr']),
  algorithm: z.enum(ALGORITHMS),
  vips: z.array(z.string()),
  ports: z.array(portSchema).describe('Empty in mode vip: every TCP and UDP port.'),
  backends: statesSchema.describe('How many there are in each state.'),
  failOpen: z.literal(true).optional().describe('All checks of a family fail, and all are used.'),
})

export const overviewSchema = z.object({
  revision: z.number(),
  services: z.array(overviewServiceSchema),
})

export const changeKinds = [
  'started',
  'network-added',
  'network-removed',
  'network-changed',
  'service-added',
  'service-removed',
  'service-changed',
  'backend-added',
  'backend-removed',
  'backend-state',
  'backend-weight',
  'problem',
  'problem-solved',
  'more',
] as const

/** One thing that became different with a revision. */
export const changeSchema = z.object({
  id: z.number().describe('Grows by one each.'),
  at: z.string().describe('When the agent took it, by its clock: RFC 3339 in UTC.'),
  revision: z.number(),
  kind: z.enum(changeKinds).describe('`more`: there were too many to list one by one.'),
  subject: z.string().describe('A network, `network/service`, or the item that has a problem.'),
  backend: z.string().optional().describe('Its address.'),
  from: z.string().optional(),
  to: z.string().optional(),
  reason: z.string().optional().describe('What a check found, or what the problem is.'),
})

export const changesSchema = z.object({ changes: z.array(changeSchema) })

const rateFields = {
  ...traffic,
  active: count.describe('How many connections have not ended; the rest is in a second.'),
}

/** In a second, over all paths. */
export const rateSchema = z.object(rateFields)

/** From a client's SYN to the backend's SYN-ACK, of a sample if there are many. */
export const handshakeSchema = z.object({
  timed: count.describe('How many were.'),
  medianSeconds: z.number(),
  p90Seconds: z.number().describe('Nine in ten took no longer.'),
})

/** Where the agent is: at the start of a stream, and whenever it is another. */
export const liveStateSchema = z.object({
  node: z.string(),
  version: z.string(),
  started: z.string().describe('When the agent started, by its clock: RFC 3339 in UTC.'),
  revision: z.object({ desired: z.number(), applied: z.number(), answering: z.number() }),
  services: count,
  networks: count,
  problems: count,
  backends: statesSchema,
  lastError: z.string().optional().describe('Of the last reconciliation, if it failed.'),
})

/** What was carried since the message before. */
export const liveRatesSchema = z.object({
  at: z.string().describe('When the kernel was read, by its clock: RFC 3339 in UTC.'),
  seconds: z.number().describe('Over which the rates are.'),
  total: rateSchema.describe('Of all services.'),
  services: z
    .array(z.object({ service: z.string(), ...rateFields }))
    .describe('Those with traffic or connections, the busiest first; `network/service`.'),
  omitted: count.describe('Services with traffic that are not in the list, which is bounded.'),
  backends: z
    .array(z.object({ backend: z.string(), ...rateFields, handshake: handshakeSchema.optional() }))
    .optional()
    .describe('Of the service that was asked for; empty: those that have left.'),
  handshake: handshakeSchema.optional().describe('Of the service that was asked for.'),
  drops: z.array(z.object({ reason: z.string(), path: pathSchema, perSecond: z.number() })),
})

export const liveParametersSchema = z.strictObject({
  service: z
    .string()
    .max(131)
    .optional()
    .describe('`network/service`: its backends are in each message of rates.'),
})

export type OverviewServiceView = z.infer<typeof overviewServiceSchema>
export type OverviewView = z.infer<typeof overviewSchema>
export type ChangeView = z.infer<typeof changeSchema>
export type ChangeKind = ChangeView['kind']
export type RateView = z.infer<typeof rateSchema>
export type HandshakeView = z.infer<typeof handshakeSchema>
export type LiveState = z.infer<typeof liveStateSchema>
export type LiveRates = z.infer<typeof liveRatesSchema>
