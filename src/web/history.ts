/** What was seen since the page was opened: nothing is made up for the time before, or for gaps. */
import type { LiveRates, RateView } from '../api/liveSchema.js'

/** Ten minutes at two seconds. */
const LENGTH = 300
/** Of one service, for the small line in the list. */
export const BRIEF = 45

const nothing: RateView = {
  ...{ packetsIn: 0, bytesIn: 0, packetsOut: 0, bytesOut: 0 },
  ...{ connections: 0, active: 0 },
}

function sumOf(one: RateView, other: RateView): RateView {
  return {
    packetsIn: one.packetsIn + other.packetsIn,
    bytesIn: one.bytesIn + other.bytesIn,
    packetsOut: one.packetsOut + other.packetsOut,
    bytesOut: one.bytesOut + other.bytesOut,
    connections: one.connections + other.connections,
    active: one.active + other.active,
  }
}

export class History {
  /** Seconds since the epoch. */
  readonly times: number[] = []
  readonly #columns = new Map<string, (number | null)[]>()
  readonly #brief = new Map<string, number[]>()
  /** Whose backends are recorded. */
  #service: string | undefined

  /** Backends of another service: what was recorded of the former ones goes. */
  watch(service: string | undefined): void {
    if (service === this.#service) return
    this.#service = service
    for (const name of this.#columns.keys())
      if (!name.startsWith('total.')) this.#columns.delete(name)
  }

  add(rates: LiveRates): void {
    const time = Date.parse(rates.at) / 1000
    const last = this.times.at(-1)
    // The first after a connection may be the last of the one before.
    if (last !== undefined && time <= last) return
    // A lost connection is a gap, not a line through it.
    if (last !== undefined && time - last > rates.seconds * 2.5) this.#push(last + 0.1, new Map())
    const found = new Map<string, number>()
    const put = (prefix: string, rate: RateView): void => {
      found.set(`${prefix}.connections`, rate.connections)
      found.set(`${prefix}.active`, rate.active)
      found.set(`${prefix}.in`, rate.bytesIn * 8)
      found.set(`${prefix}.out`, rate.bytesOut * 8)
    }
    put('total', rates.total)
    found.set(
      'total.drops',
      rates.drops.reduce((sum, { perSecond }) => sum + perSecond, 0),
    )
    if (this.#service !== undefined && rates.backends) {
      // By its backends: it may not be among the busiest, which alone are listed.
      put('service', rates.backends.reduce(sumOf, nothing))
      if (rates.handshake) {
        found.set('service.median', rates.handshake.medianSeconds)
        found.set('service.p90', rates.handshake.p90Seconds)
      }
      for (const backend of rates.backends) put(`backend.${backend.backend}`, backend)
    }
    this.#push(time, found)
    this.#addBrief(rates)
  }

  column(name: string): (number | null)[] {
    return this.#columns.get(name) ?? this.times.map(() => null)
  }

  /** The times from the first on at which one of the columns is known, and as much of the columns. */
  known(names: readonly string[]): { times: number[]; columns: (number | null)[][] } {
    const columns = names.map((name) => this.column(name))
    const found = this.times.findIndex((_, at) => columns.some((column) => column[at] !== null))
    const first = found < 0 ? this.times.length : found
    return {
      times: this.times.slice(first),
      columns: columns.map((column) => column.slice(first)),
    }
  }

  /** New connections in a second, the newest last; empty for a service that was never busy. */
  brief(service: string): readonly number[] {
    return this.#brief.get(service) ?? []
  }

  #push(time: number, found: ReadonlyMap<string, number>): void {
    for (const name of found.keys())
      if (!this.#columns.has(name))
        this.#columns.set(
          name,
          this.times.map(() => null),
        )
    this.times.push(time)
    for (const [name, column] of this.#columns) {
      column.push(found.get(name) ?? null)
      column.splice(0, column.length - LENGTH)
    }
    this.times.splice(0, this.times.length - LENGTH)
  }

  #addBrief({ services }: LiveRates): void {
    const busy = new Map(services.map(({ service, connections }) => [service, connections]))
    for (const service of busy.keys()) if (!this.#brief.has(service)) this.#brief.set(service, [])
    for (const [service, values] of this.#brief) {
      values.push(busy.get(service) ?? 0)
      values.splice(0, values.length - BRIEF)
    }
  }
}
