/**
 * The health source: checks the backends of the services that ask for it, whatever source they come
 * from, and publishes nothing but the states that backends were found to be in.
 */
import { sameData } from '../../model/diff.js'
import type {
  BackendHealth,
  CheckResult,
  HealthObserver,
  HealthReport,
  ServiceHealth,
} from '../../model/observe.js'
import type { BackendStates } from '../../model/overlay.js'
import { replacements } from '../../model/sharedMap.js'
import type { HealthCheck, Network, Service, ServiceKey } from '../../model/types.js'
import { monotonic, type Clock } from './clock.js'
import { probe, type Outcome, type ProbeOpener, type Target } from './probe.js'
import { Scheduler, type Task } from './scheduler.js'
import { find, Tally, type Finding } from './verdict.js'

/** pino's shape. */
export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

export interface HealthSourceOptions {
  readonly opener: ProbeOpener
  /** Takes the states of the services in which some differ; those of a service are given whole. */
  readonly onStates: (changes: ReadonlyMap<ServiceKey, BackendStates>) => void
  readonly observer?: HealthObserver
  readonly log?: Log
  readonly clock?: Clock
  /** 0..1 */
  readonly random?: () => number
  /** Most checks that run at a time. */
  readonly limits?: { readonly network: number; readonly exec: number }
  readonly probe?: typeof probe
}

const LIMITS = { network: 512, exec: 16 } as const
/** When a node dies its backends fall within moments: they make one revision, not hundreds. */
const GATHER_MS = 10

const NOTHING: Finding = { states: new Map(), failOpen: [], belowQuorum: [] }

export class HealthSource implements HealthReport {
  readonly #options: HealthSourceOptions
  readonly #clock: Clock
  readonly #scheduler: Scheduler
  readonly #watched = new Map<ServiceKey, WatchedService>()
  #networks: ReadonlyMap<string, Network> | undefined
  #declared: ReadonlyMap<ServiceKey, Service> | undefined
  #changes = new Map<ServiceKey, BackendStates>()
  #gathering: (() => void) | undefined
  #closed = false

  constructor(options: HealthSourceOptions) {
    const { clock = monotonic, random = Math.random, limits = LIMITS } = options
    this.#options = options
    this.#clock = clock
    this.#scheduler = new Scheduler({ clock, random, limits: { ...limits } })
  }

  /**
   * Checks these from now on. Checks that do not differ go on as they were.
   * @param declared services as their sources gave them, without the states from here
   */
  apply(networks: ReadonlyMap<string, Network>, declared: ReadonlyMap<ServiceKey, Service>): void {
    if (this.#closed || (networks === this.#networks && declared === this.#declared)) return
    const replaced =
      networks === this.#networks ? replacements(this.#declared, declared) : undefined
    this.#networks = networks
    this.#declared = declared
    if (replaced !== undefined) {
      for (const { key, after } of replaced) this.#follow(key, after, networks)
      return
    }
    for (const key of this.#watched.keys()) if (!declared.has(key)) this.#leave(key)
    for (const [key, service] of declared) this.#follow(key, service, networks)
  }

  *all(): Generator<ServiceHealth> {
    for (const key of this.#watched.keys()) {
      const health = this.of(key)
      if (health !== undefined) yield health
    }
  }

  of(service: ServiceKey): ServiceHealth | undefined {
    const watched = this.#watched.get(service)
    if (watched === undefined) return undefined
    const { failOpen, belowQuorum } = watched.finding
    const now = this.#clock.now()
    const backends = new Map<string, BackendHealth>()
    for (const [address, check] of watched.checks) backends.set(address, check.view(now))
    return { service, failOpen, belowQuorum, results: new Map(watched.results), backends }
  }

  /** Ends what runs. Nothing is called after this. Idempotent. */
  close(): void {
    this.#closed = true
    this.#gathering?.()
    this.#scheduler.close()
  }

  #follow(key: ServiceKey, service: Service, networks: ReadonlyMap<string, Network>): void {
    const { health } = service
    const watched = this.#watched.get(key)
    if (health === undefined) {
      if (watched !== undefined) this.#leave(key)
      return
    }
    const namespace = networks.get(service.network)?.attachment.namespace
    if (watched?.service === service && watched.namespace === namespace) return
    this.#watch(key, service, health, namespace)
  }

  #leave(key: ServiceKey): void {
    this.#watched.get(key)?.stop()
    this.#watched.delete(key)
    this.#say(key, new Map())
  }

  #watch(
    key: ServiceKey,
    service: Service,
    health: HealthCheck,
    namespace: string | undefined,
  ): void {
    let watched = this.#watched.get(key)
    if (watched === undefined) {
      watched = new WatchedService(this.#scheduler)
      this.#watched.set(key, watched)
    }
    const { checks } = watched
    watched.update(service, namespace, health, (target, tally) => {
      const check: Check = new Check(target, health, tally, async (signal) => {
        const started = this.#clock.now()
        const run = this.#options.probe ?? probe
        const outcome = await run(target, health, this.#options.opener, signal)
        // A check that was taken away while it ran was aborted; that says nothing.
        if (!this.#closed && checks.get(target.address) === check)
          this.#take(key, check, outcome, (this.#clock.now() - started) / 1000)
      })
      return check
    })
    this.#judge(key, watched)
  }

  #take(key: ServiceKey, check: Check, outcome: Outcome, seconds: number): void {
    const watched = this.#watched.get(key)
    if (watched === undefined) return
    const { result } = outcome
    watched.results.set(result, (watched.results.get(result) ?? 0) + 1)
    this.#options.observer?.checked({ type: check.health.type, result, seconds })
    if (!check.take(outcome, this.#clock.now())) return
    const { healthy } = check.tally
    const fields = { service: key, backend: check.target.address, ...outcome }
    if (healthy === true) this.#options.log?.info(fields, 'backend is healthy')
    else this.#options.log?.warn(fields, 'backend fails its check')
    this.#judge(key, watched)
  }

  /** Says what has changed, if anything has. */
  #judge(key: ServiceKey, watched: WatchedService): void {
    const before = watched.finding
    watched.judge()
    const { states, failOpen, belowQuorum } = watched.finding
    const { log } = this.#options
    if (failOpen.length > before.failOpen.length)
      log?.warn({ service: key, families: failOpen }, 'all backends fail: all are used')
    if (belowQuorum.length > before.belowQuorum.length)
      log?.warn({ service: key, families: belowQuorum }, 'below quorum: none is used')
    if (!sameStates(states, before.states)) this.#say(key, states)
  }

  #say(key: ServiceKey, states: BackendStates): void {
    this.#changes.set(key, states)
    this.#gathering ??= this.#clock.after(GATHER_MS, () => {
      const changes = this.#changes
      this.#changes = new Map()
      this.#gathering = undefined
      this.#options.onStates(changes)
    })
  }
}

/** One service with a check for each of its backends that is not declared down. */
class WatchedService {
  readonly checks = new Map<string, Check>()
  readonly results = new Map<CheckResult, number>()
  service: Service | undefined
  namespace: string | undefined
  finding = NOTHING
  #health: HealthCheck | undefined

  constructor(private readonly scheduler: Scheduler) {}

  /** Makes checks for new backends, and all of them anew if how to check differs. */
  update(
    service: Service,
    namespace: string | undefined,
    health: HealthCheck,
    make: (target: Target, tally: Tally) => Check,
  ): void {
    const same = namespace === this.namespace && sameData(health, this.#health)
    this.service = service
    this.namespace = namespace
    this.#health = health
    const before = new Map(this.checks)
    this.checks.clear()
    for (const { address, state, checked } of service.backends) {
      if (state === 'down' || checked === false) continue
      const old = before.get(address)
      if (same && old !== undefined) {
        this.checks.set(address, old)
        before.delete(address)
        continue
      }
      const { network, name } = service
      const where = namespace === undefined ? {} : { namespace }
      const target = { ...where, network, service: name, address }
      old?.tally.restart()
      const check = make(target, old?.tally ?? new Tally())
      if (old !== undefined) check.inherit(old)
      this.checks.set(address, check)
      this.scheduler.add(check)
    }
    for (const gone of before.values()) this.scheduler.remove(gone)
  }

  judge(): void {
    this.finding = find(
      this.service?.backends ?? [],
      (address) => this.checks.get(address)?.tally.healthy,
      this.#health?.quorum,
    )
  }

  stop(): void {
    for (const check of this.checks.values()) this.scheduler.remove(check)
    this.checks.clear()
  }
}

/** One backend of one service. */
class Check implements Task {
  readonly kind: string
  readonly intervalMs: number
  readonly timeoutMs: number
  #last: { readonly outcome: Outcome; readonly at: number } | undefined
  #turnedAt: number | undefined

  constructor(
    readonly target: Target,
    readonly health: HealthCheck,
    readonly tally: Tally,
    readonly run: (signal: AbortSignal) => Promise<void>,
  ) {
    this.kind = health.type === 'exec' ? 'exec' : 'network'
    this.intervalMs = health.intervalMs
    this.timeoutMs = health.timeoutMs
  }

  inherit(old: Check): void {
    this.#last = old.#last
    this.#turnedAt = old.#turnedAt
  }

  /** @returns whether the verdict turned */
  take(outcome: Outcome, now: number): boolean {
    this.#last = { outcome, at: now }
    const { rise, fall } = this.health
    const turned = this.tally.add(outcome.result === 'ok', rise, fall)
    if (turned) this.#turnedAt = now
    return turned
  }

  view(now: number): BackendHealth {
    const { healthy, consecutive } = this.tally
    const last = this.#last
    return {
      consecutive,
      ...(healthy === undefined ? {} : { healthy }),
      ...(this.#turnedAt === undefined ? {} : { sinceSeconds: (now - this.#turnedAt) / 1000 }),
      ...(last === undefined ? {} : { ...last.outcome, ageSeconds: (now - last.at) / 1000 }),
    }
  }
}

function sameStates(a: BackendStates, b: BackendStates): boolean {
  return a.size === b.size && [...a].every(([address, state]) => b.get(address) === state)
}
