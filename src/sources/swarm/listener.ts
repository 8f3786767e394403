/**
 * Hears from a manager's agent what its store has. It is believed because its certificate is one of a
 * manager of the same swarm.
 */
import { connect, type TLSSocket } from 'node:tls'
import { setTimeout as pause } from 'node:timers/promises'
import type { Log } from '../docker/engine.js'
import { MANAGER, readCredentials } from './credentials.js'
import { MAX_LINE_BYTES, readLine, type Told } from './wire.js'

export interface ListenerOptions {
  readonly port: number
  /** The engine's data root. */
  readonly root: string
  /** Addresses of the swarm's managers, as they are now. */
  readonly managers: () => readonly string[]
  readonly onTold: () => void
  readonly log: Log
}

/** A manager's agent speaks once a second. */
const SILENCE_MS = 4_000
const MIN_BACKOFF_MS = 500
const MAX_BACKOFF_MS = 5_000

export class Listener {
  readonly #options: ListenerOptions
  readonly #closing = new AbortController()
  #told: { readonly what: Told; heardAt: number } | undefined
  #running: Promise<void> | undefined
  #socket: TLSSocket | undefined
  #trouble = ''

  constructor(options: ListenerOptions) {
    this.#options = options
  }

  start(): void {
    this.#running ??= this.#run()
  }

  /** What a manager says now; undefined while none speaks. */
  get told(): Told | undefined {
    const told = this.#told
    return told && performance.now() - told.heardAt < SILENCE_MS ? told.what : undefined
  }

  /** What one said last, however long ago. */
  get last(): Told | undefined {
    return this.#told?.what
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort()
    this.#socket?.destroy()
    await this.#running
  }

  /** A method, because the answer changes behind an await. */
  #closed(): boolean {
    return this.#closing.signal.aborted
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing
    let backoffMs = MIN_BACKOFF_MS
    while (!this.#closed()) {
      const trouble: string[] = []
      for (const manager of this.#options.managers()) {
        const started = performance.now()
        const why = await this.#hear(manager).catch(String)
        if (this.#closed()) return
        trouble.push(`${manager}: ${why}`)
        // One that spoke for a while is asked again at once.
        if (performance.now() - started > MAX_BACKOFF_MS) backoffMs = MIN_BACKOFF_MS
      }
      // Of all of them at once: one by one they would be news each time.
      this.#tell(trouble.join('; '))
      await pause(backoffMs, undefined, { signal }).catch(() => undefined)
      backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS)
    }
  }

  /** @returns why it ended */
  async #hear(host: string): Promise<string> {
    const { port, root } = this.#options
    const { swarm, ...own } = await readCredentials(root)
    if (this.#closed()) return 'closed'
    return new Promise((resolve) => {
      const socket = connect({
        ...{ host, port, ...own, servername: MANAGER, rejectUnauthorized: true },
        minVersion: 'TLSv1.2',
      })
      this.#socket = socket
      const end = (why: string): void => {
        socket.destroy()
        resolve(why)
      }
      let rest = ''
      socket.setTimeout(SILENCE_MS, () => end('it says nothing'))
      socket.setEncoding('utf8')
      socket.on('secureConnect', () => {
        const subject = socket.getPeerCertificate().subject as { O?: string } | undefined
        if (subject?.O !== swarm) end('it is of another swarm')
        else this.#tell('')
      })
      socket.on('data', (text: string) => {
        try {
          rest = this.#read(rest + text)
        } catch (error) {
          end(String(error))
        }
      })
      socket.on('error', (error: Error) => end(error.message))
      socket.on('close', () => end('it closed the connection'))
    })
  }

  /** @returns what is no whole line yet */
  #read(text: string): string {
    const lines = text.split('\n')
    const rest = lines.pop() ?? ''
    if (rest.length > MAX_LINE_BYTES) throw new Error('a line that does not end')
    for (const line of lines) {
      const heardAt = performance.now()
      if (line !== '') this.#told = { what: readLine(line), heardAt }
      else if (this.#told) this.#told.heardAt = heardAt
      if (line !== '') this.#options.onTold()
    }
    return rest
  }

  #tell(trouble: string): void {
    if (trouble === this.#trouble) return
    this.#trouble = trouble
    const { log } = this.#options
    if (trouble === '') log.info({}, "a manager's agent tells of the swarm")
    else log.info({ reason: trouble }, "no manager's agent tells of the swarm; gossip does")
  }
}
