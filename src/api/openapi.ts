/** The OpenAPI document, made of the operations and the shapes that they answer with. */
import { z } from 'zod'
import * as live from './liveSchema.js'
import { EVENT_STREAM, type Operation, operations } from './operations.js'
import * as schema from './schema.js'

type Json = Record<string, unknown>

/** Shapes that have a name of their own; all others stand where they are used. */
const named: Readonly<Record<string, z.ZodType>> = {
  Status: schema.statusSchema,
  Attachment: schema.attachmentSchema,
  Services: schema.servicesSchema,
  Service: schema.serviceSchema,
  ServiceHealth: schema.serviceHealthSchema,
  Backend: schema.backendSchema,
  BackendHealth: schema.backendHealthSchema,
  Port: schema.portSchema,
  PathCounters: schema.countersSchema,
  Overview: live.overviewSchema,
  OverviewService: live.overviewServiceSchema,
  Networks: schema.networksSchema,
  Network: schema.networkSchema,
  Problems: schema.problemsSchema,
  Problem: schema.problemSchema,
  Changes: live.changesSchema,
  Change: live.changeSchema,
  Flows: schema.flowsSchema,
  Flow: schema.flowSchema,
  Counters: schema.countersOfSchema,
  Totals: schema.totalsSchema,
  Handshake: live.handshakeSchema,
  LiveState: live.liveStateSchema,
  LiveRates: live.liveRatesSchema,
  FlowEvent: schema.flowEventSchema,
  LostEvents: schema.lostEventsSchema,
  Drops: schema.dropsSchema,
  ReasonCount: schema.reasonCountSchema,
  Maps: schema.mapsSchema,
  MapOccupancy: schema.mapSchema,
  Reload: schema.reloadSchema,
  Error: schema.errorSchema,
}

const about = `What the agent of a node tells. It only reads; \`POST /v1/reload\` alone makes the agent read its
file again. Served on a unix socket (\`agent.socket\`) without a token, and by TCP (\`agent.http\`) with one, where only
reading is possible. Below one version of the path fields are added, never renamed or removed.`

/** @returns an OpenAPI 3.1 document */
export function openApiDocument(): Json {
  return {
    openapi: '3.1.1',
    info: {
      ...{ title: 'fairlead', version: '1', description: about.replaceAll('\n', ' ') },
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{}, { token: [] }],
    paths: paths(),
    components: {
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', description: 'By TCP; on the socket none.' },
      },
      schemas: componentSchemas(),
    },
  }
}

/** The committed copy; laid out as prettier does. */
export function openApiText(): string {
  return `${JSON.stringify(openApiDocument(), null, 2)}\n`
}

function paths(): Json {
  const found: Record<string, Json> = {}
  for (const [id, operation] of Object.entries<Operation>(operations)) {
    const path = (found[operation.path] ??= {})
    path[operation.method.toLowerCase()] = {
      ...{ operationId: id, summary: operation.summary },
      ...((operation.socketOnly ?? operation.open) && { security: [{}] }),
      parameters: [...pathParameters(operation.path), ...queryParameters(operation)],
      responses: responses(operation),
    }
  }
  return found
}

function pathParameters(path: string): Json[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    ...{ name, in: 'path', required: true, schema: { type: 'string' } },
  }))
}

function queryParameters({ query }: Operation): Json[] {
  return Object.entries(query?.shape ?? {}).map(([name, type]) => {
    const asked = type as z.ZodType
    const { description, ...shape } = inline(asked, 'input')
    return {
      ...{ name, in: 'query', required: !asked.safeParse(undefined).success, schema: shape },
      ...(description !== undefined && { description }),
    }
  })
}

function responses({ answer, events, open, errors = {} }: Operation): Json {
  const error = (description: string): Json => ({
    description,
    content: { 'application/json': { schema: refTo(schema.errorSchema) } },
  })
  return {
    200: { description: 'Done', content: contentOf(answer, events) },
    400: error('the request is malformed (`REQUEST`)'),
    ...(!open && { 401: error('by TCP: there is no token, or another one (`TOKEN`)') }),
    ...Object.fromEntries(Object.entries(errors).map(([status, why]) => [status, error(why)])),
    500: error('the kernel could not be read (`INTERNAL`, or another code)'),
    default: error(
      'refused: by TCP a `Host` or `Origin` that is not ours, a method but GET and HEAD',
    ),
  }
}

function contentOf(answer: Operation['answer'], events: Operation['events']): Json {
  if (typeof answer !== 'string') return { 'application/json': { schema: refTo(answer) } }
  const shapes = Object.entries(events ?? {}).map(([name, shape]) => [name, refTo(shape)])
  return {
    [answer]: {
      schema: { type: 'string' },
      // OpenAPI 3.1 has no word for the data of server-sent events.
      ...(answer === EVENT_STREAM && { 'x-events': Object.fromEntries(shapes) as Json }),
    },
  }
}

function refTo(shape: z.ZodType): Json {
  const name = Object.entries(named).find(([, each]) => each === shape)?.[0]
  return name === undefined ? inline(shape, 'output') : { $ref: `#/components/schemas/${name}` }
}

function inline(shape: z.ZodType, io: 'input' | 'output'): Json {
  return tidy(z.toJSONSchema(shape, { io, override: open }))
}

function componentSchemas(): Json {
  const registry = z.registry<{ id: string }>()
  for (const [id, shape] of Object.entries(named)) registry.add(shape, { id })
  const uri = (id: string): string => `#/components/schemas/${id}`
  const { schemas } = z.toJSONSchema(registry, { uri, override: open })
  return Object.fromEntries(Object.entries(schemas).map(([id, shape]) => [id, tidy(shape)]))
}

/** Fields are added: an answer that has more than this version knows is none the worse. */
function open({ jsonSchema }: { jsonSchema: z.core.JSONSchema.BaseSchema }): void {
  if (jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties
}

function tidy(shape: object): Json {
  return Object.fromEntries(
    Object.entries(shape).filter(([name]) => name !== '$schema' && name !== '$id'),
  )
}
