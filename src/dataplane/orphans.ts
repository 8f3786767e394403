/**
 * Ends the sockets that the socket path connected to backends which have left: TCP gets
 * ECONNABORTED, a UDP send EDESTADDRREQ. Level-triggered: every socket whose backend is gone ends,
 * whenever it was that it left.
 */
import type { BpfObject, Link } from 'libbpf-ts'
import type { Log } from '../host/log.js'

const PROGRAMS = ['abort_tcp', 'abort_udp'] as const
/** For a connect() that passed its hook before the backend left and was not yet to be seen. */
const SECOND_LOOK_MS = 200

export interface OrphanOptions {
  /** Loads abort.bpf.o. */
  readonly load: () => BpfObject
  /** Those whose sockets are balanced; undefined: the agent's own. */
  readonly namespaces: () => readonly (string | undefined)[]
  readonly log: Log
}

export class OrphanSockets {
  readonly #options: OrphanOptions
  #object: BpfObject | undefined
  readonly #links: Link[] = []
  #running: Promise<void> | undefined
  #again = false
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(options: OrphanOptions) {
    this.#options = options
  }

  /** Backends have left, or an agent has started. Returns at once. */
  look(): void {
    this.#lookOnce()
    clearTimeout(this.#timer)
    if (!this.#closed) this.#timer = setTimeout(() => this.#lookOnce(), SECOND_LOOK_MS)
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#running
    for (const link of this.#links.splice(0)) link.close()
    this.#object?.close()
  }

  #lookOnce(): void {
    if (this.#closed) return
    if (this.#running !== undefined) {
      this.#again = true
      return
    }
    this.#running = this.#run().finally(() => {
      this.#running = undefined
      if (!this.#again) return
      this.#again = false
      this.#lookOnce()
    })
  }

  async #run(): Promise<void> {
    const namespaces = this.#options.namespaces()
    if (namespaces.length === 0) return
    try {
      await this.#open()
    } catch (error) {
      this.#options.log.warn({ err: error }, 'sockets of removed backends cannot be ended')
      return
    }
    for (const namespace of namespaces) {
      for (const link of this.#links) {
        try {
          await link.read(namespace)
        } catch (error) {
          // Most likely the namespace has gone, and its sockets with it.
          this.#options.log.debug({ namespace, err: error }, 'sockets could not be looked at')
        }
      }
    }
  }

  async #open(): Promise<void> {
    if (this.#links.length === PROGRAMS.length) return
    const object = this.#options.load()
    try {
      for (const name of PROGRAMS) this.#links.push(await object.program(name).attachIter())
      this.#object = object
    } catch (error) {
      for (const link of this.#links.splice(0)) link.close()
      object.close()
      throw error
    }
  }
}
