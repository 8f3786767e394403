/**
 * One question to one upstream. Each has its own connected socket, and so a random source port
 * beside its random id; the kernel drops datagrams from anybody else, and what comes must repeat
 * the question (RFC 5452).
 */

import { createSocket } from 'node:dgram'
import { randomInt } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { family, type ListenAddress } from '../model/address.js'
import type { DnsObserver } from '../model/observe.js'
import { FLAG_CD, FLAG_QR, FLAG_RD, HEADER_BYTES, peekQuestion } from './query.js'
import { writeOpt } from './reply.js'

export interface UpstreamQuestion {
  /** A header, which is not used, and the question as the asker spelt it. */
  readonly bytes: Buffer
  /** The question in lower case. */
  readonly key: string
  readonly checkingDisabled: boolean
  /** Absent: the asker does not speak EDNS, so neither do we for it. */
  readonly dnssecOk: boolean | undefined
}

export interface Exchange {
  readonly upstream: ListenAddress
  readonly question: UpstreamQuestion
  readonly timeoutMs: number
  readonly signal: AbortSignal
  readonly observer: DnsObserver
}

export class UpstreamTimeout extends Error {
  override readonly name = 'UpstreamTimeout'
}

/** EDNS options are between neighbours (RFC 6891, 6.1.1): the asker's are not passed on. */
export function writeQuery(question: UpstreamQuestion, id: number): Buffer {
  const { bytes, checkingDisabled, dnssecOk } = question
  const query = Buffer.alloc(bytes.length + (dnssecOk === undefined ? 0 : 11))
  bytes.copy(query)
  query.writeUInt16BE(id, 0)
  query.writeUInt16BE(FLAG_RD | (checkingDisabled ? FLAG_CD : 0), 2)
  query.writeUInt16BE(1, 4)
  query.writeUInt32BE(0, 6)
  query.writeUInt16BE(dnssecOk === undefined ? 0 : 1, 10)
  if (dnssecOk !== undefined) writeOpt(query, bytes.length, 0, dnssecOk)
  return query
}

export function isReplyTo(message: Buffer, id: number, question: UpstreamQuestion): boolean {
  return (
    message.length >= HEADER_BYTES &&
    message.readUInt16BE(0) === id &&
    (message.readUInt16BE(2) & FLAG_QR) !== 0 &&
    message.readUInt16BE(4) === 1 &&
    peekQuestion(message)?.key === question.key
  )
}

export interface Ending {
  readonly resolve: (reply: Buffer) => void
  readonly reject: (error: Error) => void
}

/**
 * Runs `start` until it ends, the time is up or the signal comes; then `stop`, once.
 * @throws UpstreamTimeout, or the socket's error
 */
export function bounded(
  { timeoutMs, signal }: Exchange,
  start: (ending: Ending) => () => void,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let over = false
    const end = (settle: () => void): void => {
      if (over) return
      over = true
      clearTimeout(timer)
      signal.removeEventListener('abort', aborted)
      stop()
      settle()
    }
    const fail = (error: Error): void => end(() => reject(error))
    const aborted = (): void => fail(new Error('closed'))
    const timer = setTimeout(() => fail(new UpstreamTimeout()), timeoutMs)
    signal.addEventListener('abort', aborted)
    const stop = start({ resolve: (reply) => end(() => resolve(reply)), reject: fail })
    if (signal.aborted) aborted()
  })
}

/** How upstreams are asked. */
export interface Asking {
  /** @returns a whole reply, possibly one with TC set */
  udp(exchange: Exchange): Promise<Buffer>
  /** @returns a whole reply */
  tcp(exchange: Exchange): Promise<Buffer>
}

/** @returns a whole reply, possibly one with TC set */
export function askUdp(exchange: Exchange): Promise<Buffer> {
  const { upstream, question, observer } = exchange
  return bounded(exchange, ({ resolve, reject }) => {
    const id = randomInt(0x1_0000)
    const socket = createSocket(family(upstream.host) === 4 ? 'udp4' : 'udp6')
    socket.on('error', reject)
    socket.on('message', (message) => {
      if (isReplyTo(message, id, question)) resolve(message)
      else observer.dropped('unmatched')
    })
    socket.connect(upstream.port, upstream.host, () => {
      socket.send(writeQuery(question, id), (error) => {
        if (error !== null) reject(error)
      })
    })
    return () => socket.close()
  })
}

/** @returns a whole reply */
export function askTcp(exchange: Exchange): Promise<Buffer> {
  const { host, port } = exchange.upstream
  return askBy(connect({ host, port }), exchange)
}

/**
 * @param socket is being connected to the upstream; closed in the end
 * @returns      a whole reply
 */
export function askBy(socket: Socket, exchange: Exchange): Promise<Buffer> {
  const { question } = exchange
  return bounded(exchange, ({ resolve, reject }) => {
    const id = randomInt(0x1_0000)
    let received: Buffer = Buffer.alloc(0)
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('the upstream closed the connection')))
    socket.on('connect', () => {
      const query = writeQuery(question, id)
      const prefix = Buffer.alloc(2)
      prefix.writeUInt16BE(query.length)
      socket.write(Buffer.concat([prefix, query]))
    })
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      if (received.length < 2) return
      const length = received.readUInt16BE(0)
      if (received.length < 2 + length) return
      const message = received.subarray(2, 2 + length)
      if (isReplyTo(message, id, question)) resolve(message)
      else reject(new Error('the upstream answered another question'))
    })
    return () => socket.destroy()
  })
}
