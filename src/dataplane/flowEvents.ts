/**
 * What the programs tell of flows, for as long as somebody watches: the ring buffer is open and the
 * row of `watchers` says what to tell. An agent that dies is watched for no more within seconds.
 */
import { RingBuffer, type Value } from 'libbpf-ts'
import { fromNumber, fromWords, rangeWords } from '../model/address.js'
import {
  DEFAULT_EVENT_RATE,
  type FlowEvent,
  flowEventKinds,
  flowEventMatches,
  type FlowEventFilter,
  type FlowEventListener,
  type FlowEventRequest,
  type FlowEventSource,
} from '../model/flowEvents.js'
import type { FlowEnd } from '../model/flows.js'
import type { Path } from '../model/types.js'
import type { Installer } from './install.js'
import type { PinnedMaps } from './pinnedMaps.js'

const ALIVE_NS = 5_000_000_000n
const SIGN_MS = 1_000
/** A burst is told of, if it is no more than a tenth of a second's events. */
const MAX_WINDOWS_A_SECOND = 10
const NONE = [0, 0, 0, 0]
const PROTOCOLS: Readonly<Record<number, string>> = { 6: 'tcp', 17: 'udp' }

/** struct flow_event. */
interface EventRecord {
  readonly time_ns: bigint
  readonly duration_ns: bigint
  readonly packets_in: bigint
  readonly bytes_in: bigint
  readonly packets_out: bigint
  readonly bytes_out: bigint
  readonly client: number[]
  readonly vip: number[]
  readonly backend: number[]
  readonly client_port: number
  readonly vip_port: number
  readonly backend_port: number
  readonly protocol: number
  readonly kind: number
  readonly reason: number
  readonly path: number
  readonly observed: number
  readonly network: number
  readonly service: number
  readonly backend_id: number
  readonly lot: number
}

interface Subscription extends FlowEventRequest {
  readonly listener: FlowEventListener
  readonly sinceNs: bigint
  readonly oneIn: number
  readonly rate: number
}

/** What all of them together ask the programs for. */
interface Asked {
  kinds: number
  oneIn: number
  rate: number
  service: number
  backend: number
  client: readonly number[]
  mask: readonly number[]
}

export interface FlowEventParts {
  readonly maps: PinnedMaps
  readonly installer: Installer
  readonly hz: number
  readonly onError: (error: unknown) => void
}

export class KernelFlowEvents implements FlowEventSource {
  readonly #parts: FlowEventParts
  readonly #subscriptions = new Set<Subscription>()
  #ring: RingBuffer<Value> | undefined
  #timer: NodeJS.Timeout | undefined
  #lost = 0

  constructor(parts: FlowEventParts) {
    this.#parts = parts
    this.#tell(undefined)
  }

  subscribe(request: FlowEventRequest, listener: FlowEventListener): () => void {
    const subscription: Subscription = {
      ...request,
      listener,
      sinceNs: process.hrtime.bigint(),
      oneIn: Math.max(1, Math.floor(request.oneIn ?? 1)),
      rate: Math.max(1, Math.floor(request.rate ?? DEFAULT_EVENT_RATE)),
    }
    this.#subscriptions.add(subscription)
    this.#update()
    return () => {
      if (this.#subscriptions.delete(subscription)) this.#update()
    }
  }

  close(): void {
    this.#subscriptions.clear()
    this.#update()
  }

  /** After a change of who subscribes, and now and then: services get ids when they appear. */
  #update(): void {
    if (this.#subscriptions.size === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
      this.#ring?.close()
      this.#ring = undefined
      this.#tell(undefined)
      return
    }
    if (this.#ring === undefined) {
      const { maps } = this.#parts
      this.#lost = this.#readLost()
      const deliver = (record: Value) => this.#deliver(record as unknown as EventRecord)
      this.#ring = new RingBuffer(maps.get('flow_events'), deliver, { codec: maps.flowEvent })
      this.#timer = setInterval(() => this.#sign(), SIGN_MS)
      this.#timer.unref()
    }
    this.#tell(this.#asked())
  }

  #sign(): void {
    try {
      this.#tell(this.#asked())
      const lost = this.#readLost()
      const count = lost - this.#lost
      this.#lost = lost
      if (count > 0) for (const { listener } of this.#subscriptions) listener.lost(count)
    } catch (error) {
      this.#parts.onError(error)
    }
  }

  #tell(asked: Asked | undefined): void {
    const { maps, hz } = this.#parts
    const window = rateWindow(asked?.rate ?? 0, hz)
    maps.get('watchers').set(0, {
      until_ns: asked === undefined ? 0n : process.hrtime.bigint() + ALIVE_NS,
      kinds: asked?.kinds ?? 0,
      one_in: asked?.oneIn ?? 1,
      window_jiffies: window.jiffies,
      window_events: window.events,
      service: asked?.service ?? 0,
      backend: asked?.backend ?? 0,
      client: [...(asked?.client ?? NONE)],
      client_mask: [...(asked?.mask ?? NONE)],
    })
  }

  /** What they have in common is told apart by the programs, all else here. */
  #asked(): Asked {
    const all = [...this.#subscriptions]
    const common = <T>(pick: (one: Subscription) => T | undefined): T | undefined => {
      const [first, ...others] = all.map(pick)
      return others.every((other) => other === first) ? first : undefined
    }
    const kinds = all.reduce((bits, { filter }) => bits | this.#kindBits(filter), 0)
    const service = common(({ filter }) => this.#serviceId(filter)) ?? 0
    const shared = common(({ filter }) => filter.client?.within?.toString()) !== undefined
    const within = shared ? all[0]?.filter.client?.within : undefined
    const { base: client, mask } = within ? rangeWords(within) : { base: NONE, mask: NONE }
    return {
      kinds,
      service,
      // A refusal has no backend, and is not asked for with one.
      backend: common(({ filter }) => this.#backendId(filter, service)) ?? 0,
      oneIn: all.map(({ oneIn }) => oneIn).reduce(commonDivisor),
      rate: Math.max(...all.map(({ rate }) => rate)),
      ...{ client, mask },
    }
  }

  #kindBits({ kinds = flowEventKinds }: FlowEventFilter): number {
    const { watchKinds } = this.#parts.maps.constants
    return kinds.reduce((bits, kind) => bits | (1 << watchKinds.indexOf(kind)), 0)
  }

  /** undefined: any, or more than one. */
  #serviceId({ service, network }: FlowEventFilter): number | undefined {
    if (service === undefined) return undefined
    const { services } = this.#parts.installer.ids
    const key = service.includes('/') || network === undefined ? service : `${network}/${service}`
    if (key.includes('/')) return services.get(key)
    const ids = [...services.entries()].filter(([name]) => name.endsWith(`/${key}`))
    return ids.length === 1 ? ids[0]?.[1] : undefined
  }

  #backendId({ backend }: FlowEventFilter, service: number): number | undefined {
    const within = backend?.within
    if (within === undefined || service === 0 || within.size !== 1n) return undefined
    return this.#parts.installer.ids.backends.get(service, fromNumber(within.first, within.family))
  }

  #deliver(record: EventRecord): void {
    let event: FlowEvent | undefined
    for (const { filter, listener, oneIn, sinceNs } of this.#subscriptions) {
      if (record.time_ns < sinceNs || record.lot % oneIn !== 0) continue
      event ??= this.#eventOf(record)
      if (flowEventMatches(event, filter)) listener.event(event)
    }
  }

  #eventOf(record: EventRecord): FlowEvent {
    const { installer, maps } = this.#parts
    const { watchKinds, dropReasons, ends, paths } = maps.constants
    const { service, network, observed } = record
    const kind = flowEventKinds.find((one) => one === watchKinds[record.kind]) ?? 'dropped'
    const reasons = kind === 'refused' || kind === 'dropped' ? dropReasons : ends
    const key = installer.ids.services.keyOf(service)
    const networkName = installer.ids.networks.keyOf(network)
    const client = endOf(record.client, record.client_port)
    const backend = this.#backendOf(record)
    return {
      time: wallTime(record.time_ns),
      kind,
      path: (paths[record.path] ?? 'tc') as Path,
      protocol: PROTOCOLS[record.protocol] ?? String(record.protocol),
      ...(client && { client }),
      vip: { address: fromWords(record.vip), port: record.vip_port },
      ...(backend && { backend }),
      ...(key !== undefined && { service: key }),
      ...(networkName !== undefined && { network: networkName }),
      ...(kind !== 'opened' && { reason: reasons[record.reason] ?? 'unknown' }),
      ...(observed === 1 && {
        durationSeconds: Number(record.duration_ns) / 1e9,
        packetsIn: Number(record.packets_in),
        bytesIn: Number(record.bytes_in),
        packetsOut: Number(record.packets_out),
        bytesOut: Number(record.bytes_out),
      }),
    }
  }

  /** One that has gone has no address in the kernel, but for a while a name here. */
  #backendOf({ backend, backend_port: port, backend_id: id, service }: EventRecord) {
    const end = endOf(backend, port)
    if (end !== undefined || id === 0) return end
    const known = this.#parts.installer.ids.backends.backendOf(id)
    return known?.service === service ? { address: known.address, port } : undefined
  }

  #readLost(): number {
    let lost = 0n
    for (const [, perCpu] of this.#parts.maps.get('unwatched').entriesPerCpu())
      for (const count of perCpu as bigint[]) lost += count
    return Number(lost)
  }
}

/**
 * As often in a second as divides the rate, so that no more is told than was asked for.
 *
 * @param rate whole events in a second
 */
export function rateWindow(rate: number, hz: number): { jiffies: number; events: number } {
  let windows = MAX_WINDOWS_A_SECOND
  while (rate % windows !== 0) windows--
  return { jiffies: Math.ceil(hz / windows), events: rate / windows }
}

function endOf(words: readonly number[], port: number): FlowEnd | undefined {
  if (words.every((word) => word === 0)) return undefined
  return { address: fromWords(words), port }
}

/** Of CLOCK_MONOTONIC. */
function wallTime(ns: bigint): string {
  const ageMs = Number(process.hrtime.bigint() - ns) / 1e6
  const nowMs = performance.timeOrigin + performance.now()
  const us = Math.round((nowMs - ageMs) * 1000)
  const text = new Date(Math.floor(us / 1000)).toISOString()
  return text.replace('Z', `${String(us % 1000).padStart(3, '0')}Z`)
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b)
}
