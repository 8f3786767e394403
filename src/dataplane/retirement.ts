/**
 * Ids on their way out. What a backend had counted goes to its service's `retired` row, so that the
 * service's totals never fall, and its own row is zeroed before another can have the id. A program
 * that looked the backend up just before may still count, so this is done once at once and once
 * after a grace, when the id is given back.
 */
import type { BackendIds } from './ids.js'
import { LeftCounts, type LeftMaps } from './leftCounts.js'
import type { KernelMap } from './tables.js'

/** Longer than any program runs. */
const GRACE_MS = 50
/** Ids given back in one go: some 2 ms of work, which a change may be waiting behind. */
const AT_ONCE = 200

/** No service has this id: its row of `retired` is for those that are gone. */
export const DEPARTED = 0

export type CounterFields = Record<
  'packets_in' | 'bytes_in' | 'packets_out' | 'bytes_out' | 'connections',
  bigint
>

const ZERO: CounterFields = {
  packets_in: 0n,
  bytes_in: 0n,
  packets_out: 0n,
  bytes_out: 0n,
  connections: 0n,
}

export function addCounters(a: CounterFields, b: CounterFields): CounterFields {
  return {
    packets_in: a.packets_in + b.packets_in,
    bytes_in: a.bytes_in + b.bytes_in,
    packets_out: a.packets_out + b.packets_out,
    bytes_out: a.bytes_out + b.bytes_out,
    connections: a.connections + b.connections,
  }
}

function isZero(row: CounterFields): boolean {
  return Object.values(row).every((value) => value === 0n)
}

export function sumCounters(rows: readonly CounterFields[]): CounterFields {
  return rows.reduce(addCounters, ZERO)
}

interface LeavingBackend {
  readonly service: number
  readonly since: number
}

export interface RetirementMaps extends LeftMaps {
  readonly counters: KernelMap
  readonly retired: KernelMap
  readonly cursors: KernelMap
  /** Gauges of live flows. */
  readonly actives: readonly KernelMap[]
}

export class Retirement {
  readonly #maps: RetirementMaps
  readonly #paths: number
  readonly #backendIds: BackendIds
  readonly #left: LeftCounts
  readonly #backends = new Map<number, LeavingBackend>()
  readonly #services = new Map<number, { readonly key: string; readonly since: number }>()
  readonly #watching = new Set<(service: number) => void>()

  /**
   * @param paths how many rows of counters an id has
   * @param parts enum handshake_part
   */
  constructor(
    maps: RetirementMaps,
    paths: number,
    backendIds: BackendIds,
    parts: readonly string[],
  ) {
    this.#maps = maps
    this.#paths = paths
    this.#backendIds = backendIds
    this.#left = new LeftCounts(maps, parts)
  }

  /** Milliseconds until finish() has something to do; undefined when nothing is leaving. */
  get dueMs(): number | undefined {
    // Maps keep the order of arrival: the first has left first.
    const firsts = [this.#backends, this.#services].flatMap((leaving) => {
      const [first] = leaving.values()
      return first === undefined ? [] : [first.since]
    })
    if (firsts.length === 0) return undefined
    return Math.max(0, Math.min(...firsts) + GRACE_MS - performance.now())
  }

  /** Whether its remaining counts belong to its service as a whole. */
  isLeaving(id: number): boolean {
    return this.#backends.has(id)
  }

  /**
   * @param moved called with a service's id when counts go from a backend's row to its own, or on
   * @returns     what ends that
   */
  watch(moved: (service: number) => void): () => void {
    this.#watching.add(moved)
    return () => void this.#watching.delete(moved)
  }

  /** A backend whose row is gone from the kernel. */
  leaveBackend(id: number, service: number): void {
    this.#fold(id, service)
    this.#backends.delete(id)
    this.#backends.set(id, { service, since: performance.now() })
  }

  /** A service whose rows are gone from the kernel. */
  leaveService(id: number, key: string): void {
    this.#services.set(id, { key, since: performance.now() })
  }

  /** An id that is wanted again before it was given back keeps what it has counted. */
  keepBackend(id: number): void {
    this.#backends.delete(id)
  }

  keepService(id: number): void {
    this.#services.delete(id)
  }

  /** What an agent that died here may have left in a row that nobody owns. */
  clearBackend(id: number): void {
    this.clearActive(id)
    for (let path = 0; path < this.#paths; path++) {
      this.#zero(id * this.#paths + path)
      this.#left.clearBackend(id, id * this.#paths + path, path)
    }
  }

  /** A new incarnation has no flows yet; those of the one before end without being counted. */
  clearActive(id: number): void {
    for (const map of this.#maps.actives) map.set(id, 0n)
  }

  clearService(id: number): void {
    this.#maps.cursors.set(id, { placed: [0n, 0n, 0n, 0n] })
    for (let path = 0; path < this.#paths; path++) {
      this.#maps.retired.set(id * this.#paths + path, { ...ZERO })
      this.#left.clearService(id, id * this.#paths + path, path)
    }
  }

  /**
   * Gives back ids whose grace is over, some at a time.
   *
   * @param all without waiting: the agent is about to close
   * @returns services that nothing refers to any more
   */
  finish(all = false): { id: number; key: string }[] {
    const due = performance.now() - (all ? 0 : GRACE_MS)
    let left = all ? Infinity : AT_ONCE
    for (const [id, { service, since }] of this.#backends) {
      if (since > due || left-- <= 0) break
      this.#fold(id, service)
      this.clearActive(id)
      this.#backends.delete(id)
      this.#backendIds.release(id)
    }
    const busy = new Set([...this.#backends.values()].map(({ service }) => service))
    const gone: { id: number; key: string }[] = []
    for (const [id, { key, since }] of this.#services) {
      if (since > due || left-- <= 0) break
      // Its backends are folded into its row, so they go first.
      if (busy.has(id)) continue
      for (let path = 0; path < this.#paths; path++) this.#depart(id, path)
      this.clearService(id)
      this.#services.delete(id)
      gone.push({ id, key })
    }
    return gone
  }

  #fold(id: number, service: number): void {
    for (let path = 0; path < this.#paths; path++) {
      const index = id * this.#paths + path
      const ends = this.#left.foldEnds(index, service * this.#paths + path)
      const handshakes = this.#left.foldHandshakes(id, service, path)
      const rows = this.#maps.counters.getPerCpu(index) as CounterFields[] | undefined
      const counted = sumCounters(rows ?? [])
      if (!isZero(counted)) {
        this.#add(service * this.#paths + path, counted)
        this.#zero(index)
      } else if (!ends && !handshakes) continue
      for (const moved of this.#watching) moved(service)
    }
  }

  /** The node's totals must not fall either. */
  #depart(service: number, path: number): void {
    const counted = this.#maps.retired.get(service * this.#paths + path) as
      CounterFields | undefined
    if (counted === undefined || isZero(counted)) return
    this.#add(DEPARTED * this.#paths + path, counted)
    for (const moved of this.#watching) moved(service)
  }

  #add(place: number, counted: CounterFields): void {
    const before = (this.#maps.retired.get(place) as CounterFields | undefined) ?? ZERO
    this.#maps.retired.set(place, addCounters(before, counted))
  }

  #zero(index: number): void {
    zeroPerCpu(this.#maps.counters, index)
  }
}

function zeroPerCpu(map: KernelMap, index: number): void {
  const key = new Uint8Array(map.keySize)
  map.keyCodec.encode(index, key)
  const now = map.raw.get(key)
  if (now !== undefined) map.raw.set(key, new Uint8Array(now.length))
}
