/**
 * DNS over one TCP connection (RFC 7766): length-prefixed messages, any number of them under way,
 * answered as they become ready.
 */

import type { Socket } from 'node:net'
import type { DnsObserver } from '../model/observe.js'
import { MAX_QUERY_BYTES } from './query.js'
import type { Responder } from './responder.js'

const PREFIX_BYTES = 2
/** Queries of one connection under way; more are left unread. */
const MAX_UNDER_WAY = 64
/** Replies that the peer does not fetch; then nothing more is read. */
const MAX_UNSENT_BYTES = 256 * 1024

export interface StreamOptions {
  readonly responder: Responder
  readonly observer: DnsObserver
  /** Between whole queries; a query that trickles in gains no time by it. */
  readonly idleMs: number
}

/** Takes charge of the connection until it closes. */
export function serveStream(socket: Socket, options: StreamOptions): void {
  const { responder, observer, idleMs } = options
  let received: Buffer = Buffer.alloc(0)
  let underWay = 0
  let peerEnded = false
  let reading = false

  const idle = setTimeout(() => {
    observer.dropped('idle')
    socket.destroy()
  }, idleMs)

  const isFull = (): boolean =>
    underWay >= MAX_UNDER_WAY || socket.writableLength > MAX_UNSENT_BYTES

  const send = (reply: Buffer): void => {
    if (!socket.writable) return
    const prefix = Buffer.allocUnsafe(PREFIX_BYTES)
    prefix.writeUInt16BE(reply.length)
    socket.write(Buffer.concat([prefix, reply]))
  }

  const proceed = (): void => {
    // A reply made at once comes back here from within: the loop below goes on by itself then.
    if (reading) return
    reading = true
    while (!isFull()) {
      const message = takeMessage()
      if (message === undefined) break
      idle.refresh()
      underWay += 1
      responder.handle(message, 'tcp', send, () => {
        underWay -= 1
        idle.refresh()
        proceed()
      })
    }
    reading = false
    if (isFull()) socket.pause()
    else if (!peerEnded) socket.resume()
    else if (underWay === 0) socket.end()
  }

  const takeMessage = (): Buffer | undefined => {
    if (received.length < PREFIX_BYTES || socket.destroyed) return undefined
    const length = received.readUInt16BE(0)
    if (length > MAX_QUERY_BYTES) {
      // What follows would have to be read to be skipped; such a peer has no claim to that.
      observer.dropped('oversized')
      socket.destroy()
      return undefined
    }
    const end = PREFIX_BYTES + length
    if (received.length < end) return undefined
    const message = received.subarray(PREFIX_BYTES, end)
    received = received.subarray(end)
    return message
  }

  socket.on('data', (chunk: Buffer) => {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk])
    proceed()
  })
  socket.on('drain', proceed)
  socket.on('end', () => {
    peerEnded = true
    proceed()
  })
  // Resets are the peer's affair.
  socket.on('error', () => socket.destroy())
  socket.on('close', () => clearTimeout(idle))
}
