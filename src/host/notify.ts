/**
 * Tells the service manager that started this process how it is (sd_notify(3)): that it is ready, reads
 * its file again, is ending, and, for its watchdog, that it still does its work. By the program
 * systemd-notify, since Node has no unix sockets for datagrams (decision 0210).
 */
import { execFile } from 'node:child_process'
import { env as ownEnvironment, hrtime, pid as ownPid } from 'node:process'
import { FairleadError } from '../errors.js'
import type { Log } from './log.js'

/** Between two looks at what the status line says, where no watchdog sets a pace. */
const STATUS_MS = 10_000
/** systemd-notify itself waits 5 s for the service manager to have taken a message. */
const TIMEOUT_MS = 10_000
/** The service manager cuts longer ones. */
const MAX_STATUS_CHARACTERS = 500

export interface NotifierOptions {
  /** What is stuck, if anything is: then the watchdog is not fed. */
  readonly stuck: () => string | undefined
  /** One line about the state of affairs. */
  readonly status: () => string
  readonly log: Log
}

export interface NotifierSettings {
  /** The service manager's socket; absent: nobody wants to know. */
  readonly socket?: string
  /** How often the watchdog is fed: half of the time after which it bites. */
  readonly watchdogMs?: number
}

/**
 * Takes the settings out of an environment, so that no child believes them to be its own.
 *
 * @param pid of this process: a watchdog may be meant for another one
 */
export function takeNotifierSettings(
  environment: NodeJS.ProcessEnv = ownEnvironment,
  pid = ownPid,
): NotifierSettings {
  const {
    NOTIFY_SOCKET: socket = '',
    WATCHDOG_USEC: period = '',
    WATCHDOG_PID: meant = '',
  } = environment
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'])
    Reflect.deleteProperty(environment, name)
  const microseconds = /^\d+$/.test(period) ? Number(period) : 0
  const forUs = meant === '' || meant === String(pid)
  return {
    ...(socket !== '' && { socket }),
    ...(forUs && microseconds > 0 && { watchdogMs: microseconds / 1000 / 2 }),
  }
}

export class Notifier {
  readonly #socket: string | undefined
  readonly #watchdogMs: number | undefined
  readonly #options: NotifierOptions
  /** Messages reach the socket in the order in which they were meant. */
  #sending: Promise<void> = Promise.resolve()
  #beat: NodeJS.Timeout | undefined
  #beating = false
  #ready = false
  #ending = false
  #reloads = 0
  #told = ''
  #stuck = false
  #failed = false

  constructor(settings: NotifierSettings, options: NotifierOptions) {
    this.#socket = settings.socket
    this.#watchdogMs = settings.watchdogMs
    this.#options = options
  }

  /** The work is being done. Only the first call counts. */
  ready(): void {
    if (this.#ready || this.#ending || this.#socket === undefined) return
    this.#ready = true
    this.#send(['READY=1', ...this.#statusLine()])
    this.#beat = setInterval(() => this.#tick(), this.#watchdogMs ?? STATUS_MS)
  }

  /** Tells that the settings are read again for as long as `work` takes. */
  async reloading(work: () => Promise<void>): Promise<void> {
    // READY=1 at its end would be the first one.
    if (!this.#ready || this.#ending) return work()
    const now = hrtime.bigint() / 1000n
    if (this.#reloads++ === 0) this.#send(['RELOADING=1', `MONOTONIC_USEC=${now}`])
    try {
      await work()
    } finally {
      if (--this.#reloads === 0 && !this.#isEnding()) this.#send(['READY=1', ...this.#statusLine()])
    }
  }

  /** From here on nothing but this is told. */
  stopping(): void {
    if (this.#ending || this.#socket === undefined) return
    this.#ending = true
    clearInterval(this.#beat)
    this.#send(['STOPPING=1', 'STATUS=ending'])
  }

  /** Resolves when everything has been told, or cannot be. */
  async close(): Promise<void> {
    this.#ending = true
    clearInterval(this.#beat)
    await this.#sending
  }

  /** Apart, because the field changes behind an await. */
  #isEnding(): boolean {
    return this.#ending
  }

  #tick(): void {
    // What waits to be told does not become truer by being told twice.
    if (this.#beating) return
    const message = [...this.#sign(), ...this.#statusLine()]
    if (message.length === 0) return
    this.#beating = true
    this.#send(message)
    void this.#sending.finally(() => (this.#beating = false))
  }

  /** Of life, if it is due. */
  #sign(): string[] {
    if (this.#watchdogMs === undefined) return []
    const stuck = this.#options.stuck()
    if (stuck !== undefined && !this.#stuck)
      this.#options.log.error({ stuck }, 'stuck: the watchdog is not fed')
    this.#stuck = stuck !== undefined
    return this.#stuck ? [] : ['WATCHDOG=1']
  }

  /** Only if it differs from what was told last. */
  #statusLine(): string[] {
    const stuck = this.#options.stuck()
    const text = stuck === undefined ? this.#options.status() : `stuck: ${stuck}`
    const line = text.replace(/\s+/g, ' ').slice(0, MAX_STATUS_CHARACTERS)
    if (line === this.#told) return []
    this.#told = line
    return [`STATUS=${line}`]
  }

  #send(assignments: readonly string[]): void {
    const socket = this.#socket
    if (socket === undefined) return
    this.#sending = this.#sending
      .then(() => tell(socket, assignments))
      .then(
        () => {
          this.#failed = false
        },
        (error: unknown) => {
          if (!this.#failed)
            this.#options.log.warn({ err: error }, 'the service manager could not be told')
          this.#failed = true
          // To be told again.
          this.#told = ''
        },
      )
  }
}

/** The program speaks as its parent: the service manager takes messages of the main process alone. */
function tell(socket: string, assignments: readonly string[]): Promise<void> {
  const options = {
    timeout: TIMEOUT_MS,
    env: { PATH: ownEnvironment['PATH'] ?? '/usr/bin:/bin', NOTIFY_SOCKET: socket },
  }
  return new Promise((resolve, reject) => {
    execFile('systemd-notify', assignments, options, (error) => {
      if (error === null) resolve()
      else reject(new FairleadError('HOST', `systemd-notify: ${error.message}`, { cause: error }))
    })
  })
}
