/**
 * Other people's names: asked of up to three upstreams in order, on behalf of many at once.
 *
 * Equal questions that wait at the same time share one exchange. That spares upstreams, leaves a
 * guesser of ids only one chance at a time (RFC 5452, 5), and breaks loops: a question of ours that
 * comes back to us by way of an upstream joins the wait for itself instead of going round again.
 */

import { setMaxListeners } from 'node:events'
import { askUdp, askTcp, UpstreamTimeout, type Asking, type UpstreamQuestion } from './upstream.js'
import { formatListen, type ListenAddress } from '../model/address.js'
import type { DnsObserver } from '../model/observe.js'
import { FLAG_CD, FLAG_TC, rcodeName, rcodeOf, type PeekedQuery } from './query.js'

/** In one turn of the event loop, so that local answers come in between: a socket costs ten of them. */
const STARTS_A_TURN = 2

export interface ForwardOptions {
  readonly upstreams: readonly ListenAddress[]
  /** For one upstream, its retry by TCP included. */
  readonly timeoutMs: number
  /** For all upstreams together. */
  readonly deadlineMs: number
  /** Askers waiting at the same time. */
  readonly maxInFlight: number
  /** Shared with other forwarders. */
  readonly waiting: Waiting
  readonly observer: DnsObserver
  /** Absent: from the agent's own namespace. */
  readonly asking?: Asking
}

/** Askers that wait for upstreams, whichever forwarder they wait for. */
export class Waiting {
  #count = 0

  constructor(
    readonly max: number,
    private readonly onCount: () => void,
  ) {}

  get count(): number {
    return this.#count
  }

  get isFull(): boolean {
    return this.#count >= this.max
  }

  add(change: number): void {
    this.#count += change
    this.onCount()
  }
}

/** The upstream's whole message; undefined: none answered. */
export type ForwardResult = Buffer | undefined
type Waiter = (result: ForwardResult) => void

export class Forwarder {
  readonly #options: ForwardOptions
  readonly #waiting = new Map<string, Waiter[]>()
  readonly #abort = new AbortController()
  #upstreams: readonly ListenAddress[]
  #inFlight = 0
  #starts: (() => void)[] = []

  constructor(options: ForwardOptions) {
    // Every exchange under way listens to it.
    setMaxListeners(0, this.#abort.signal)
    this.#options = options
    this.#upstreams = options.upstreams
  }

  get upstreams(): readonly ListenAddress[] {
    return this.#upstreams
  }

  /** @param own listeners of ours: asking them would go round in a circle */
  exclude(own: (upstream: ListenAddress) => boolean): void {
    this.#upstreams = this.#options.upstreams.filter((upstream) => !own(upstream))
  }

  /**
   * @returns false when too many wait already; `done` is then never called. After `close` it is
   *          never called either.
   */
  forward(query: PeekedQuery, done: Waiter): boolean {
    const { maxInFlight, waiting: all } = this.#options
    if (this.#inFlight >= maxInFlight || all.isFull || this.#abort.signal.aborted) return false
    this.#count(1)
    const checkingDisabled = (query.flags & FLAG_CD) !== 0
    const key = `${query.edns?.dnssecOk ?? '-'} ${checkingDisabled} ${query.key}`
    const waiting = this.#waiting.get(key)
    if (waiting !== undefined) {
      waiting.push(done)
      return true
    }
    this.#waiting.set(key, [done])
    const question: UpstreamQuestion = {
      // The datagram's own buffer may be a view on a larger one: keep only what is needed.
      bytes: Buffer.from(query.bytes.subarray(0, query.questionEnd)),
      key: query.key,
      checkingDisabled,
      dnssecOk: query.edns?.dnssecOk,
    }
    this.#start(() => void this.#askAll(question).then((result) => this.#settle(key, result)))
    return true
  }

  /** Askers that wait now. */
  get inFlight(): number {
    return this.#inFlight
  }

  close(): void {
    this.#abort.abort()
    this.#waiting.clear()
    this.#starts = []
    this.#count(-this.#inFlight)
  }

  #start(begin: () => void): void {
    this.#starts.push(begin)
    if (this.#starts.length === 1) setImmediate(() => this.#startSome())
  }

  #startSome(): void {
    for (const begin of this.#starts.slice(0, STARTS_A_TURN)) begin()
    this.#starts.splice(0, STARTS_A_TURN)
    if (this.#starts.length > 0) setImmediate(() => this.#startSome())
  }

  #settle(key: string, result: ForwardResult): void {
    const waiting = this.#waiting.get(key)
    if (waiting === undefined) return
    this.#waiting.delete(key)
    this.#count(-waiting.length)
    for (const done of waiting) {
      try {
        done(result)
      } catch {
        this.#options.observer.dropped('internal')
      }
    }
  }

  #count(change: number): void {
    this.#inFlight += change
    this.#options.waiting.add(change)
  }

  /** SERVFAIL and REFUSED send us on to the next; the last one's word then stands. */
  async #askAll(question: UpstreamQuestion): Promise<ForwardResult> {
    const until = performance.now() + this.#options.deadlineMs
    let last: ForwardResult
    for (const upstream of this.#upstreams) {
      const left = until - performance.now()
      if (left <= 0 || this.#abort.signal.aborted) break
      const { outcome, reply } = await this.#ask(
        upstream,
        question,
        Math.min(left, this.#options.timeoutMs),
      )
      last = reply ?? last
      if (outcome !== 'SERVFAIL' && reply !== undefined && outcome !== 'REFUSED') break
    }
    return last
  }

  async #ask(
    upstream: ListenAddress,
    question: UpstreamQuestion,
    timeoutMs: number,
  ): Promise<{ outcome: string; reply?: Buffer }> {
    const started = performance.now()
    const { observer, asking = { udp: askUdp, tcp: askTcp } } = this.#options
    let result: { outcome: string; reply?: Buffer }
    try {
      const common = { upstream, question, signal: this.#abort.signal, observer }
      let reply = await asking.udp({ ...common, timeoutMs })
      if ((reply.readUInt16BE(2) & FLAG_TC) !== 0) {
        const left = timeoutMs - (performance.now() - started)
        reply = await asking.tcp({ ...common, timeoutMs: Math.max(left, 1) })
      }
      result = { outcome: rcodeName(rcodeOf(reply)), reply }
    } catch (error) {
      result = { outcome: error instanceof UpstreamTimeout ? 'timeout' : 'error' }
    }
    const seconds = (performance.now() - started) / 1000
    if (!this.#abort.signal.aborted) {
      observer.forwarded({ upstream: formatListen(upstream), outcome: result.outcome, seconds })
    }
    return result
  }
}
