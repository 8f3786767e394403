/**
 * Tells the agents of other nodes what a manager's store has. Whoever asks must have a certificate of
 * the same swarm; nothing that they send is read.
 */
import { createServer, type Server, type TLSSocket } from 'node:tls'
import { isDeepStrictEqual } from 'node:util'
import type { Log } from '../docker/engine.js'
import { MANAGER, readCredentials, WORKER, type Credentials } from './credentials.js'
import { lineOf, MAX_LINE_BYTES, type Told } from './wire.js'

interface Subject {
  readonly O?: string
  readonly OU?: string
  readonly CN?: string
}

export interface TellerOptions {
  readonly address: string
  readonly port: number
  /** The engine's data root. */
  readonly root: string
  readonly log: Log
}

/** A listener that has not taken that much of what it was told is closed: it will ask again. */
const MAX_BEHIND_BYTES = MAX_LINE_BYTES
/** Nodes of the swarm, and whoever else found the port: those have to show a certificate soon. */
const MAX_CONNECTIONS = 2_048
/** How soon a renewed certificate is used. */
const RENEW_MS = 60_000
const HANDSHAKE_MS = 5_000

export class Teller {
  readonly #options: TellerOptions
  /** By the node's name in the swarm, which is its certificate's CN: one each. */
  readonly #sockets = new Map<string, TLSSocket>()
  #server: Server | undefined
  #credentials: Credentials | undefined
  #renewal: NodeJS.Timeout | undefined
  #line: string | undefined

  constructor(options: TellerOptions) {
    this.#options = options
  }

  /** @throws FairleadError ENGINE without a certificate; whatever listening fails with */
  async listen(): Promise<void> {
    const { address, port, root } = this.#options
    const credentials = await readCredentials(root)
    const server = createServer({ ...tls(credentials), handshakeTimeout: HANDSHAKE_MS }, (socket) =>
      this.#welcome(socket),
    )
    server.maxConnections = MAX_CONNECTIONS
    // Strangers and scanners: nothing of theirs is worth more.
    server.on('tlsClientError', (error: Error) => {
      this.#options.log.debug({ err: error }, 'somebody without a certificate of the swarm')
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host: address, port }, () => {
        server.off('error', reject)
        resolve()
      })
    })
    server.on('error', (error: Error) => this.#options.log.warn({ err: error }, 'swarm'))
    this.#server = server
    this.#credentials = credentials
    this.#renewal = setInterval(() => void this.#renew(server), RENEW_MS).unref()
  }

  /** To be called with every look: in between a listener would take this agent for dead. */
  tell(told: Told): void {
    const line = lineOf(told)
    const text = line === this.#line ? '\n' : `${line}\n`
    this.#line = line
    for (const socket of this.#sockets.values()) this.#send(socket, text)
  }

  /** Idempotent. */
  close(): void {
    clearInterval(this.#renewal)
    this.#server?.close()
    this.#server = undefined
    for (const socket of this.#sockets.values()) socket.destroy()
    this.#sockets.clear()
  }

  #welcome(socket: TLSSocket): void {
    socket.on('error', () => socket.destroy())
    const { subject } = socket.getPeerCertificate()
    const known = subject as Subject | undefined
    const role = known?.OU === MANAGER || known?.OU === WORKER
    const name = known?.CN
    if (!role || name === undefined || known.O !== this.#credentials?.swarm) {
      this.#options.log.debug({ subject: known }, 'a certificate of another swarm')
      socket.destroy()
      return
    }
    socket.on('close', () => {
      if (this.#sockets.get(name) === socket) this.#sockets.delete(name)
    })
    socket.resume()
    this.#sockets.get(name)?.destroy()
    this.#sockets.set(name, socket)
    if (this.#line !== undefined) this.#send(socket, `${this.#line}\n`)
  }

  #send(socket: TLSSocket, text: string): void {
    if (socket.writableLength > MAX_BEHIND_BYTES) socket.destroy()
    else socket.write(text)
  }

  async #renew(server: Server): Promise<void> {
    try {
      const credentials = await readCredentials(this.#options.root)
      if (isDeepStrictEqual(credentials, this.#credentials)) return
      server.setSecureContext(tls(credentials))
      this.#credentials = credentials
    } catch (error) {
      this.#options.log.debug({ err: error }, 'the certificate cannot be read')
    }
  }
}

function tls({ cert, key, ca }: Credentials) {
  return {
    ...{ cert, key, ca, requestCert: true, rejectUnauthorized: true },
    minVersion: 'TLSv1.2' as const,
  }
}
