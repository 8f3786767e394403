/**
 * The agent's API: JSON over HTTP on a unix socket, all of it below /v1, and the metrics once more.
 * It reads; the one thing that can be asked for is to read the source's file again.
 */
import { fastify, type FastifyInstance, type FastifyReply } from 'fastify'
import { FairleadError } from '../errors.js'
import type { HealthReport } from '../model/observe.js'
import type { Readback } from '../model/readback.js'
import { serviceKey, type Service, type State } from '../model/types.js'
import { Pace } from '../pace.js'
import { claimSocket, type Claim } from './claimSocket.js'
import * as schema from './schema.js'
import { filterOf, parseQuery } from './query.js'
import {
  type CounterIndex,
  indexCounters,
  networkView,
  serviceView,
  sourceViews,
  totalsViews,
} from './views.js'
import { reasonOf } from '../reason.js'

/** No request has a body that means anything. */
const BODY_LIMIT_BYTES = 1024
const MAX_HEADER_BYTES = 8192
/** `network/service` is at most 131 bytes; percent-encoded, each may be three. */
const MAX_PARAMETER_LENGTH = 393
const TIMEOUT_MS = 15_000

export interface ApiServerOptions {
  readonly socketPath: string
  /** Name of the node. */
  readonly node: string
  readonly version: string
  /** Release of the running kernel. */
  readonly kernel: string
  readonly readback: Readback
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
  /** Served at /metrics too, for those who may open the socket. */
  readonly metrics?: { readonly contentType: string; render(): Promise<Buffer> }
  /** Reads the source again; resolves when that is published. Without it POST /v1/reload is 404. */
  readonly reload?: () => Promise<void>
  /** Told of errors that are answered with 500. */
  readonly onError?: (error: unknown) => void
}

export class ApiServer {
  readonly #options: ApiServerOptions
  readonly #app: FastifyInstance
  #claim: Claim | undefined

  constructor(options: ApiServerOptions) {
    this.#options = options
    this.#app = fastify({
      bodyLimit: BODY_LIMIT_BYTES,
      requestTimeout: TIMEOUT_MS,
      forceCloseConnections: true,
      http: { maxHeaderSize: MAX_HEADER_BYTES },
      routerOptions: { maxParamLength: MAX_PARAMETER_LENGTH },
    })
    this.#answerErrors()
    this.#routeServices()
    this.#routeStatus()
    this.#routeTraffic()
    this.#routeKernel()
    this.#routeReload()
  }

  /** @throws FairleadError HOST if another agent answers there, or the socket cannot be made */
  async listen(): Promise<void> {
    this.#claim = await claimSocket(this.#options.socketPath, (path) => this.#app.listen({ path }))
  }

  /** Idempotent; removes the socket's file if it is this server's. */
  async close(): Promise<void> {
    await this.#claim?.release()
    this.#claim = undefined
    await this.#app.close()
  }

  #answerErrors(): void {
    this.#app.setNotFoundHandler((request, reply) =>
      answer(reply, 404, 'ROUTE', `there is no ${request.method} ${request.url}`),
    )
    this.#app.setErrorHandler((error, _request, reply) => {
      const message = reasonOf(error)
      const status = statusOf(error)
      if (status === 500) this.#options.onError?.(error)
      return answer(reply, status, codeOf(error, status), message)
    })
  }

  #routeServices(): void {
    const { state, readback, health } = this.#options
    const viewOf = (service: Service, index: CounterIndex): schema.ServiceView =>
      serviceView(service, index, service.health && health?.of(serviceKey(service)))
    this.#app.get('/v1/services', async (_request, reply) => {
      const index = indexCounters(await readback.counters())
      const services = state().services.values()
      const body = await listOf('services', services, (each) => viewOf(each, index))
      return sendJson(reply, body)
    })
    this.#app.get<{ Params: { network: string; name: string } }>(
      '/v1/services/:network/:name',
      async ({ params }) => {
        const key = `${params.network}/${params.name}`
        const service = state().services.get(key)
        if (service === undefined)
          throw new FairleadError('REFERENCE', `there is no service ${key}`)
        return viewOf(service, indexCounters(await readback.counters(key)))
      },
    )
    this.#app.get('/v1/networks', () => {
      const now = state()
      return { networks: [...now.networks.values()].map((network) => networkView(network, now)) }
    })
    this.#app.get('/v1/problems', () => ({ problems: state().problems }))
  }

  #routeStatus(): void {
    const { node, version, kernel, readback, sources, answering, ipvs, takeover } = this.#options
    this.#app.get('/v1/status', (): schema.StatusView => {
      const state = this.#options.state()
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

  #routeTraffic(): void {
    const { readback } = this.#options
    this.#app.get('/v1/flows', async ({ query }, reply) => {
      const asked = parseQuery(schema.flowParametersSchema, query)
      const { limit, cursor } = asked
      const { flows, next } = await readback.flows({
        ...{ filter: filterOf(asked), limit },
        ...(cursor !== undefined && { cursor }),
      })
      return sendJson(reply, await listOf('flows', flows, (flow) => flow, { next }))
    })
    this.#app.get('/v1/counters', async ({ query }, reply) => {
      const asked = parseQuery(schema.countersParametersSchema, query)
      const rows = await readback.counters()
      const uptimeSeconds = process.uptime()
      const totals = await totalsViews(rows, asked)
      return sendJson(reply, await listOf('counters', totals, (row) => row, { uptimeSeconds }))
    })
  }

  #routeKernel(): void {
    const { readback, metrics } = this.#options
    this.#app.get('/v1/drops', (): schema.DropsView => {
      return { drops: readback.drops(), events: readback.events() }
    })
    this.#app.get('/v1/maps', async () => ({ maps: await readback.occupancy() }))
    if (metrics === undefined) return
    this.#app.get('/metrics', async (_request, reply) =>
      reply.type(metrics.contentType).send(await metrics.render()),
    )
  }

  #routeReload(): void {
    const { reload, state } = this.#options
    if (reload === undefined) return
    this.#app.post('/v1/reload', async () => {
      await reload()
      return { revision: state().revision }
    })
  }
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

function answer(reply: FastifyReply, status: number, code: string, message: string): FastifyReply {
  return reply.code(status).send({ code, message })
}

function statusOf(error: unknown): number {
  if (error instanceof FairleadError) {
    if (error.code === 'REFERENCE') return 404
    return ['FILE', 'SCHEMA', 'VALUE'].includes(error.code) ? 422 : 500
  }
  // Fastify's own: too large, not JSON, an encoding that is none.
  const status = (error as { statusCode?: unknown }).statusCode
  return typeof status === 'number' && status >= 400 && status < 500 ? status : 500
}

function codeOf(error: unknown, status: number): string {
  if (error instanceof FairleadError) return error.code
  return status < 500 ? 'REQUEST' : 'INTERNAL'
}
