/**
 * Ends the sockets that the socket path connected to backends which have left: TCP gets
 * ECONNABORTED, a UDP send EDESTADDRREQ. Level-triggered: every socket whose backend is gone ends,
 * whenever it was that it left.
 *
 * Where a program can end a socket it does (abort.bpf.c, 6.5); else one lists them (orphans.bpf.c),
 * and they are ended by their addresses.
 */
import type { BpfObject, Link } from 'libbpf-ts'
import type { Log } from '../host/log.js'
import type { ConnectedSocket } from '../host/endSockets.js'
import { fromWords } from '../model/address.js'
import { Turns } from './turns.js'

/** For a connect() that passed its hook before the backend left and was not yet to be seen. */
const SECOND_LOOK_MS = 200
const IPPROTO_UDP = 17

export interface OrphanOptions {
  /** Loads abort.bpf.o; orphans.bpf.o where `end` is given. */
  readonly load: () => Promise<BpfObject>
  /** Ends what the programs have listed in a namespace. Absent: they end it themselves. */
  readonly end?: (
    namespace: string | undefined,
    sockets: readonly ConnectedSocket[],
  ) => Promise<unknown>
  /** Those whose sockets are balanced; undefined: the agent's own. */
  readonly namespaces: () => readonly (string | undefined)[]
  readonly log: Log
}

export class OrphanSockets {
  readonly #options: OrphanOptions
  #object: BpfObject | undefined
  readonly #links: Link[] = []
  readonly #turns = new Turns(() => this.#run())
  #timer: NodeJS.Timeout | undefined

  constructor(options: OrphanOptions) {
    this.#options = options
  }

  /** Backends have left, or an agent has started. Returns at once. */
  look(): void {
    this.#turns.ask()
    clearTimeout(this.#timer)
    if (!this.#turns.closed) this.#timer = setTimeout(() => this.#turns.ask(), SECOND_LOOK_MS)
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer)
    await this.#turns.close()
    for (const link of this.#links.splice(0)) link.close()
    this.#object?.close()
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
          await this.#look(link, namespace)
        } catch (error) {
          // Most likely the namespace has gone, and its sockets with it.
          this.#options.log.debug({ namespace, err: error }, 'sockets could not be looked at')
        }
      }
    }
  }

  async #look(link: Link, namespace: string | undefined): Promise<void> {
    const listed = await link.read(namespace)
    const { end } = this.#options
    if (end !== undefined && listed.length > 0) await end(namespace, this.#decode(listed))
  }

  #decode(listed: Uint8Array): ConnectedSocket[] {
    const codec = this.#object?.types.struct('orphan')
    if (codec === undefined) return []
    const sockets: ConnectedSocket[] = []
    for (let at = 0; at + codec.size <= listed.length; at += codec.size) {
      const row = codec.decode(listed, at) as Record<string, number> &
        Record<'local_addr' | 'remote_addr', number[]>
      sockets.push({
        protocol: row['protocol'] === IPPROTO_UDP ? 'udp' : 'tcp',
        local: { address: fromWords(row.local_addr), port: row['local_port'] ?? 0 },
        remote: { address: fromWords(row.remote_addr), port: row['remote_port'] ?? 0 },
      })
    }
    return sockets
  }

  async #open(): Promise<void> {
    if (this.#links.length > 0) return
    const object = await this.#options.load()
    try {
      for (const program of object.programs.values()) this.#links.push(await program.attachIter())
      this.#object = object
    } catch (error) {
      for (const link of this.#links.splice(0)) link.close()
      object.close()
      throw error
    }
  }
}
