/**
 * What one engine has: its containers and networks, followed by its events. Events only say what to ask
 * for again, so a lost one costs nothing once the stream is opened anew; nothing is polled.
 */
import { constants } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { FairleadError } from '../../errors.js'
import type { EngineApi, EventStream } from './api.js'
import {
  containerShape,
  eventShape,
  infoShape,
  listedContainerShape,
  networkShape,
  type ContainerAnswer,
  type EngineEvent,
  type Info,
  type NetworkAnswer,
} from './shapes.js'
import { reasonOf } from '../../reason.js'

/** pino's shape. */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

export interface EngineContainer extends ContainerAnswer {
  /** It was told to stop and has not stopped yet. */
  readonly stopping: boolean
}

/** One look at an engine; replaced whole. */
export interface EngineView {
  readonly info: Info
  /** By id, running or not. */
  readonly containers: ReadonlyMap<string, EngineContainer>
  /** By id. */
  readonly networks: ReadonlyMap<string, NetworkAnswer>
  /** What was left out, because its shape is not known: `container ID` or `network ID`, and why. */
  readonly leftOut: ReadonlyMap<string, string>
}

export interface EngineOptions {
  readonly onView: (view: EngineView) => void
  /** Why the engine cannot be followed now, or undefined once it can; the last view stays. */
  readonly onTrouble: (reason: string | undefined) => void
  readonly log: Log
  /** Silence of the stream after which the engine is asked whether it still answers. */
  readonly quietMs?: number
  readonly maxBackoffMs?: number
}

const FILTERS = { type: ['container', 'network', 'daemon', 'service', 'node'] }
/** One action of a user is several events within a few ms. */
const DEBOUNCE_MS = 10
const MIN_BACKOFF_MS = 100
const MAX_BACKOFF_MS = 5_000
const QUIET_MS = 15_000
/** Questions at a time: an engine answers slowly while it starts containers. */
const PARALLEL = 8
const DEFAULT_STOP_SECONDS = 10
/** What passes between SIGKILL and the event that tells the end. */
const STOP_MARGIN_SECONDS = 10

export class Engine {
  readonly #api: EngineApi
  readonly #options: EngineOptions
  readonly #containers = new Map<string, ContainerAnswer>()
  readonly #networks = new Map<string, NetworkAnswer>()
  readonly #leftOut = new Map<string, string>()
  /** Told to stop, and when that is believed no more (performance's clock). */
  readonly #stopping = new Map<string, number>()
  readonly #dirtyContainers = new Set<string>()
  readonly #dirtyNetworks = new Set<string>()
  readonly #closing = new AbortController()
  #dirtyInfo = false
  #info: Info = infoShape.parse({})
  #stream: EventStream | undefined
  #timer: NodeJS.Timeout | undefined
  #refreshing: Promise<void> | undefined
  #running: Promise<void> | undefined
  #trouble: string | undefined

  constructor(api: EngineApi, options: EngineOptions) {
    this.#api = api
    this.#options = options
  }

  start(): void {
    this.#running ??= this.#run()
  }

  /** Nothing is called after this. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort()
    clearTimeout(this.#timer)
    this.#stream?.close()
    await this.#running
    await this.#refreshing
  }

  get #closed(): boolean {
    return this.#closing.signal.aborted
  }

  async #run(): Promise<void> {
    const { log, maxBackoffMs = MAX_BACKOFF_MS } = this.#options
    let backoffMs = MIN_BACKOFF_MS
    while (!this.#closed) {
      try {
        const why = await this.#follow(() => (backoffMs = MIN_BACKOFF_MS))
        log.info({ reason: why }, 'the stream of events ended')
      } catch (error) {
        this.#tell(reasonOf(error))
      }
      await pause(backoffMs, undefined, { signal: this.#closing.signal }).catch(() => undefined)
      backoffMs = Math.min(backoffMs * 2, maxBackoffMs)
    }
  }

  /** @returns why the stream ended, if it did not throw */
  async #follow(onWell: () => void): Promise<string> {
    await this.#api.negotiate()
    const stream = await this.#api.events(FILTERS, (event) => this.#hear(event))
    this.#stream = stream
    try {
      if (this.#closed) return 'closed'
      await this.#refreshing
      await this.#alone(async () => this.#lookAtAll())
      this.#tell(undefined)
      onWell()
      return await this.#watch(stream)
    } finally {
      stream.close()
    }
  }

  /** An engine that hangs leaves its stream open. */
  async #watch(stream: EventStream): Promise<string> {
    const { quietMs = QUIET_MS } = this.#options
    for (;;) {
      const ticking = new AbortController()
      const tick = pause(quietMs, undefined, { signal: ticking.signal }).catch(() => undefined)
      const why = await Promise.race([stream.ended, tick])
      ticking.abort()
      if (why !== undefined || this.#closed) return why ?? 'closed'
      if (performance.now() - stream.heardAt >= quietMs) await this.#api.ping()
    }
  }

  #tell(trouble: string | undefined): void {
    if (this.#closed || trouble === this.#trouble) return
    this.#trouble = trouble
    if (trouble !== undefined) this.#options.log.warn({ reason: trouble }, 'engine')
    this.#options.onTrouble(trouble)
  }

  async #lookAtAll(): Promise<void> {
    // What events mark from here on is looked at again.
    this.#dirtyInfo = false
    this.#dirtyContainers.clear()
    this.#dirtyNetworks.clear()
    const [info, networks, listed] = await Promise.all([
      this.#api.get('/info', infoShape),
      this.#api.list('/networks', networkShape),
      this.#api.list('/containers/json', listedContainerShape, { all: '1' }),
    ])
    if (info) this.#info = info
    this.#networks.clear()
    for (const network of networks) this.#networks.set(network.Id, network)
    this.#leftOut.clear()
    const ids = new Set(listed.map(({ Id }) => Id))
    for (const id of this.#containers.keys()) if (!ids.has(id)) this.#forget(id)
    await this.#lookAtContainers([...ids])
    await this.#lookAtNewNetworks()
    this.#show()
  }

  #hear(told: unknown): void {
    const event = eventShape.safeParse(told)
    if (!event.success || this.#closed) return
    const { Type, Action, Actor } = event.data
    this.#options.log.debug({ type: Type, action: Action, id: Actor.ID }, 'event')
    if (Type === 'container') this.#hearContainer(event.data)
    else if (Type === 'network') {
      this.#dirtyNetworks.add(Actor.ID)
      const { container } = Actor.Attributes
      if (container !== undefined) this.#dirtyContainers.add(container)
      // A node that joins a swarm gets its ingress network; nothing else tells of it.
      if (Action === 'create' || Action === 'destroy' || Action === 'remove') this.#dirtyInfo = true
    } else this.#dirtyInfo = true
    this.#schedule()
  }

  #hearContainer({ Action, Actor }: EngineEvent): void {
    // Checks and shells inside containers: several a second on a busy node, and nothing of ours.
    if (/^(exec_|top|resize|attach|detach|export|copy|archive)/.test(Action)) return
    const known = this.#containers.get(Actor.ID)
    if (Action === 'kill') {
      if (known && isStopSignal(known, Actor.Attributes['signal'])) this.#believe(known)
      // Its end is for the next look to say: what is known of it until then is that it runs.
    } else if (Action === 'start') this.#stopping.delete(Actor.ID)
    this.#dirtyContainers.add(Actor.ID)
  }

  /** A container that ignores the signal serves on, once the time that `docker stop` allows is over. */
  #believe({ Id, Config }: ContainerAnswer): void {
    const seconds = (Config.StopTimeout ?? DEFAULT_STOP_SECONDS) + STOP_MARGIN_SECONDS
    this.#stopping.set(Id, performance.now() + seconds * 1000)
    const again = setTimeout(
      () => {
        if (!this.#stopping.has(Id)) return
        this.#dirtyContainers.add(Id)
        this.#schedule()
      },
      seconds * 1000 + 1,
    )
    again.unref()
  }

  #schedule(): void {
    const due = this.#dirtyContainers.size + this.#dirtyNetworks.size > 0 || this.#dirtyInfo
    if (!due || this.#closed || this.#refreshing !== undefined || this.#timer !== undefined) return
    this.#timer = setTimeout(() => void this.#alone(async () => this.#refresh()), DEBOUNCE_MS)
  }

  /** One look at a time, or an older answer would overwrite a newer one. */
  async #alone(look: () => Promise<void>): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const looking = look()
    this.#refreshing = looking.catch(() => undefined)
    try {
      await looking
    } finally {
      this.#refreshing = undefined
      this.#schedule()
    }
  }

  async #refresh(): Promise<void> {
    const containers = [...this.#dirtyContainers]
    const networks = [...this.#dirtyNetworks]
    const info = this.#dirtyInfo
    this.#dirtyContainers.clear()
    this.#dirtyNetworks.clear()
    this.#dirtyInfo = false
    try {
      if (info) this.#info = (await this.#api.get('/info', infoShape)) ?? this.#info
      await this.#lookAtContainers(containers)
      await inTurns(networks, async (id) => this.#lookAtNetwork(id))
      await this.#lookAtNewNetworks()
      this.#show()
    } catch (error) {
      // The stream may be well while answers are not: opening it anew begins with a look at all.
      this.#tell(reasonOf(error))
      this.#stream?.close()
    }
  }

  async #lookAtContainers(ids: readonly string[]): Promise<void> {
    await inTurns(ids, async (id) => {
      const path = `/containers/${encodeURIComponent(id)}/json`
      const found = await this.#orNone(`container ${id}`, this.#api.get(path, containerShape))
      if (found === undefined) this.#forget(id)
      else this.#containers.set(id, found)
      if (found?.State.Running !== true) this.#stopping.delete(id)
    })
  }

  /** What is answered in a shape that is not known is left out: the rest is looked at all the same. */
  async #orNone<T>(item: string, answer: Promise<T | undefined>): Promise<T | undefined> {
    try {
      const found = await answer
      this.#leftOut.delete(item)
      return found
    } catch (error) {
      if (!(error instanceof FairleadError) || error.code !== 'SCHEMA') throw error
      this.#options.log.warn({ reason: error.message }, 'left out')
      this.#leftOut.set(item, error.message)
      return undefined
    }
  }

  async #lookAtNetwork(id: string): Promise<void> {
    const path = `/networks/${encodeURIComponent(id)}`
    const found = await this.#orNone(`network ${id}`, this.#api.get(path, networkShape))
    if (found === undefined) this.#networks.delete(id)
    else this.#networks.set(id, found)
  }

  /** A worker knows a swarm's network only once a task of its own is on it. */
  async #lookAtNewNetworks(): Promise<void> {
    const used = [...this.#containers.values()]
      .filter(({ State }) => State.Running)
      .flatMap(({ NetworkSettings }) => Object.values(NetworkSettings.Networks))
      .map(({ NetworkID }) => NetworkID)
    const unknown = new Set(used.filter((id) => id !== '' && !this.#networks.has(id)))
    await inTurns([...unknown], async (id) => this.#lookAtNetwork(id))
  }

  #forget(id: string): void {
    this.#containers.delete(id)
    this.#stopping.delete(id)
  }

  #show(): void {
    if (this.#closed) return
    const now = performance.now()
    const containers = [...this.#containers].map(([id, container]): [string, EngineContainer] => [
      id,
      { ...container, stopping: (this.#stopping.get(id) ?? 0) > now },
    ])
    this.#options.onView({
      info: this.#info,
      containers: new Map(containers),
      networks: new Map(this.#networks),
      leftOut: new Map(this.#leftOut),
    })
  }
}

/** As `docker stop` does it; other signals are the application's own business. */
function isStopSignal({ Config }: ContainerAnswer, signal: string | undefined): boolean {
  if (signal === undefined) return false
  return [numberOf(Config.StopSignal ?? 'SIGTERM'), constants.signals.SIGKILL].includes(
    numberOf(signal),
  )
}

function numberOf(signal: string): number {
  const name = signal.startsWith('SIG') ? signal : `SIG${signal}`
  const known = new Map<string, number>(Object.entries(constants.signals))
  return known.get(name.toUpperCase()) ?? Number(signal)
}

async function inTurns<T>(items: readonly T[], look: (item: T) => Promise<void>): Promise<void> {
  const left = [...items]
  const worker = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await look(item)
  }
  await Promise.all(Array.from({ length: PARALLEL }, worker))
}
