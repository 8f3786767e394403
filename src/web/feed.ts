/** What the page knows of the agent: one stream that is taken up again when it breaks. */
import type {
  ChangeView,
  LiveRates,
  LiveState,
  OverviewServiceView,
  OverviewView,
} from '../api/liveSchema.js'
import type { ProblemView } from '../api/schema.js'
import { ask, follow, Refusal, type Message } from './agent.js'
import { History } from './history.js'

/** Heartbeats come every ten seconds. */
const SILENCE_MS = 25_000
const FIRST_RETRY_MS = 500
const LAST_RETRY_MS = 5_000
const MAX_CHANGES = 500

export type Connection = 'connecting' | 'live' | 'lost'

export class Feed {
  connection: Connection = 'connecting'
  /** Why it is lost. */
  trouble: string | undefined
  state: LiveState | undefined
  rates: LiveRates | undefined
  services: readonly OverviewServiceView[] | undefined
  problems: readonly ProblemView[] = []
  changes: readonly ChangeView[] = []
  readonly history = new History()
  readonly #listeners = new Set<() => void>()
  readonly #end = new AbortController()
  #stream = new AbortController()
  #service: string | undefined
  #retryMs = FIRST_RETRY_MS
  #readRevision: string | undefined
  #wake: (() => void) | undefined

  /** @param onRefused called once, when the token is not the agent's */
  constructor(
    readonly token: string,
    private readonly onRefused: () => void,
  ) {
    void this.#run()
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Backends of this service are wanted. @param service `network/service` */
  watch(service: string | undefined): void {
    if (service === this.#service) return
    this.#service = service
    this.history.watch(service)
    this.#stream.abort()
    this.#wake?.()
  }

  close(): void {
    this.#end.abort()
    this.#stream.abort()
    this.#wake?.()
  }

  #closed(): boolean {
    return this.#end.signal.aborted
  }

  async #run(): Promise<void> {
    while (!this.#closed()) {
      const asked = this.#service
      const why = await this.#followOnce()
      // Somebody wants another service, or nothing any more.
      if (this.#closed() || asked !== this.#service) continue
      this.connection = 'lost'
      this.trouble = why
      this.#tell()
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        setTimeout(resolve, this.#retryMs)
      })
      this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS)
    }
  }

  /** @returns why it ended */
  async #followOnce(): Promise<string> {
    const stream = (this.#stream = new AbortController())
    let watchdog: ReturnType<typeof setTimeout> | undefined
    const alive = (): void => {
      clearTimeout(watchdog)
      watchdog = setTimeout(() => stream.abort(), SILENCE_MS)
    }
    const query = this.#service === undefined ? '' : `?service=${encodeURIComponent(this.#service)}`
    try {
      alive()
      const messages = follow(`/v1/live${query}`, this.token, stream.signal, alive)
      for await (const message of messages) this.#take(message)
      return 'the agent ended the connection'
    } catch (error) {
      if (error instanceof Refusal && error.status === 401) this.#refused()
      return error instanceof Refusal ? error.message : 'no answer from the agent'
    } finally {
      clearTimeout(watchdog)
    }
  }

  #refused(): void {
    this.close()
    this.onRefused()
  }

  #take({ event, data }: Message): void {
    this.connection = 'live'
    this.trouble = undefined
    this.#retryMs = FIRST_RETRY_MS
    if (event === 'state') this.#takeState(JSON.parse(data) as LiveState)
    else if (event === 'rates') {
      this.rates = JSON.parse(data) as LiveRates
      this.history.add(this.rates)
    } else if (event === 'changes') {
      const { changes } = JSON.parse(data) as { changes: ChangeView[] }
      this.#takeChanges(changes)
    }
    this.#tell()
  }

  /** The newest first; ids begin anew with another agent, and then all of its changes are sent. */
  #takeChanges(changes: readonly ChangeView[]): void {
    const oldest = changes.at(-1)
    const known = oldest === undefined ? [] : this.changes.filter(({ id }) => id < oldest.id)
    const started = changes.some(({ kind }) => kind === 'started')
    this.changes = [...changes, ...(started ? [] : known)].slice(0, MAX_CHANGES)
  }

  #takeState(state: LiveState): void {
    this.state = state
    const revision = `${state.started} ${state.revision.desired} ${JSON.stringify(state.backends)}`
    if (revision === this.#readRevision) return
    this.#readRevision = revision
    void this.#readServices()
  }

  async #readServices(): Promise<void> {
    const { signal } = this.#end
    try {
      const [overview, told] = await Promise.all([
        ask<OverviewView>('/v1/overview', this.token, signal),
        ask<{ problems: ProblemView[] }>('/v1/problems', this.token, signal),
      ])
      this.services = overview.services
      this.problems = told.problems
      this.#tell()
    } catch {
      // With the next state, which comes when the stream does.
      this.#readRevision = undefined
    }
  }

  #tell(): void {
    for (const listener of this.#listeners) listener()
  }
}
