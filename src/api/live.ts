/**
 * What goes on, for those who follow it: one sampler reads the kernel at a fixed pace for all of them
 * together, and not at all while nobody does.
 */
import { FairleadError } from '../errors.js'
import { HANDSHAKE_BOUNDS_SECONDS } from '../model/handshakes.js'
import type { BackendCounters, Handshakes, Readback, ReasonCount } from '../model/readback.js'
import type { State } from '../model/types.js'
import { Pace } from '../pace.js'
import type { EventStream } from './eventStream.js'
import type { Journal } from './journal.js'
import type { HandshakeView, LiveRates, LiveState, RateView } from './liveSchema.js'
import { quantile } from './quantile.js'
import { backendStates } from './views.js'

const INTERVAL_MS = 2_000
/** Each is a connection and a text every two seconds. */
const MAX_LISTENERS = 32
/** Of the busiest: some 60 kB a message. */
const MAX_SERVICES = 500

export interface LiveOptions {
  readonly node: string
  readonly version: string
  readonly readback: Readback
  readonly state: () => State
  /** Revision that both the kernel and DNS hold. */
  readonly answering: () => number
  readonly journal: Journal
  /** Absent: two seconds. */
  readonly intervalMs?: number
  readonly onError?: (error: unknown) => void
}

interface Listener {
  readonly stream: EventStream
  /** Whose backends it wants. */
  readonly service: string | undefined
  /** The last state that it was sent. */
  state: string
}

/** Totals of one moment: service → over all, and by backend. */
interface Sample {
  readonly atMs: number
  readonly at: Date
  readonly services: ReadonlyMap<string, Tally>
  readonly drops: readonly ReasonCount[]
  /** Of services whose backends somebody wants: service → backend → counts by bucket. */
  readonly handshakes: Histograms
}

type Histograms = ReadonlyMap<string, ReadonlyMap<string, readonly number[]>>

interface Tally {
  readonly sum: Totals
  readonly backends: Map<string, Totals>
}

type Totals = { -readonly [Name in keyof RateView]: number }

interface Rates {
  readonly id: number
  readonly common: Omit<LiveRates, 'backends'>
  readonly text: string
}

export class Live {
  readonly #options: LiveOptions
  readonly #listeners = new Set<Listener>()
  readonly #started = new Date(Date.now() - process.uptime() * 1000).toISOString()
  #timer: NodeJS.Timeout | undefined
  #stopJournal: (() => void) | undefined
  #samples: { readonly before: Sample; readonly after: Sample } | undefined
  #last: Sample | undefined
  #rates: Rates | undefined
  #id = 0
  #sampling = false

  constructor(options: LiveOptions) {
    this.#options = options
  }

  /** How many follow. */
  get listeners(): number {
    return this.#listeners.size
  }

  /** @throws FairleadError BUSY if no more may follow */
  admit(): void {
    if (this.#listeners.size >= MAX_LISTENERS)
      throw new FairleadError('BUSY', `${MAX_LISTENERS} follow already`)
  }

  /**
   * Sends what there is at once, and what comes until the stream is closed.
   *
   * @param service `network/service`, whose backends are wanted
   */
  follow(stream: EventStream, service?: string): void {
    const listener: Listener = { stream, service, state: '' }
    this.#listeners.add(listener)
    stream.onClose(() => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) this.#rest()
    })
    this.#sendState(listener, this.#stateText())
    stream.send('changes', this.#id, { changes: this.#options.journal.newestFirst() })
    if (this.#rates) this.#sendRates(listener, this.#rates)
    if (this.#timer === undefined) this.#wake()
  }

  #wake(): void {
    this.#stopJournal = this.#options.journal.onChanges((changes) => {
      const text = JSON.stringify({ changes: changes.toReversed() })
      for (const { stream } of this.#listeners) stream.sendText('changes', ++this.#id, text)
    })
    const tick = (): void => {
      this.#tick().catch((error: unknown) => this.#options.onError?.(error))
    }
    this.#timer = setInterval(tick, this.#options.intervalMs ?? INTERVAL_MS)
    tick()
  }

  /** What was read is too old for rates when somebody comes again. */
  #rest(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#stopJournal?.()
    this.#last = this.#samples = this.#rates = undefined
  }

  async #tick(): Promise<void> {
    const state = this.#stateText()
    for (const listener of this.#listeners) this.#sendState(listener, state)
    if (this.#sampling) return
    this.#sampling = true
    try {
      const after = await this.#sample()
      const before = this.#last
      if (this.#timer === undefined) return
      this.#last = after
      if (before === undefined) return
      this.#samples = { before, after }
      this.#rates = { id: ++this.#id, ...ratesOf(before, after) }
      for (const listener of this.#listeners) this.#sendRates(listener, this.#rates)
    } finally {
      this.#sampling = false
    }
  }

  async #sample(): Promise<Sample> {
    const { readback } = this.#options
    const rows = await readback.counters()
    const [atMs, at] = [performance.now(), new Date()]
    const wanted = new Set([...this.#listeners].flatMap(({ service }) => service ?? []))
    const handshakes = await Promise.all([...wanted].map((service) => readback.handshakes(service)))
    return {
      ...{ atMs, at, services: await tallies(rows), drops: readback.drops() },
      handshakes: histograms(handshakes.flat()),
    }
  }

  #stateText(): string {
    const { node, version, readback, answering } = this.#options
    const { revision: desired, services, networks, problems } = this.#options.state()
    const { revision: applied, lastError } = readback.reconcile()
    const state: LiveState = {
      ...{ node, version, started: this.#started },
      revision: { desired, applied, answering: answering() },
      ...{ services: services.size, networks: networks.size, problems: problems.length },
      backends: this.#backendStates(),
      ...(lastError !== undefined && { lastError }),
    }
    return JSON.stringify(state)
  }

  #counted: { readonly services: unknown; readonly states: LiveState['backends'] } | undefined

  /** Counted once a state. */
  #backendStates(): LiveState['backends'] {
    const { services } = this.#options.state()
    if (this.#counted?.services !== services)
      this.#counted = {
        services,
        states: backendStates([...services.values()].flatMap(({ backends }) => backends)),
      }
    return this.#counted.states
  }

  #sendState(listener: Listener, text: string): void {
    if (listener.state === text) return
    listener.state = text
    listener.stream.sendText('state', ++this.#id, text)
  }

  #sendRates({ stream, service }: Listener, { id, common, text }: Rates): void {
    const samples = this.#samples
    if (service === undefined || samples === undefined) {
      stream.sendText('rates', id, text)
      return
    }
    const of = ({ services }: Sample): ReadonlyMap<string, Totals> =>
      services.get(service)?.backends ?? new Map<string, Totals>()
    const earlier = of(samples.before)
    const timed = timedBetween(samples.before, samples.after, service)
    const backends = [...of(samples.after)].map(([backend, now]) => ({
      ...{ backend, ...rateBetween(earlier.get(backend), now, common.seconds) },
      ...handshakeOf([timed.get(backend) ?? []]),
    }))
    stream.send('rates', id, { ...common, backends, ...handshakeOf([...timed.values()]) })
  }
}

const growing = ['packetsIn', 'bytesIn', 'packetsOut', 'bytesOut', 'connections'] as const

function nothing(): Totals {
  return { packetsIn: 0, bytesIn: 0, packetsOut: 0, bytesOut: 0, connections: 0, active: 0 }
}

async function tallies(rows: readonly BackendCounters[]): Promise<Map<string, Tally>> {
  const found = new Map<string, Tally>()
  const pace = new Pace()
  for (const row of rows) {
    if (pace.due) await pace.rest()
    let tally = found.get(row.service)
    if (!tally) found.set(row.service, (tally = { sum: nothing(), backends: new Map() }))
    const address = row.backend ?? ''
    let backend = tally.backends.get(address)
    if (!backend) tally.backends.set(address, (backend = nothing()))
    for (const totals of [tally.sum, backend]) {
      for (const name of growing) totals[name] += row[name]
      totals.active += row.active ?? 0
    }
  }
  return found
}

/** Counters that fell began anew: all that they have is from in between. */
function rateBetween(before: Totals | undefined, now: Totals, seconds: number): RateView {
  const rate = nothing()
  for (const name of growing) {
    const grown = now[name] - (before?.[name] ?? 0)
    rate[name] = rounded((grown >= 0 ? grown : now[name]) / seconds)
  }
  rate.active = now.active
  return rate
}

function histograms(rows: readonly Handshakes[]): Histograms {
  const found = new Map<string, Map<string, number[]>>()
  for (const { service, backend = '', part, counts } of rows) {
    if (part !== 'backend') continue
    let own = found.get(service)
    if (!own) found.set(service, (own = new Map<string, number[]>()))
    own.set(backend, summed([own.get(backend) ?? [], counts]))
  }
  return found
}

function summed(rows: readonly (readonly number[])[]): number[] {
  const length = Math.max(0, ...rows.map((row) => row.length))
  return Array.from({ length }, (_, at) => rows.reduce((sum, row) => sum + (row[at] ?? 0), 0))
}

/** By backend, those that were timed in between; none for a service that was not wanted before. */
function timedBetween(before: Sample, after: Sample, service: string): Map<string, number[]> {
  const earlier = before.handshakes.get(service)
  const now = earlier ? (after.handshakes.get(service) ?? []) : []
  return new Map(
    [...now].map(([backend, counts]) => {
      const old = earlier?.get(backend)
      return [backend, counts.map((count, at) => Math.max(0, count - (old?.[at] ?? 0)))]
    }),
  )
}

function handshakeOf(rows: readonly (readonly number[])[]): { handshake?: HandshakeView } {
  const counts = summed(rows)
  const medianSeconds = quantile(HANDSHAKE_BOUNDS_SECONDS, counts, 0.5)
  const p90Seconds = quantile(HANDSHAKE_BOUNDS_SECONDS, counts, 0.9)
  if (medianSeconds === undefined || p90Seconds === undefined) return {}
  const timed = counts.reduce((sum, count) => sum + count, 0)
  return { handshake: { timed, medianSeconds, p90Seconds } }
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100
}

function ratesOf(before: Sample, after: Sample): Omit<Rates, 'id'> {
  const seconds = (after.atMs - before.atMs) / 1000
  const total = nothing()
  const busy: LiveRates['services'] = []
  for (const [service, { sum }] of after.services) {
    const rate = rateBetween(before.services.get(service)?.sum, sum, seconds)
    if (Object.values(rate).every((value) => value === 0)) continue
    for (const [name, value] of Object.entries(rate)) total[name as keyof Totals] += value
    busy.push({ service, ...rate })
  }
  busy.sort((a, b) => b.bytesIn + b.bytesOut - a.bytesIn - a.bytesOut || b.active - a.active)
  const services = busy.slice(0, MAX_SERVICES)
  const common: Omit<LiveRates, 'backends'> = {
    at: after.at.toISOString(),
    ...{ seconds, total, services, omitted: busy.length - services.length },
    drops: dropRates(before.drops, after.drops, seconds),
  }
  return { common, text: JSON.stringify(common) }
}

function dropRates(
  before: readonly ReasonCount[],
  after: readonly ReasonCount[],
  seconds: number,
): LiveRates['drops'] {
  const keyOf = ({ reason, path }: ReasonCount): string => `${reason} ${path}`
  const earlier = new Map(before.map((each) => [keyOf(each), each.count]))
  return after.flatMap((each) => {
    const grown = each.count - (earlier.get(keyOf(each)) ?? 0)
    const { reason, path } = each
    return grown > 0 ? [{ reason, path, perSecond: rounded(grown / seconds) }] : []
  })
}
