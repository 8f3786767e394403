/**
 * Everything that can be asked of an agent: one list, from which the server takes its routes and the
 * OpenAPI document is made.
 */
import { z } from 'zod'
import * as live from './liveSchema.js'
import * as schema from './schema.js'

export interface Operation {
  readonly method: 'GET' | 'POST'
  /** Parameters in braces. */
  readonly path: string
  readonly summary: string
  readonly query?: z.ZodObject
  /** The shape of its JSON, or another media type. */
  readonly answer: z.ZodType | string
  /** Of an event stream: name → shape of the data. */
  readonly events?: Readonly<Record<string, z.ZodType>>
  /** Statuses of its own errors, with what they mean. */
  readonly errors?: Readonly<Record<number, string>>
  /** Needs no token, by TCP either: it tells nothing of the node. */
  readonly open?: true
  /** Needs the unix socket: it changes something, or shows what packets carry. */
  readonly socketOnly?: true
}

export const EVENT_STREAM = 'text/event-stream'
export const PCAPNG = 'application/x-pcapng'

const badParameter = { 422: 'a parameter is wrong (`VALUE`)' }

export const operations = {
  status: {
    ...{ method: 'GET', path: '/v1/status', answer: schema.statusSchema },
    summary: 'Versions, revisions, reconciling, sources, attachments',
  },
  services: {
    ...{ method: 'GET', path: '/v1/services', answer: schema.servicesSchema },
    summary: 'All services with backends, counters by path, and health',
  },
  service: {
    ...{ method: 'GET', path: '/v1/services/{network}/{name}', answer: schema.serviceSchema },
    summary: 'One service',
    errors: { 404: 'there is no such service (`REFERENCE`)' },
  },
  overview: {
    ...{ method: 'GET', path: '/v1/overview', answer: live.overviewSchema },
    summary: 'All services in few words: how many backends are in which state',
  },
  networks: {
    ...{ method: 'GET', path: '/v1/networks', answer: schema.networksSchema },
    summary: 'Networks',
  },
  problems: {
    ...{ method: 'GET', path: '/v1/problems', answer: schema.problemsSchema },
    summary: 'What was not accepted, is refused or is not there',
  },
  changes: {
    ...{ method: 'GET', path: '/v1/changes', answer: live.changesSchema },
    summary: 'What became different, the newest first; the agent remembers some hundred',
  },
  flows: {
    ...{ method: 'GET', path: '/v1/flows', answer: schema.flowsSchema },
    summary: 'A page of the flow table; all filters that are given hold',
    ...{ query: schema.flowParametersSchema, errors: badParameter },
  },
  counters: {
    ...{ method: 'GET', path: '/v1/counters', answer: schema.countersOfSchema },
    summary: 'Totals over all paths',
    ...{ query: schema.countersParametersSchema, errors: badParameter },
  },
  explain: {
    ...{ method: 'GET', path: '/v1/explain', answer: schema.explanationSchema },
    summary: 'What would become of a packet or a connect(), and why; nothing is changed by asking',
    query: schema.explainParametersSchema,
    errors: { ...badParameter, 404: 'there is no such network or path here (`REFERENCE`)' },
  },
  pcap: {
    ...{ method: 'GET', path: '/v1/pcap', answer: PCAPNG },
    summary: 'Packets of a service before and after translation, as they pass',
    query: schema.pcapParametersSchema,
    errors: {
      ...badParameter,
      404: 'there is no such service or backend, or it is on no interface (`REFERENCE`)',
      503: 'another capture runs (`BUSY`)',
    },
    socketOnly: true,
  },
  live: {
    ...{ method: 'GET', path: '/v1/live', answer: EVENT_STREAM },
    summary: 'State, rates and changes as they come; each connection begins with all of them',
    query: live.liveParametersSchema,
    events: {
      state: live.liveStateSchema,
      rates: live.liveRatesSchema,
      changes: live.changesSchema,
    },
    errors: { ...badParameter, 503: 'as many follow already as may (`BUSY`)' },
  },
  events: {
    ...{ method: 'GET', path: '/v1/events', answer: EVENT_STREAM },
    summary: 'What happens to flows, as it happens; all filters that are given hold',
    query: schema.eventParametersSchema,
    events: {
      watching: schema.watchingSchema,
      flow: schema.flowEventSchema,
      lost: schema.lostEventsSchema,
    },
    errors: { ...badParameter, 503: 'as many watch already as may (`BUSY`)' },
  },
  drops: {
    ...{ method: 'GET', path: '/v1/drops', answer: schema.dropsSchema },
    summary: 'What was refused or dropped, and other events, by reason and path',
  },
  maps: {
    ...{ method: 'GET', path: '/v1/maps', answer: schema.mapsSchema },
    summary: 'Kernel maps: entries and capacity',
  },
  openapi: {
    ...{ method: 'GET', path: '/v1/openapi.json', answer: z.looseObject({ openapi: z.string() }) },
    summary: 'This description',
  },
  healthz: {
    ...{ method: 'GET', path: '/healthz', answer: 'text/plain' },
    summary: 'Answers `ok`: the agent runs',
    open: true,
  },
  metrics: {
    ...{ method: 'GET', path: '/metrics', answer: 'text/plain' },
    summary: 'What Prometheus reads',
  },
  reload: {
    ...{ method: 'POST', path: '/v1/reload', answer: schema.reloadSchema },
    summary: 'Reads the file again',
    errors: {
      422: 'the file as a whole is unusable (`FILE`, `SCHEMA`), the old one stays in force',
    },
    socketOnly: true,
  },
} as const satisfies Readonly<Record<string, Operation>>

export type OperationName = keyof typeof operations
