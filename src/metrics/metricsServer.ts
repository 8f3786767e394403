/** The HTTP listener that Prometheus scrapes: `/metrics` and `/healthz`, and nothing that changes. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { isIPv6 } from 'node:net'
import { FairleadError } from '../errors.js'
import { reasonOf } from '../reason.js'

/** A scraper waits ten seconds by default; nobody has reason to hold a connection idle for longer. */
const IDLE_TIMEOUT_MS = 15_000
const MAX_CONNECTIONS = 64

export interface MetricsServerOptions {
  /** An address or a host name. */
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  readonly metrics: { readonly contentType: string; render(): Promise<Buffer> }
}

export class MetricsServer {
  readonly #options: MetricsServerOptions
  readonly #server: Server

  constructor(options: MetricsServerOptions) {
    this.#options = options
    this.#server = createServer(
      {
        headersTimeout: IDLE_TIMEOUT_MS,
        requestTimeout: IDLE_TIMEOUT_MS,
        keepAliveTimeout: IDLE_TIMEOUT_MS,
        maxHeaderSize: 8192,
      },
      (request, response) => void this.#serve(request, response),
    )
    this.#server.maxConnections = MAX_CONNECTIONS
  }

  /** @throws FairleadError HOST if the address cannot be bound */
  async listen(): Promise<void> {
    const { host, port } = this.#options
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ host, port }, () => {
        this.#server.off('error', reject)
        resolve()
      })
    }).catch((cause: unknown) => {
      const where = `${isIPv6(host) ? `[${host}]` : host}:${port}`
      const why = reasonOf(cause)
      throw new FairleadError('HOST', `metrics cannot listen on ${where}: ${why}`, { cause })
    })
  }

  /** The port that is listened on; undefined when it is not listening. */
  get port(): number | undefined {
    const address = this.#server.address()
    return typeof address === 'object' ? address?.port : undefined
  }

  /** Idempotent. Scrapes under way are cut off: a new agent may be waiting for the port. */
  async close(): Promise<void> {
    if (!this.#server.listening) return
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    await closed
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.resume()
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD')
      reply(response, 405, 'text/plain', 'method not allowed\n')
      return
    }
    switch (request.url?.split('?', 1)[0]) {
      case '/metrics':
        await this.#serveMetrics(response)
        break
      case '/healthz':
        reply(response, 200, 'text/plain', 'ok\n')
        break
      default:
        reply(response, 404, 'text/plain', 'not found; there is /metrics\n')
    }
  }

  async #serveMetrics(response: ServerResponse): Promise<void> {
    const { metrics } = this.#options
    try {
      reply(response, 200, metrics.contentType, await metrics.render())
    } catch (error) {
      const why = reasonOf(error)
      reply(response, 500, 'text/plain', `cannot render metrics: ${why}\n`)
    }
  }
}

function reply(
  response: ServerResponse,
  status: number,
  type: string,
  body: string | Buffer,
): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) })
  response.end(body)
}
