/**
 * The one desired state: snapshots of several sources, merged. No I/O and no clock.
 *
 * Precedence is by the order in which sources were registered, then by the order in a snapshot
 * (sources put what is older first): on any conflict the earlier item stays and the later one is
 * left out with a problem, so that adding something never takes away what worked.
 */
import type { Assignments } from './ipam.js'
import { merge, type Merged } from './merge.js'
import { sameData } from './diff.js'
import type { Network, Problem, Service, ServiceKey, Snapshot, State } from './types.js'

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
    this.#snapshots.set(source, snapshot)
    // A state without services would have sinks take down what an earlier run left standing.
    if (this.spoken.length === 0) return this.#state
    if (!reporter || this.#state.revision === 0) this.#mergeSources()
    const reported = [...this.#sources, ...this.#reporters].flatMap(
      (name) => this.#snapshots.get(name)?.problems ?? [],
    )
    const merged = { ...this.#merged, problems: [...reported, ...this.#merged.problems] }
    const previous = this.#state
    const next = settled(previous, merged)
    if (next !== previous) {
      this.#state = next
      this.#pending.push({ state: next, previous })
      this.#notify()
    }
    return this.#state
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

  #mergeSources(): void {
    const spoken = this.#sources.flatMap((name) => {
      const snapshot = this.#snapshots.get(name)
      return snapshot === undefined ? [] : [{ name, snapshot }]
    })
    this.#merged = merge(spoken, this.#assignments, !this.ready())
    const { assignments } = this.#merged
    if (!sameMap(this.#assignments, assignments)) this.#assignments = assignments
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

/** `previous` itself if nothing differs; else parts that are the same keep their identity. */
function settled(
  previous: State,
  next: {
    readonly networks: ReadonlyMap<string, Network>
    readonly services: ReadonlyMap<ServiceKey, Service>
    readonly problems: readonly Problem[]
  },
): State {
  const networks = adopted(previous.networks, next.networks)
  const services = adopted(previous.services, next.services)
  const problems = sameData(previous.problems, next.problems) ? previous.problems : next.problems
  const same =
    networks === previous.networks &&
    services === previous.services &&
    problems === previous.problems
  // The first revision says that a source has spoken, even of nothing.
  if (same && previous.revision > 0) return previous
  return { revision: previous.revision + 1, networks, services, problems }
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

function sameMap(a: Assignments, b: Assignments): boolean {
  return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value)
}
