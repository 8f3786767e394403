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
import { SharedMap } from './sharedMap.js'
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

const NO_SERVICES = SharedMap.of<Service>([])
const EMPTY: State = { revision: 0, networks: new Map(), services: NO_SERVICES, problems: [] }

export class Model {
  readonly #sources: readonly string[]
  readonly #reporters: readonly string[]
  readonly #snapshots = new Map<string, Snapshot>()
  readonly #listeners = new Set<StateListener>()
  readonly #pending: { state: State; previous: State }[] = []
  #notifying = false
  #merged: Merged
  /** What sources said of each service, before `#states`; a new map whenever it differs. */
  #declared: SharedMap<Service> = NO_SERVICES
  /** Those of the state in force. */
  #services: SharedMap<Service> = NO_SERVICES
  readonly #states = new Map<ServiceKey, BackendStates>()
  #assignments: Assignments
  #state: State = EMPTY

  constructor(options: ModelOptions) {
    this.#sources = [...new Set(options.sources)]
    this.#reporters = (options.reporters ?? []).filter((name) => !this.#sources.includes(name))
    this.#assignments = new Map(options.assignments)
    this.#merged = { ...EMPTY, assignments: this.#assignments, vips: new Set() }
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
      ? withReplaced(declared, replaced)
      : adopted(declared, this.#merged.services)
    // The same objects from here on, so that comparing them again costs nothing.
    this.#merged = { ...this.#merged, services: this.#declared }
    const overlaid = () => {
      const services = this.#services
      // With nothing to lay over they are the same map.
      if (this.#states.size === 0 && services === declared) return this.#declared
      if (!replaced) return adopted(services, this.#overlaid())
      return withReplaced(
        services,
        replaced.map((service) => this.#overlay(service)),
      )
    }
    return this.#replace({
      networks: adopted(before.networks, this.#merged.networks),
      services: this.#declared === declared ? this.#services : overlaid(),
      problems: sameData(before.problems, problems) ? before.problems : problems,
    })
  }

  /**
   * Lays states over what sources say of backends: of the two the worse one holds (active, draining,
   * down). Costs what the services named cost; the others are not looked at.
   *
   * @param changes services whose states differ from what was said before, each with all of its
   *                backends' that are not as declared; an empty map takes all back. It may name
   *                services and addresses that are not there (yet)
   * @returns       the state in force, with the old revision if nothing differs
   * @throws AggregateError of what listeners threw
   */
  setStates(changes: ReadonlyMap<ServiceKey, BackendStates>): State {
    const found: Service[] = []
    for (const [key, states] of changes) {
      if (states.size === 0) this.#states.delete(key)
      else this.#states.set(key, states)
      const declared = this.#declared.get(key)
      if (declared !== undefined) found.push(overlay(declared, states))
    }
    const services = withReplaced(this.#services, found)
    return services === this.#services ? this.#state : this.#replace({ ...this.#state, services })
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
  #replace(next: Omit<State, 'revision'> & { readonly services: SharedMap<Service> }): State {
    const previous = this.#state
    const same =
      next.networks === previous.networks &&
      next.services === previous.services &&
      next.problems === previous.problems
    // The first revision says that a source has spoken, even of nothing.
    if (same && previous.revision > 0) return previous
    const { networks, services, problems } = next
    this.#services = services
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
function adopted<T>(before: ReadonlyMap<string, T>, after: ReadonlyMap<string, T>): SharedMap<T> {
  const entries: [string, T][] = []
  for (const [key, value] of after) {
    const old = before.get(key)
    entries.push([key, old !== undefined && sameData(old, value) ? old : value])
  }
  const sameKeys = before instanceof SharedMap && hasKeys(before, entries)
  return (sameKeys ? (before as SharedMap<T>).with(entries) : undefined) ?? SharedMap.of(entries)
}

function hasKeys(
  map: ReadonlyMap<string, unknown>,
  entries: readonly (readonly [string, unknown])[],
): boolean {
  let at = 0
  for (const key of map.keys()) if (entries[at++]?.[0] !== key) return false
  return at === entries.length
}

/** `before` with these values in place of those under their keys; itself if nothing differs. */
function withReplaced(before: SharedMap<Service>, values: readonly Service[]): SharedMap<Service> {
  const entries = values.flatMap((value) => {
    const key = serviceKey(value)
    return sameData(before.get(key), value) ? [] : [[key, value] as const]
  })
  return before.with(entries) ?? before
}

function sameMap(a: Assignments, b: Assignments): boolean {
  return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value)
}
