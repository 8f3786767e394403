/**
 * The one desired state: snapshots of several sources, merged, and the states that backends were
 * found to be in laid over them. No I/O and no clock.
 *
 * Precedence is by the order in which sources were registered, then by the order in a snapshot
 * (sources put what is older first): on any conflict the earlier item stays and the later one is
 * left out with a problem, so that adding something never takes away what worked.
 */
import type { Assignments } from './ipam.js'
import { merge, patch, type Merged } from './merge.js'
import { sameData } from './diff.js'
import { overlay, type BackendStates } from './overlay.js'
import { serviceKey, type Service, type ServiceKey, type Snapshot, type State } from './types.js'

export interface ModelOptions {
  /** Names of all the sources there will be, first wins. */
  readonly sources: readonly string[]
  /** Names of those that only ever publish problems; nobody waits for them. */
  readonly reporters?: readonly string[]
  /** Automatic VIPs of an earlier run, as `assignments` gave them. */
  readonly assignments?: Assignments
}

export type StateListener = (state: State, previous: State) => void

const EMPTY: State = { revision: 0, networks: new Map(), services: new Map(), problems: [] }

export class Model {
  readonly #sources: readonly string[]
  readonly #reporters: readonly string[]
  readonly #snapshots = new Map<string, Snapshot>()
  readonly #listeners = new Set<StateListener>()
  readonly #pending: { state: State; previous: State }[] = []
  #notifying = false
  #merged: Merged
  /** What sources said of each service, before `#states`; a new map whenever it differs. */
  #declared: ReadonlyMap<ServiceKey, Service> = new Map()
  readonly #states = new Map<ServiceKey, BackendStates>()
  #assignments: Assignments
  #state: State = EMPTY

  constructor(options: ModelOptions) {
    this.#sources = [...new Set(options.sources)]
    this.#reporters = (options.reporters ?? []).filter((name) => !this.#sources.includes(name))
    this.#assignments = new Map(options.assignments)
    this.#merged = { ...EMPTY, assignments: this.#assignments }
  }

  /** Revision 0, and empty, until a source (not just a reporter) has published. */
  get current(): State {
    return this.#state
  }

  /** What must survive a reboot; a new map whenever it differs. */
  get assignments(): Assignments {
    return this.#assignments
  }

  /**
   * The services as their sources gave them, without what `setStates` said; for those who say it.
   * As with a state, what does not change keeps its identity, the map included.
   */
  get declared(): ReadonlyMap<ServiceKey, Service> {
    return this.#declared
  }

  /** Whether all of these sources (default: all there are) have published. */
  ready(sources: readonly string[] = this.#sources): boolean {
    return sources.every((source) => this.#snapshots.has(source))
  }

  /** Names of the sources that have published. */
  get spoken(): readonly string[] {
    return this.#sources.filter((source) => this.#snapshots.has(source))
  }

  /**
   * Replaces what a source said. Listeners have been called when this returns, unless it was called
   * by one of them: then they hear of it after the state being told.
   *
   * @returns the state in force, with the old revision if nothing differs
   * @throws RangeError for a source that is not registered; AggregateError of what listeners threw
   */
  publish(source: string, snapshot: Snapshot): State {
    const reporter = this.#reporters.includes(source)
    if (!reporter && !this.#sources.includes(source)) {
      throw new RangeError(`unknown source ${source}`)
    }
    const said = this.#snapshots.get(source)
    this.#snapshots.set(source, snapshot)
    // A state without services would have sinks take down what an earlier run left standing.
    if (this.spoken.length === 0) return this.#state
    const replaced = reporter && this.#state.revision > 0 ? [] : this.#patched(said, snapshot)
    if (replaced === undefined) this.#mergeSources()
    const reported = [...this.#sources, ...this.#reporters].flatMap(
      (name) => this.#snapshots.get(name)?.problems ?? [],
    )
    const problems = [...reported, ...this.#merged.problems]
    const before = this.#state
    const declared = this.#declared
    this.#declared = replaced
      ? replacedIn(declared, replaced)
      : adopted(declared, this.#merged.services)
    // The same objects from here on, so that comparing them again costs nothing.
    this.#merged = { ...this.#merged, services: this.#declared }
    const unchanged = this.#declared === declared
    const overlaid = () => {
      // With nothing to lay over they are the same map, and need no second copy.
      if (this.#states.size === 0 && before.services === declared) return this.#declared
      return replaced
        ? replacedIn(
            before.services,
            replaced.map((service) => this.#overlay(service)),
          )
        : adopted(before.services, this.#overlaid())
    }
    return this.#replace({
      networks: adopted(before.networks, this.#merged.networks),
      services: unchanged ? before.services : overlaid(),
      problems: sameData(before.problems, problems) ? before.problems : problems,
    })
  }

  /**
   * Lays states over what sources say of backends: of the two the worse one holds (active, draining,
   * down). Costs what the services named cost, and a copy of the map; the others are not looked at.
   *
   * @param changes services whose states differ from what was said before, each with all of its
   *                backends' that are not as declared; an empty map takes all back. It may name
   *                services and addresses that are not there (yet)
   * @returns       the state in force, with the old revision if nothing differs
   * @throws AggregateError of what listeners threw
   */
  setStates(changes: ReadonlyMap<ServiceKey, BackendStates>): State {
    const before = this.#state
    const services = new Map(before.services)
    let same = true
    for (const [key, states] of changes) {
      if (states.size === 0) this.#states.delete(key)
      else this.#states.set(key, states)
      const declared = this.#declared.get(key)
      if (declared === undefined) continue
      const service = overlay(declared, states)
      if (sameData(service, before.services.get(key))) continue
      services.set(key, service)
      same = false
    }
    return same ? before : this.#replace({ ...before, services })
  }

  /**
   * Calls `listener` for every later state, in order. The current one is for the caller to read.
   * @returns an idempotent unsubscribe
   */
  onState(listener: StateListener): () => void {
    const own: StateListener = (state, previous) => listener(state, previous)
    this.#listeners.add(own)
    return () => void this.#listeners.delete(own)
  }

  /** The services that differ, if that can be told without merging all of them. */
  #patched(said: Snapshot | undefined, snapshot: Snapshot): Service[] | undefined {
    if (said === undefined || this.#state.revision === 0) return undefined
    return patch(this.#merged, said, snapshot)
  }

  #overlay(service: Service): Service {
    return overlay(service, this.#states.get(serviceKey(service)))
  }

  #mergeSources(): void {
    const spoken = this.#sources.flatMap((name) => {
      const snapshot = this.#snapshots.get(name)
      return snapshot === undefined ? [] : [{ name, snapshot }]
    })
    this.#merged = merge(spoken, this.#assignments, !this.ready())
    const { assignments } = this.#merged
    if (!sameMap(this.#assignments, assignments)) this.#assignments = assignments
  }

  #overlaid(): ReadonlyMap<ServiceKey, Service> {
    if (this.#states.size === 0) return this.#declared
    const services = new Map<ServiceKey, Service>()
    for (const [key, service] of this.#declared) {
      services.set(key, overlay(service, this.#states.get(key)))
    }
    return services
  }

  /** The parts of `next` that do not differ are those of the state in force. */
  #replace(next: Omit<State, 'revision'>): State {
    const previous = this.#state
    const same =
      next.networks === previous.networks &&
      next.services === previous.services &&
      next.problems === previous.problems
    // The first revision says that a source has spoken, even of nothing.
    if (same && previous.revision > 0) return previous
    const { networks, services, problems } = next
    this.#state = { revision: previous.revision + 1, networks, services, problems }
    this.#pending.push({ state: this.#state, previous })
    this.#notify()
    return this.#state
  }

  #notify(): void {
    if (this.#notifying) return
    this.#notifying = true
    const errors: unknown[] = []
    try {
      for (let told = this.#pending.shift(); told !== undefined; told = this.#pending.shift()) {
        for (const listener of [...this.#listeners]) {
          try {
            listener(told.state, told.previous)
          } catch (error) {
            errors.push(error)
          }
        }
      }
    } finally {
      this.#notifying = false
    }
    if (errors.length > 0) throw new AggregateError(errors, 'listeners of the state failed')
  }
}

/** `after` with the values of `before` where these are equal; `before` itself if all are. */
function adopted<T>(
  before: ReadonlyMap<string, T>,
  after: ReadonlyMap<string, T>,
): ReadonlyMap<string, T> {
  let same = before.size === after.size
  const result = new Map<string, T>()
  for (const [key, value] of after) {
    const old = before.get(key)
    const kept = old !== undefined && sameData(old, value)
    if (!kept) same = false
    result.set(key, kept ? old : value)
  }
  return same ? before : result
}

/** `before` with these values in place of those under their keys; itself if nothing differs. */
function replacedIn(
  before: ReadonlyMap<ServiceKey, Service>,
  values: readonly Service[],
): ReadonlyMap<ServiceKey, Service> {
  let result: Map<ServiceKey, Service> | undefined
  for (const value of values) {
    const key = serviceKey(value)
    if (sameData(before.get(key), value)) continue
    result ??= new Map(before)
    result.set(key, value)
  }
  return result ?? before
}

function sameMap(a: Assignments, b: Assignments): boolean {
  return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value)
}
