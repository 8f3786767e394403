/** From a message to its reply, on behalf of one listener: knows no socket. */

import { answer } from './answer.js'
import type { Forwarder } from './forward.js'
import type { DnsAnswered, DnsObserver } from '../model/observe.js'
import {
  decodeQuestion,
  HEADER_BYTES,
  peekQuery,
  rcodeName,
  rcodeOf,
  RCODE,
  FLAG_RD,
  type DecodedQuestion,
  type PeekedQuery,
} from './query.js'
import {
  encodeReply,
  MAX_TCP_BYTES,
  udpLimit,
  writeBadVersion,
  writeError,
  writeRejection,
  writeReply,
  writeTruncated,
  type EncodedReply,
  type Random,
} from './reply.js'
import type { Asker, Zone } from './zone.js'

/** Hot names are few; when a scan has filled the store it starts anew. */
const MAX_STORED_REPLIES = 8192

export interface ResponderOptions {
  /** The listener's, for the observer; `host` for the host. */
  readonly network: string
  readonly forwarder: Forwarder
  readonly observer: DnsObserver
  readonly random: Random
}

export type Transport = DnsAnswered['transport']

/** Called once, never, or after the asker has gone. */
export type Send = (reply: Buffer) => void

interface StoredReply {
  readonly type: string
  readonly reply: EncodedReply
}

export class Responder {
  readonly #options: ResponderOptions
  readonly #stored = new Map<string, StoredReply>()
  #zone: Zone
  #asker: Asker

  constructor(zone: Zone, asker: Asker, options: ResponderOptions) {
    this.#zone = zone
    this.#asker = asker
    this.#options = options
  }

  /** From the next message on; a reply never mixes two zones. */
  setZone(zone: Zone, asker: Asker): void {
    this.#zone = zone
    this.#asker = asker
    this.#stored.clear()
  }

  /**
   * Never throws.
   * @param ended called when nothing more will come of this message, after any `send`
   */
  handle(bytes: Buffer, transport: Transport, send: Send, ended?: () => void): void {
    try {
      if (!this.#handle(bytes, transport, send, ended)) ended?.()
    } catch {
      this.#options.observer.dropped('internal')
      ended?.()
    }
  }

  /** @returns true when `ended` is going to be called later */
  #handle(bytes: Buffer, transport: Transport, send: Send, ended?: () => void): boolean {
    const started = performance.now()
    const { observer } = this.#options
    const query = peekQuery(bytes)
    if (query.kind === 'drop') {
      observer.dropped(query.reason)
      return false
    }
    if (query.kind === 'reject') {
      observer.dropped(query.reason)
      send(writeRejection(query))
      this.#answered(transport, 'NONE', rcodeName(query.rcode), 'refused', started)
      return false
    }
    const recursion = this.#recursion
    if (query.edns !== undefined && query.edns.version !== 0) {
      observer.dropped('edns_version')
      send(writeBadVersion(query, recursion))
      this.#answered(transport, 'NONE', 'BADVERS', 'refused', started)
      return false
    }
    const local = this.#local(query)
    if ('reply' in local) {
      const limit = transport === 'udp' ? udpLimit(query.edns) : MAX_TCP_BYTES
      send(writeReply(local.reply, query, { limit, recursion, random: this.#options.random }))
      const { rcode } = local.reply
      const source = rcode === 'REFUSED' ? 'refused' : 'local'
      this.#answered(transport, local.type, rcode, source, started)
      return false
    }
    if (local.rcode !== undefined) {
      send(writeError(query, local.rcode, recursion))
      this.#answered(transport, local.type, rcodeName(local.rcode), 'refused', started)
      return false
    }
    return this.#forward(query, local.type, transport, send, started, ended)
  }

  get #recursion(): boolean {
    return this.#options.forwarder.upstreams.length > 0
  }

  /** @returns the stored reply, or an error, or neither: the name is somebody else's */
  #local(query: PeekedQuery): StoredReply | { type: string; rcode?: number } {
    const stored = this.#stored.get(query.key)
    if (stored !== undefined) return stored
    const question = decodeQuestion(query.bytes)
    if (question === undefined) {
      this.#options.observer.dropped('malformed')
      return { type: 'NONE', rcode: RCODE.FORMERR }
    }
    const type = typeLabel(question)
    if (question.class !== 'IN') {
      this.#options.observer.dropped('class')
      return { type, rcode: RCODE.REFUSED }
    }
    const reply = query.plain ? answer(this.#zone, question, this.#asker) : undefined
    if (reply === undefined) return { type }
    const made = { type, reply: encodeReply(reply, question.name) }
    // Names that do not exist are without number: storing them would push out those that do.
    if (reply.rcode === 'NOERROR') {
      if (this.#stored.size >= MAX_STORED_REPLIES) this.#stored.clear()
      this.#stored.set(query.key, made)
    }
    return made
  }

  #forward(
    query: PeekedQuery,
    type: string,
    transport: Transport,
    send: Send,
    started: number,
    ended?: () => void,
  ): boolean {
    const { forwarder, observer } = this.#options
    const refuse = (): false => {
      send(writeError(query, RCODE.REFUSED, this.#recursion))
      this.#answered(transport, type, 'REFUSED', 'refused', started)
      return false
    }
    if (!this.#recursion) observer.dropped('no_upstream')
    if (!this.#recursion || (query.flags & FLAG_RD) === 0) return refuse()
    const accepted = forwarder.forward(query, (result) => {
      const rcode = result === undefined ? RCODE.SERVFAIL : rcodeOf(result)
      send(this.#passOn(query, result, rcode, transport))
      this.#answered(transport, type, rcodeName(rcode), 'forwarded', started)
      ended?.()
    })
    if (accepted) return true
    observer.dropped('in_flight')
    return refuse()
  }

  #passOn(
    query: PeekedQuery,
    result: Buffer | undefined,
    rcode: number,
    transport: Transport,
  ): Buffer {
    if (result === undefined) return writeError(query, rcode, true)
    const limit = transport === 'udp' ? udpLimit(query.edns) : MAX_TCP_BYTES
    if (result.length > limit) return writeTruncated(query, rcode, true)
    // Several may wait for the same message: each gets its own copy, with its own id and letters.
    const reply = Buffer.from(result)
    reply.writeUInt16BE(query.id, 0)
    query.bytes.copy(reply, HEADER_BYTES, HEADER_BYTES, query.questionEnd)
    return reply
  }

  #answered(
    transport: Transport,
    type: string,
    rcode: string,
    source: DnsAnswered['source'],
    started: number,
  ): void {
    const { network, observer } = this.#options
    const seconds = (performance.now() - started) / 1000
    observer.answered({
      network,
      transport,
      type,
      rcode,
      source,
      seconds,
    })
  }
}

function typeLabel({ type }: DecodedQuestion): string {
  return type.startsWith('UNKNOWN_') ? 'OTHER' : type
}
