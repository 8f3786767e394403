/** Rows of backends, added up to rows of services as a whole: one for each service, path and part. */
import type { BackendCounters, BackendEnds, Counters, Handshakes } from './readback.js'
import type { Path, ServiceKey } from './types.js'

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] }

/** A few rows for each service, by hand: keys that are strings cost more than what is added. */
class Sums<T extends { readonly path: Path }> {
  readonly #of = new Map<ServiceKey, T[]>()

  find(service: ServiceKey, is: (one: T) => boolean): T | undefined {
    return this.#of.get(service)?.find(is)
  }

  push(service: ServiceKey, sum: T): void {
    const own = this.#of.get(service)
    if (own === undefined) this.#of.set(service, [sum])
    else own.push(sum)
  }

  rows(): T[] {
    return [...this.#of.values()].flat()
  }
}

const NOTHING: Counters = {
  packetsIn: 0,
  bytesIn: 0,
  packetsOut: 0,
  bytesOut: 0,
  connections: 0,
}

export class CounterSums {
  readonly #sums = new Sums<Mutable<BackendCounters>>()

  add(row: BackendCounters): void {
    let sum = this.#sums.find(row.service, ({ path }) => path === row.path)
    if (sum === undefined) {
      sum = { service: row.service, path: row.path, ...NOTHING }
      this.#sums.push(row.service, sum)
    }
    addCounters(sum, row)
    if (row.active !== undefined) sum.active = (sum.active ?? 0) + row.active
    if (row.inactive !== undefined) sum.inactive = (sum.inactive ?? 0) + row.inactive
  }

  rows(): BackendCounters[] {
    return this.#sums.rows()
  }
}

/** Adds a row's five counters to those of a sum. */
export function addCounters(sum: Mutable<Counters>, row: Counters): void {
  sum.packetsIn += row.packetsIn
  sum.bytesIn += row.bytesIn
  sum.packetsOut += row.packetsOut
  sum.bytesOut += row.bytesOut
  sum.connections += row.connections
}

export class EndSums {
  readonly #sums = new Sums<Omit<BackendEnds, 'ends'> & { readonly ends: [string, number][] }>()

  add({ service, path, ends }: BackendEnds): void {
    let sum = this.#sums.find(service, (one) => one.path === path)
    if (sum === undefined) this.#sums.push(service, (sum = { service, path, ends: [] }))
    for (const [reason, count] of ends) {
      const same = sum.ends.find(([one]) => one === reason)
      if (same === undefined) sum.ends.push([reason, count])
      else same[1] += count
    }
  }

  rows(): BackendEnds[] {
    return this.#sums.rows()
  }
}

export class HandshakeSums {
  readonly #sums = new Sums<Omit<Mutable<Handshakes>, 'counts'> & { readonly counts: number[] }>()

  add({ service, path, part, sumSeconds, counts }: Handshakes): void {
    const sum = this.#sums.find(service, (one) => one.path === path && one.part === part)
    if (sum === undefined) {
      this.#sums.push(service, { service, path, part, sumSeconds, counts: [...counts] })
      return
    }
    sum.sumSeconds += sumSeconds
    for (const [at, count] of counts.entries()) sum.counts[at] = (sum.counts[at] ?? 0) + count
  }

  rows(): Handshakes[] {
    return this.#sums.rows()
  }
}
