/** One address and port, by UDP and TCP: opens, serves, and opens again after a failure. */

import type { Socket as UdpSocket } from 'node:dgram'
import type { Server, Socket } from 'node:net'
import { formatListen, type ListenAddress } from '../model/address.js'
import type { DnsObserver } from '../model/observe.js'
import type { SocketOpener } from '../model/sockets.js'
import type { Responder } from './responder.js'
import { openTcp, openUdp, type NamespaceIdentifier, type OpenRequest } from './socket.js'
import { serveStream } from './stream.js'
import { reasonOf } from '../reason.js'

const UDP_BUFFER_BYTES = 4 * 1024 * 1024
/** Nothing tells when another namespace is mounted at a path. */
const LOOK_MS = 1000

export interface Ports {
  readonly udp: number
  readonly tcp: number
}

export interface ListenerOptions {
  readonly endpoint: ListenAddress
  readonly namespace: string | undefined
  readonly open: SocketOpener | undefined
  /** What tells one namespace at a path from the next. Absent: namespaces are never replaced. */
  readonly identify: NamespaceIdentifier | undefined
  /** Between two looks at that. Default 1000. */
  readonly lookMs?: number
  readonly responder: Responder
  readonly observer: DnsObserver
  readonly maxConnections: number
  readonly idleMs: number
  /** The first wait after a failure; it doubles up to the second. */
  readonly retryMs: readonly [first: number, last: number]
  /** Called with the reason at each failure, with undefined when all is well again. */
  readonly onState: (failure: string | undefined) => void
}

export class Listener {
  readonly #options: ListenerOptions
  readonly #connections = new Set<Socket>()
  #udp: UdpSocket | undefined
  #tcp: Server | undefined
  #retry: NodeJS.Timeout | undefined
  readonly #looks: NodeJS.Timeout | undefined
  #namespace: number | undefined
  #opening = false
  #waitMs: number
  #closed = false

  constructor(options: ListenerOptions) {
    this.#options = options
    this.#waitMs = options.retryMs[0]
    if (options.namespace === undefined || options.identify === undefined) return
    this.#looks = setInterval(() => void this.#look(), options.lookMs ?? LOOK_MS)
    this.#looks.unref()
  }

  get isOpen(): boolean {
    return this.#udp !== undefined && this.#tcp !== undefined
  }

  /** Undefined while it is not open. The endpoint's, unless that left the choice to the kernel. */
  get ports(): Ports | undefined {
    const tcp = this.#tcp?.address()
    if (this.#udp === undefined || typeof tcp !== 'object' || tcp === null) return undefined
    return { udp: this.#udp.address().port, tcp: tcp.port }
  }

  /** Resolves after the first attempt, however it ended. */
  async open(): Promise<void> {
    if (this.#opening) return
    this.#opening = true
    try {
      await this.#shut()
      this.#namespace = await this.#identify()
      await this.#openBoth()
      // A path is there before a namespace is mounted on it: the sockets may be of another one.
      if ((await this.#identify()) !== this.#namespace)
        throw new Error('another namespace came while it was opened')
      this.#waitMs = this.#options.retryMs[0]
      if (!this.#closed) this.#options.onState(undefined)
    } catch (error) {
      this.#fail(error)
    } finally {
      this.#opening = false
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#retry)
    clearInterval(this.#looks)
    await this.#shut()
  }

  /** Sockets stay with the namespace they were made in, and keep it alive, when its path has another. */
  async #look(): Promise<void> {
    const namespace = await this.#identify()
    if (this.#closed || this.#opening || namespace === this.#namespace) return
    clearTimeout(this.#retry)
    this.#retry = undefined
    this.#waitMs = this.#options.retryMs[0]
    await this.open()
  }

  async #identify(): Promise<number | undefined> {
    const { namespace, identify } = this.#options
    return namespace === undefined ? undefined : identify?.(namespace)
  }

  async #openBoth(): Promise<void> {
    const { endpoint, namespace, open } = this.#options
    const request: OpenRequest = { endpoint, namespace, open }
    const udp = await openUdp(request)
    let tcp: Server
    try {
      tcp = await openTcp(request)
    } catch (error) {
      udp.close()
      throw error
    }
    this.#udp = udp
    this.#tcp = tcp
    if (this.#closed) return this.#shut()
    this.#serveUdp(udp)
    this.#serveTcp(tcp)
  }

  #serveUdp(udp: UdpSocket): void {
    const { responder, observer } = this.#options
    // A burst must outlast one turn of the event loop; the kernel grants what it is willing to.
    udp.setRecvBufferSize(UDP_BUFFER_BYTES)
    udp.on('message', (message, { address, port }) => {
      if (port === 0) {
        observer.dropped('source_port')
        return
      }
      responder.handle(message, 'udp', (reply) => {
        if (this.#udp !== udp) return
        udp.send(reply, port, address, (error) => {
          if (error !== null) observer.dropped('send')
        })
      })
    })
    udp.on('error', (error) => this.#fail(error))
  }

  #serveTcp(tcp: Server): void {
    const { responder, observer, maxConnections, idleMs } = this.#options
    tcp.on('connection', (socket) => {
      if (this.#connections.size >= maxConnections) {
        observer.dropped('connections')
        socket.destroy()
        return
      }
      this.#connections.add(socket)
      socket.on('close', () => this.#connections.delete(socket))
      serveStream(socket, { responder, observer, idleMs })
    })
    tcp.on('error', (error) => this.#fail(error))
  }

  #fail(error: unknown): void {
    if (this.#closed || this.#retry !== undefined) return
    const reason = reasonOf(error)
    this.#options.onState(`${formatListen(this.#options.endpoint)}: ${reason}`)
    this.#retry = setTimeout(() => {
      this.#retry = undefined
      void this.open()
    }, this.#waitMs)
    this.#waitMs = Math.min(this.#waitMs * 2, this.#options.retryMs[1])
  }

  async #shut(): Promise<void> {
    const udp = this.#udp
    const tcp = this.#tcp
    this.#udp = undefined
    this.#tcp = undefined
    for (const connection of this.#connections) connection.destroy()
    const closed = (close: ((done: () => void) => unknown) | undefined): Promise<void> =>
      new Promise((resolve) => (close === undefined ? resolve() : void close(resolve)))
    await Promise.all([
      closed(udp && ((done) => udp.close(done))),
      closed(tcp && ((done) => tcp.close(done))),
    ])
  }
}
