/**
 * Which namespaces' questions to their resolver are led to the agent, and the sign of life without which
 * none is: it comes from the event loop, since what has to answer does so from there.
 */
import { netnsCookie } from 'libbpf-ts'
import type { ResolverPorts, ResolverRedirect } from '../model/sockets.js'
import { asMapFull, type KernelMap } from './tables.js'

/** Longer than anything but a fault keeps the event loop. */
const ALIVE_NS = 2_000_000_000n
const SIGN_MS = 500

export class Resolvers implements ResolverRedirect {
  readonly #rows: KernelMap
  readonly #until: KernelMap
  /** By path; a namespace that is gone has no cookie to ask for. */
  readonly #cookies = new Map<string, bigint>()
  #timer: NodeJS.Timeout | undefined
  #cleared = false

  /**
   * @param rows  the map `resolvers`
   * @param until the map `resolving`
   */
  constructor(rows: KernelMap, until: KernelMap) {
    this.#rows = rows
    this.#until = until
  }

  /** @throws BpfError when there is no such namespace; FairleadError MAP_FULL */
  lead(namespace: string, { udp, tcp }: ResolverPorts): void {
    this.#clear()
    const cookie = netnsCookie(namespace)
    const before = this.#cookies.get(namespace)
    if (before !== undefined && before !== cookie) this.#rows.delete(before)
    try {
      this.#rows.set(cookie, { udp_port: udp, tcp_port: tcp })
    } catch (error) {
      throw asMapFull(this.#rows, error)
    }
    this.#cookies.set(namespace, cookie)
    if (this.#timer !== undefined) return
    this.#sign()
    this.#timer = setInterval(() => this.#sign(), SIGN_MS)
    this.#timer.unref()
  }

  leave(namespace: string): void {
    const cookie = this.#cookies.get(namespace)
    if (cookie === undefined) return
    this.#cookies.delete(namespace)
    this.#rows.delete(cookie)
  }

  /** Rows stay: by them the answers that are still to be fetched show whom was asked. */
  pause(): void {
    if (this.#timer === undefined) return
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#until.set(0, 0n)
  }

  #sign(): void {
    this.#until.set(0, process.hrtime.bigint() + ALIVE_NS)
  }

  /** An earlier agent's listeners died with it. */
  #clear(): void {
    if (this.#cleared) return
    this.#cleared = true
    for (const cookie of [...this.#rows.keys()]) this.#rows.delete(cookie)
  }
}
