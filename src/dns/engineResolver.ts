/**
 * An engine's own resolver, asked from within a container's namespace, where alone it is found. A visit
 * to a namespace costs milliseconds, so questions share a socket there; what reaches it from
 * 127.0.0.11 is only the container's own affair.
 */
import type { Socket } from 'node:dgram'
import { randomInt } from 'node:crypto'
import { Socket as StreamSocket } from 'node:net'
import type { SocketOpener, StreamOpener } from '../model/sockets.js'
import { openUdp } from './socket.js'
import {
  askBy,
  bounded,
  isReplyTo,
  UpstreamTimeout,
  writeQuery,
  type Asking,
  type Ending,
  type Exchange,
} from './upstream.js'

/** Where containers ask it. */
export const ENGINE_RESOLVER = { host: '127.0.0.11', port: 53 } as const

/** A socket keeps its namespace alive, and costs a descriptor. */
const IDLE_MS = 30_000

export interface EngineResolverOptions {
  /** Path. */
  readonly namespace: string
  readonly open: SocketOpener
  readonly openStream: StreamOpener
}

export class EngineResolver implements Asking {
  readonly #options: EngineResolverOptions
  #channel: Promise<Channel> | undefined
  #closed = false

  constructor(options: EngineResolverOptions) {
    this.#options = options
  }

  /** @throws what `open` throws; UpstreamTimeout; the socket's error */
  async udp(exchange: Exchange): Promise<Buffer> {
    const used = this.#channel !== undefined
    try {
      return await this.#ask(exchange)
    } catch (error) {
      // What a socket of earlier has to say may be about an engine that was restarted since.
      if (!used || error instanceof UpstreamTimeout || exchange.signal.aborted) throw error
      return this.#ask(exchange)
    }
  }

  /** @throws what `openStream` throws; UpstreamTimeout; the socket's error */
  async tcp(exchange: Exchange): Promise<Buffer> {
    const fd = await this.#options.openStream(this.#options.namespace)
    // Reading starts by itself once it is connected.
    const socket = new StreamSocket({ fd, manualStart: true } as { fd: number })
    socket.connect({ ...ENGINE_RESOLVER, localAddress: ENGINE_RESOLVER.host })
    return askBy(socket, exchange)
  }

  close(): void {
    this.#closed = true
    void this.#channel?.then((channel) => channel.retire()).catch(() => undefined)
    this.#channel = undefined
  }

  async #ask(exchange: Exchange): Promise<Buffer> {
    const opening = (this.#channel ??= this.#open())
    try {
      return await (await opening).ask(exchange)
    } catch (error) {
      // A restarted engine answers at another port, and netfilter leads a flow to where it began.
      if (this.#channel === opening) this.#channel = undefined
      void opening.then((channel) => channel.retire()).catch(() => undefined)
      throw error
    }
  }

  async #open(): Promise<Channel> {
    const { namespace, open } = this.#options
    // From the resolver's own address: such questions are not led back to us.
    const endpoint = { host: ENGINE_RESOLVER.host, port: 0 }
    const socket = await openUdp({ endpoint, namespace, open })
    try {
      await new Promise<void>((resolve, reject) => {
        const done = (error?: Error): void => (error === undefined ? resolve() : reject(error))
        socket.connect(ENGINE_RESOLVER.port, ENGINE_RESOLVER.host, done)
      })
      if (this.#closed) throw new Error('closed')
    } catch (error) {
      socket.close()
      throw error
    }
    return new Channel(socket, () => {
      this.#channel = undefined
    })
  }
}

interface Asked extends Ending {
  readonly exchange: Exchange
}

/** One socket with its questions; closes when it is retired, or idle, and nobody waits. */
class Channel {
  readonly #asked = new Map<number, Asked>()
  readonly #idle: NodeJS.Timeout
  #retired = false
  #closed = false

  constructor(
    private readonly socket: Socket,
    onIdle: () => void,
  ) {
    this.#idle = setTimeout(() => {
      onIdle()
      this.retire()
    }, IDLE_MS)
    this.#idle.unref()
    socket.on('message', (message) => this.#take(message))
    socket.on('error', (error) => {
      for (const { reject } of [...this.#asked.values()]) reject(error)
    })
  }

  ask(exchange: Exchange): Promise<Buffer> {
    return bounded(exchange, (ending) => {
      let id = randomInt(0x1_0000)
      while (this.#asked.has(id)) id = randomInt(0x1_0000)
      this.#asked.set(id, { ...ending, exchange })
      this.#idle.refresh()
      this.socket.send(writeQuery(exchange.question, id), (error) => {
        if (error !== null) ending.reject(error)
      })
      return () => {
        this.#asked.delete(id)
        if (this.#retired) this.retire()
      }
    })
  }

  /** Is asked nothing more. */
  retire(): void {
    this.#retired = true
    clearTimeout(this.#idle)
    if (this.#asked.size > 0 || this.#closed) return
    this.#closed = true
    this.socket.close()
  }

  #take(message: Buffer): void {
    const id = message.length < 2 ? -1 : message.readUInt16BE(0)
    const asked = this.#asked.get(id)
    // One that comes too late was given up, and that has been told.
    if (asked === undefined) return
    const { exchange, resolve } = asked
    if (isReplyTo(message, id, exchange.question)) resolve(message)
    else exchange.observer.dropped('unmatched')
  }
}
