/**
 * How long flows go on to a backend that takes no more: one that drains, or that its service has
 * lost. When the clock began is in a map of its own, so that an agent that comes later goes on with
 * it; the programs do not read that. The clock stands still for nobody: it is CLOCK_MONOTONIC, which
 * like the maps ends with the host.
 */
import type { BackendPlan } from './rows.js'
import type { HashTable } from './hashTable.js'

export interface DrainRow {
  readonly since_ns: bigint
  /** Flows of that incarnation end. Another one than the backend's row has: they have ended. */
  readonly incarnation: number
}

interface Deadline {
  readonly service: string
  readonly atNs: bigint
}

const NS = 1_000_000_000

export class Drains {
  readonly #table: HashTable
  readonly #defaultSeconds: number | undefined
  readonly #now: () => bigint
  /** Backend id → when its flows end; those alone that have not. */
  readonly #deadlines = new Map<number, Deadline>()

  /**
   * @param table          the rows of `drains`
   * @param defaultSeconds for services that do not say; absent: those that drain have no deadline,
   *                       and those that are removed no respite
   * @param now            CLOCK_MONOTONIC, in nanoseconds
   */
  constructor(
    table: HashTable,
    defaultSeconds?: number,
    now: () => bigint = process.hrtime.bigint.bind(process.hrtime),
  ) {
    this.#table = table
    this.#defaultSeconds = defaultSeconds
    this.#now = now
  }

  /** How long flows of the service may go on; undefined: see the constructor. */
  secondsOf({ drainSeconds }: { readonly drainSeconds?: number }): number | undefined {
    return drainSeconds ?? this.#defaultSeconds
  }

  /** Has its time run out, and are its flows of `incarnation` still to be ended? */
  isOver(id: number, incarnation: number, seconds: number | undefined): boolean {
    const row = this.#row(id)
    if (row?.incarnation !== incarnation || seconds === undefined) return false
    return this.#now() >= deadline(row, seconds)
  }

  /** May a backend that its service has lost still have flows? */
  mayLinger({ id, down }: BackendPlan, incarnation: number, seconds: number | undefined): boolean {
    if (down || seconds === undefined || seconds === 0) return false
    const row = this.#row(id)
    if (row === undefined) return true
    return row.incarnation === incarnation && this.#now() < deadline(row, seconds)
  }

  /**
   * Starts the clock of a backend that takes no more, unless it runs; stops that of one that does.
   *
   * @param service key of the service, for due()
   * @param seconds absent: there is no deadline, but the setting may come
   * @returns what puts it back; absent if there is nothing to be put back
   */
  follow(
    { id, draining }: BackendPlan,
    incarnation: number,
    service: string,
    seconds: number | undefined,
  ): (() => void) | undefined {
    // Most backends never drain, and a look into the table is not for nothing.
    if (!draining && this.#table.size === 0) return undefined
    const before = this.#row(id)
    const due = this.#deadlines.get(id)
    if (!draining && before === undefined) return undefined
    const row = before ?? { since_ns: this.#now(), incarnation }
    if (!draining) this.#table.delete(this.#table.find(id))
    else if (before === undefined) this.#table.put(id, { ...row, pad: 0 })
    this.#deadlines.delete(id)
    if (draining && seconds !== undefined && row.incarnation === incarnation)
      this.#deadlines.set(id, { service, atNs: deadline(row, seconds) })
    return () => {
      if (before === undefined) this.#table.delete(this.#table.find(id))
      else this.#table.put(id, { ...before, pad: 0 })
      if (due === undefined) this.#deadlines.delete(id)
      else this.#deadlines.set(id, due)
    }
  }

  /** The backend's row is gone. */
  forget(id: number): void {
    if (this.#table.size === 0) return
    this.#table.delete(this.#table.find(id))
    this.#deadlines.delete(id)
  }

  /** Milliseconds until due() has something; undefined: nothing is waited for. */
  get dueMs(): number | undefined {
    let first: bigint | undefined
    for (const { atNs } of this.#deadlines.values())
      if (first === undefined || atNs < first) first = atNs
    if (first === undefined) return undefined
    return Math.max(0, Math.ceil(Number(first - this.#now()) / 1e6))
  }

  /** Services with a backend whose time has run out. */
  due(): Set<string> {
    const now = this.#now()
    const services = new Set<string>()
    for (const { service, atNs } of this.#deadlines.values()) if (atNs <= now) services.add(service)
    return services
  }

  /** Rows of backends that no service has. @param known whether some service has that id */
  prune(known: (id: number) => boolean): void {
    for (const row of this.#table.rows())
      if (!known(this.#table.keyAt(row) as number)) this.#table.delete(row)
  }

  #row(id: number): DrainRow | undefined {
    return this.#table.get(this.#table.find(id)) as DrainRow | undefined
  }
}

function deadline({ since_ns }: DrainRow, seconds: number): bigint {
  return since_ns + BigInt(Math.round(seconds * NS))
}
