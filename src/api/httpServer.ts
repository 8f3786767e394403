/**
 * A TCP listener of the agent: for Prometheus without a token (`/metrics` and nothing else), or for
 * people and programs with one (the page and the API, to read).
 */
import type { FastifyInstance } from 'fastify'
import { FairleadError } from '../errors.js'
import { formatListen } from '../model/address.js'
import { reasonOf } from '../reason.js'
import { newApp } from './app.js'
import { guard, guardMethods, type GuardOptions } from './guard.js'
import { addPage, readPageFiles } from './pageFiles.js'
import {
  addRoutes,
  type ApiOptions,
  type Exposition,
  routeHealthz,
  routeMetrics,
} from './routes.js'

const MAX_CONNECTIONS = 64

interface Listen {
  /** An address or a host name. */
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
}

export class HttpServer {
  readonly #app: FastifyInstance
  readonly #listen: Listen
  readonly #what: string

  private constructor(what: string, { host, port }: Listen, app: FastifyInstance) {
    this.#what = what
    this.#listen = { host, port }
    this.#app = app
    app.server.maxConnections = MAX_CONNECTIONS
  }

  /** For scrapers: no token, no page. */
  static ofMetrics(options: Listen & { readonly metrics: Exposition }): HttpServer {
    const app = newApp()
    guardMethods(app)
    routeHealthz(app)
    routeMetrics(app, options.metrics)
    return new HttpServer('metrics', options, app)
  }

  /** @throws FairleadError HOST if the page has not been built */
  static async ofPage(options: Listen & GuardOptions & ApiOptions): Promise<HttpServer> {
    const app = newApp(options.onError)
    guard(app, options)
    addRoutes(app, options, true)
    addPage(app, await readPageFiles())
    return new HttpServer('agent.http', options, app)
  }

  /** @throws FairleadError HOST if the address cannot be bound */
  async listen(): Promise<void> {
    await this.#app.listen(this.#listen).catch((cause: unknown) => {
      const where = formatListen(this.#listen)
      throw new FairleadError(
        'HOST',
        `${this.#what} cannot listen on ${where}: ${reasonOf(cause)}`,
        { cause },
      )
    })
  }

  /** The port that is listened on; undefined when it is not listening. */
  get port(): number | undefined {
    const address = this.#app.server.address()
    return typeof address === 'object' ? address?.port : undefined
  }

  /** Idempotent. What is under way is cut off: a new agent may be waiting for the port. */
  async close(): Promise<void> {
    this.#app.server.closeAllConnections()
    await this.#app.close()
  }
}
