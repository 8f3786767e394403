/** One connection that is sent events (text/event-stream of the HTML standard) until either side ends it. */
import type { FastifyReply } from 'fastify'
import type { ServerResponse } from 'node:http'
import { EVENT_STREAM } from './operations.js'

/** Proxies close what is silent for a minute; a browser cannot tell a dead agent from a quiet one. */
const HEARTBEAT_MS = 10_000
/** What a listener may leave unread, beyond the kernel's own buffers. */
export const MAX_UNREAD_BYTES = 256 * 1024

export class EventStream {
  readonly #response: ServerResponse
  readonly #heartbeat: NodeJS.Timeout

  /** Takes the connection over: nothing else may be sent with this reply. */
  constructor(reply: FastifyReply) {
    reply.hijack()
    const response = (this.#response = reply.raw)
    for (const [name, value] of Object.entries(reply.getHeaders()))
      if (value !== undefined) response.setHeader(name, value)
    response.writeHead(200, {
      ...{ 'content-type': EVENT_STREAM, 'cache-control': 'no-store' },
      'x-accel-buffering': 'no',
    })
    response.flushHeaders()
    response.socket?.setNoDelay(true)
    response.on('error', () => undefined)
    this.#heartbeat = setInterval(() => this.#write(':\n\n'), HEARTBEAT_MS)
    this.#heartbeat.unref()
    response.once('close', () => clearInterval(this.#heartbeat))
  }

  get closed(): boolean {
    return this.#response.destroyed
  }

  /** Bytes that the listener has not read, beyond the kernel's buffers; at a bound it is dropped. */
  get unread(): number {
    return this.#response.writableLength
  }

  /** @param callback called once, whichever side ends it */
  onClose(callback: () => void): void {
    this.#response.once('close', callback)
  }

  /** @param data goes as JSON, which has no newline */
  send(event: string, id: number, data: unknown): void {
    this.sendText(event, id, JSON.stringify(data))
  }

  /** The same, for text that many are sent. */
  sendText(event: string, id: number, json: string): void {
    this.#write(`event: ${event}\nid: ${id}\ndata: ${json}\n\n`)
  }

  #write(text: string): void {
    if (this.closed) return
    this.#response.write(text)
    // Who does not read is dropped, instead of the agent keeping it all.
    if (this.#response.writableLength > MAX_UNREAD_BYTES) this.#response.destroy()
  }
}
