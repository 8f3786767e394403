/**
 * What is answered, on whichever listener. It reads; the one thing that can be asked for is to read
 * the source's file again, and that on the socket alone.
 */
import type { FastifyInstance, FastifyReply, RouteHandlerMethod } from 'fastify'
import { z } from 'zod'
import { FairleadError } from '../errors.js'
import type { Capturer } from '../model/capture.js'
import type { Explainer } from '../model/explain.js'
import type { FlowEventSource } from '../model/flowEvents.js'
import type { HealthReport } from '../model/observe.js'
import type { Readback } from '../model/readback.js'
import { serviceKey, type Service, type State } from '../model/types.js'
import { Pace } from '../pace.js'
import { EventFeed, eventRequestOf } from './events.js'
import { EventStream } from './eventStream.js'
import type { Journal } from './journal.js'
import type { Live } from './live.js'
import { liveParametersSchema } from './liveSchema.js'
import { openApiDocument } from './openapi.js'
import { explanationView, questionOf } from './explain.js'
import {
  EVENT_STREAM,
  type Operation,
  type OperationName,
  operations,
  PCAPNG,
} from './operations.js'
import { openPcap } from './pcap.js'
import { filterOf, parseQuery } from './query.js'
import * as schema from './schema.js'
import {
  type CounterIndex,
  indexCounters,
  networkView,
  overviewServiceView,
  serviceView,
  sourceViews,
  totalsViews,
} from './views.js'

/** What /metrics answers with. */
export interface Exposition {
  readonly contentType: string
  render(): Promise<Buffer>
}

export interface ApiOptions {
  /** Name of the node. */
  readonly node: string
  readonly version: string
  /** Release of the running kernel. */
  readonly kernel: string
  readonly readback: Readback
  /** Without it GET /v1/pcap is 404. */
  readonly capturer?: Capturer
  /** Without it GET /v1/explain is 404. */
  readonly explainer?: Explainer
  /** The desired state as it is now. */
  readonly state: () => State
  /** Whether this kernel has IPVS. */
  readonly ipvs: schema.StatusView['ipvs']
  /** Which of an engine's services are served here. */
  readonly takeover?: {
    readonly mode: 'all' | 'labelled' | 'none'
    readonly names: readonly string[]
  }
  /** What checks of backends have found. */
  readonly health?: HealthReport
  /** The sources that there are, in order of precedence, and where each takes its data from. */
  readonly sources: readonly { readonly name: string; readonly from?: string }[]
  /** Revision that both the kernel and DNS hold. */
  readonly answering: () => number
  readonly metrics?: Exposition
  /** Without it GET /v1/events is 404. */
  readonly events?: FlowEventSource
  /** Without it GET /v1/live is 404. */
  readonly live?: Live
  readonly journal?: Journal
  /** Reads the source again; resolves when that is published. Without it POST /v1/reload is 404. */
  readonly reload?: () => Promise<void>
  /** Told of errors that are answered with 500. */
  readonly onError?: (error: unknown) => void
}

/** @param readOnly leaves out what changes something */
export function addRoutes(app: FastifyInstance, options: ApiOptions, readOnly: boolean): void {
  routeServices(app, options)
  routeStatus(app, options)
  routeTraffic(app, options)
  routeExplain(app, options)
  routeLive(app, options)
  routeEvents(app, options)
  routeKernel(app, options)
  routeHealthz(app)
  if (options.metrics) routeMetrics(app, options.metrics)
  if (readOnly) return
  routeReload(app, options)
  routePcap(app, options)
}

export function routeHealthz(app: FastifyInstance): void {
  on(app, 'healthz', (_request, reply) => reply.type('text/plain').send('ok\n'))
}

export function routeMetrics(app: FastifyInstance, metrics: Exposition): void {
  on(app, 'metrics', async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.render()),
  )
}

function on(app: FastifyInstance, name: OperationName, handler: RouteHandlerMethod): void {
  const { method, path, answer, open }: Operation = operations[name]
  const url = path.replace(/\{(\w+)\}/g, ':$1')
  // The head of a stream would be one that never ends.
  const exposeHeadRoute = answer !== EVENT_STREAM
  app.route({ method, url, handler, config: { open: open === true }, exposeHeadRoute })
}

const serviceParametersSchema = z.object({ network: z.string(), name: z.string() })

function routeServices(app: FastifyInstance, { state, readback, health }: ApiOptions): void {
  const viewOf = (service: Service, index: CounterIndex): schema.ServiceView =>
    serviceView(service, index, service.health && health?.of(serviceKey(service)))
  on(app, 'services', async (_request, reply) => {
    const index = indexCounters(await readback.counters())
    const services = state().services.values()
    return sendJson(reply, await listOf('services', services, (each) => viewOf(each, index)))
  })
  on(app, 'service', async ({ params }) => {
    const { network, name } = serviceParametersSchema.parse(params)
    const key = `${network}/${name}` as const
    const service = state().services.get(key)
    if (service === undefined) throw new FairleadError('REFERENCE', `there is no service ${key}`)
    return viewOf(service, indexCounters(await readback.counters(key)))
  })
  on(app, 'overview', async (_request, reply) => {
    const { revision, services } = state()
    const viewOf = (each: Service) =>
      overviewServiceView(each, each.health && health?.of(serviceKey(each)))
    return sendJson(reply, await listOf('services', services.values(), viewOf, { revision }))
  })
  on(app, 'networks', () => {
    const now = state()
    return { networks: [...now.networks.values()].map((network) => networkView(network, now)) }
  })
  on(app, 'problems', () => ({ problems: state().problems }))
}

function routeStatus(app: FastifyInstance, options: ApiOptions): void {
  const { node, version, kernel, readback, sources, answering, ipvs, takeover } = options
  on(app, 'status', (): schema.StatusView => {
    const state = options.state()
    const { revision: applied, ...reconcile } = readback.reconcile()
    return {
      version,
      node,
      kernel,
      uptimeSeconds: process.uptime(),
      revision: { desired: state.revision, applied, answering: answering() },
      reconcile,
      sources: sourceViews(sources, state.problems),
      networks: state.networks.size,
      services: state.services.size,
      problems: state.problems.length,
      attachments: readback.attachments(),
      ipvs,
      ...(takeover && { takeover: { mode: takeover.mode, names: [...takeover.names] } }),
      features: { ...readback.features() },
    }
  })
}

function routeTraffic(app: FastifyInstance, { readback }: ApiOptions): void {
  on(app, 'flows', async ({ query }, reply) => {
    const asked = parseQuery(schema.flowParametersSchema, query)
    const { limit, cursor } = asked
    const { flows, next } = await readback.flows({
      ...{ filter: filterOf(asked), limit },
      ...(cursor !== undefined && { cursor }),
    })
    return sendJson(reply, await listOf('flows', flows, (flow) => flow, { next }))
  })
  on(app, 'counters', async ({ query }, reply) => {
    const asked = parseQuery(schema.countersParametersSchema, query)
    const rows = await readback.counters()
    const uptimeSeconds = process.uptime()
    const totals = await totalsViews(rows, asked)
    return sendJson(reply, await listOf('counters', totals, (row) => row, { uptimeSeconds }))
  })
}

function routeExplain(app: FastifyInstance, { explainer, readback }: ApiOptions): void {
  if (explainer === undefined) return
  on(app, 'explain', async ({ query }): Promise<schema.ExplanationView> => {
    const asked = parseQuery(schema.explainParametersSchema, query)
    const explanation = await explainer.explain(questionOf(asked))
    const { service } = explanation
    if (service === undefined) return explanationView(explanation)
    const [counters, ends, handshakes] = await Promise.all([
      readback.counters(service),
      readback.backendEnds(service),
      readback.handshakes(service),
    ])
    return explanationView(explanation, { counters, ends, handshakes })
  })
}

function routePcap(app: FastifyInstance, { capturer, version }: ApiOptions): void {
  if (capturer === undefined) return
  on(app, 'pcap', async ({ query }, reply) => {
    const asked = parseQuery(schema.pcapParametersSchema, query)
    return reply.type(PCAPNG).send(await openPcap(capturer, asked, version))
  })
}

function routeLive(app: FastifyInstance, { live, journal }: ApiOptions): void {
  const document = openApiDocument()
  on(app, 'openapi', () => document)
  if (journal) on(app, 'changes', () => ({ changes: journal.newestFirst() }))
  if (!live) return
  on(app, 'live', ({ query }, reply) => {
    const { service } = parseQuery(liveParametersSchema, query)
    live.admit()
    live.follow(new EventStream(reply), service)
  })
}

function routeEvents(app: FastifyInstance, { events }: ApiOptions): void {
  if (events === undefined) return
  const feed = new EventFeed(events)
  on(app, 'events', ({ query }, reply) => {
    const asked = eventRequestOf(parseQuery(schema.eventParametersSchema, query))
    feed.admit()
    feed.follow(new EventStream(reply), asked)
  })
}

function routeKernel(app: FastifyInstance, { readback }: ApiOptions): void {
  on(app, 'drops', (): schema.DropsView => {
    return { drops: readback.drops(), events: readback.events() }
  })
  on(app, 'maps', async () => ({ maps: await readback.occupancy() }))
}

function routeReload(app: FastifyInstance, { reload, state }: ApiOptions): void {
  if (reload === undefined) return
  on(app, 'reload', async () => {
    await reload()
    return { revision: state().revision }
  })
}

function sendJson(reply: FastifyReply, body: Buffer): FastifyReply {
  return reply.type('application/json; charset=utf-8').send(body)
}

/**
 * `{...head, "name":[...]}`, made a little at a time: ten thousand services are 40 MB.
 *
 * @param head what stands before the list
 */
async function listOf<T>(
  name: string,
  items: Iterable<T>,
  viewOf: (item: T) => unknown,
  head: object = {},
): Promise<Buffer> {
  const parts: Buffer[] = []
  const pace = new Pace()
  for (const item of items) {
    const text = JSON.stringify(viewOf(item))
    parts.push(Buffer.from(parts.length === 0 ? text : `,${text}`))
    if (pace.due) await pace.rest()
  }
  const before = JSON.stringify(head).slice(0, -1)
  const start = `${before}${before === '{' ? '' : ','}${JSON.stringify(name)}:[`
  return Buffer.concat([Buffer.from(start), ...parts, Buffer.from(']}')])
}
