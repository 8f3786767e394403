/** The agent's API on a unix socket: whoever may open it needs no token, and may ask for a reload. */
import type { FastifyInstance } from 'fastify'
import { newApp } from './app.js'
import { claimSocket, type Claim } from './claimSocket.js'
import { addRoutes, type ApiOptions } from './routes.js'

export interface ApiServerOptions extends ApiOptions {
  readonly socketPath: string
}

export class ApiServer {
  readonly #socketPath: string
  readonly #app: FastifyInstance
  #claim: Claim | undefined

  constructor(options: ApiServerOptions) {
    this.#socketPath = options.socketPath
    this.#app = newApp(options.onError)
    addRoutes(this.#app, options, false)
  }

  /** @throws FairleadError HOST if another agent answers there, or the socket cannot be made */
  async listen(): Promise<void> {
    this.#claim = await claimSocket(this.#socketPath, (path) => this.#app.listen({ path }))
  }

  /** Idempotent; removes the socket's file if it is this server's. */
  async close(): Promise<void> {
    await this.#claim?.release()
    this.#claim = undefined
    await this.#app.close()
  }
}
