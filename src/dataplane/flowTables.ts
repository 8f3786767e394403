/**
 * Rows of the flow tables as flows. A table may have a million rows and is filled while it is read:
 * what comes or goes meanwhile may be told or not.
 */
import { FairleadError } from '../errors.js'
import { fromWords } from '../model/address.js'
import {
  flowMatches,
  type Flow,
  type FlowEnd,
  type FlowPage,
  type FlowQuery,
  type FlowState,
} from '../model/flows.js'
import { Pace } from '../pace.js'
import type { Installer } from './install.js'
import type { Constants } from './layout.js'
import { OUTSIDE_NETWORK } from './outside.js'
import type { PinnedMaps } from './pinnedMaps.js'
import type { Timers } from './programs.js'
import { IPPROTO } from './rows.js'
import type { KernelMap } from './tables.js'

const TABLES = ['flows4', 'flows6', 'snats', 'embryonic4', 'embryonic6', 'embryonic_snats'] as const
/** Some 5 ms of work, and more than any bucket holds. */
const BATCH = 1024
/** A page that finds little ends all the same: somebody waits for an answer. */
const ROWS_A_PAGE = 100_000
const MAPPED = 0xffff
/** As in bpf/flow.h: what seems to idle longer is ahead of the clock. */
const LONGEST_IDLE = 0xf0000000

/** The kernel's tick. */
export interface JiffiesClock {
  readonly hz: number
  /** Low 32 bits; undefined while not known. */
  now(): number | undefined
}

export interface FlowTablesParts {
  readonly maps: PinnedMaps
  readonly installer: Installer
  readonly timers: Timers
  readonly clock: JiffiesClock
  /** When others get their turn. */
  readonly pace?: () => Pace
}

interface FlowRow {
  vip_port: number
  client_port: number
  backend_port: number
  flags: number
  service: number
  backend: number
  incarnation: number
  last_seen: number
}

interface FlowRecord {
  readonly row: FlowRow
  readonly protocol: number
  readonly path: Flow['path']
  readonly vip: string
  readonly client: string
  /** The client's side as the backend sees it. */
  readonly seenAs: FlowEnd
}

type Fields = Readonly<Record<string, number | number[] | FlowRow>>

export class FlowTables {
  readonly #parts: FlowTablesParts

  constructor(parts: FlowTablesParts) {
    this.#parts = parts
  }

  /**
   * Others run meanwhile.
   *
   * @throws FairleadError VALUE for a cursor that is none
   */
  async page({ filter, limit, cursor }: FlowQuery): Promise<FlowPage> {
    const pace = this.#parts.pace?.() ?? new Pace()
    const now = this.#parts.clock.now()
    const flows: Flow[] = []
    let [at, place] = parseCursor(cursor)
    let left = ROWS_A_PAGE
    for (let name = TABLES[at]; name !== undefined; name = TABLES[at]) {
      if (flows.length >= limit || left <= 0) return { flows, next: cursorText(at, place) }
      const map = this.#parts.maps.get(name)
      if (place !== undefined && place.length !== Math.max(map.keySize, 8)) throw noCursor(cursor)
      // Good until the next batch of any map, so it is used up before others run.
      const batch = map.raw.lookupBatch(place, BATCH, false)
      for (const flow of this.#flowsOf(name, map, batch, now))
        if (flowMatches(flow, filter)) flows.push(flow)
      left -= batch.count
      place = batch.next
      if (place === undefined) at++
      if (pace.due) await pace.rest()
    }
    return { flows }
  }

  *#flowsOf(
    name: (typeof TABLES)[number],
    map: KernelMap,
    { keys, values, count }: { keys: Uint8Array; values: Uint8Array; count: number },
    now: number | undefined,
  ): Generator<Flow> {
    const { direct } = this.#parts.maps.constants.flow
    const record = name.endsWith('snats') ? snatRecord : flowRecord
    for (let i = 0; i < count; i++) {
      const value = map.valueCodec.decode(
        values.subarray(i * map.valueSize, (i + 1) * map.valueSize),
      ) as Fields
      // Dialled without a VIP.
      if (((value['flow'] as FlowRow).flags & direct) !== 0) continue
      const key = map.keyCodec.decode(
        keys.subarray(i * map.keySize, (i + 1) * map.keySize),
      ) as Fields
      yield this.#flow(record(key, value), now)
    }
  }

  #flow({ row, protocol, path, vip, client, seenAs }: FlowRecord, now: number | undefined): Flow {
    const { installer, maps } = this.#parts
    const { flow: flags } = maps.constants
    const backend = this.#backend(row)
    // A backend that reaches itself sees the VIP as its client.
    const address = (row.flags & flags.hairpin) === 0 ? client : (backend?.address ?? client)
    const service = installer.ids.services.keyOf(row.service)
    const other = seenAs.port !== row.client_port || seenAs.address !== address
    return {
      path,
      protocol: protocol === IPPROTO.tcp ? 'tcp' : 'udp',
      state: this.#state(row, protocol),
      ...(now !== undefined && { expiresSeconds: this.#expires(row, protocol, now) }),
      client: { address, port: row.client_port },
      vip: { address: vip, port: row.vip_port },
      ...(backend && { backend }),
      ...(service !== undefined && { service }),
      ...(other && { seenAs }),
    }
  }

  #backend(row: FlowRow): FlowEnd | undefined {
    const { ids, tables } = this.#parts.installer
    const backend = ids.backends.backendOf(row.backend)
    if (backend?.service !== row.service) return undefined
    if (tables.backends.get(row.backend)?.incarnation !== row.incarnation) return undefined
    return { address: backend.address, port: row.backend_port }
  }

  #state({ flags }: FlowRow, protocol: number): FlowState {
    return flowState(flags, protocol, this.#parts.maps.constants.flow)
  }

  #expires(row: FlowRow, protocol: number, now: number): number {
    const { clock } = this.#parts
    const idle = (now - row.last_seen) >>> 0
    const left = this.#timeout(row, protocol) - (idle < LONGEST_IDLE ? idle : 0)
    return Math.max(0, Math.round((left / clock.hz) * 10) / 10)
  }

  /** flow_timeout() of bpf/flow.h, in jiffies. */
  #timeout(row: FlowRow, protocol: number): number {
    const { timers, clock, installer } = this.#parts
    const own = installer.tables.timers.get(row.service)
    const pick = (jiffies: number | undefined, seconds: number) =>
      jiffies === undefined || jiffies === 0 ? seconds * clock.hz : jiffies
    const state = this.#state(row, protocol)
    if (state === 'UDP') return pick(own?.udp_jiffies, timers.udpSeconds)
    if (state === 'CLOSE' || state === 'TIME_WAIT')
      return pick(own?.closing_jiffies, timers.tcpClosingSeconds)
    const { established } = this.#parts.maps.constants.flow
    if ((row.flags & established) !== 0)
      return pick(own?.established_jiffies, timers.tcpEstablishedSeconds)
    return pick(own?.syn_jiffies, timers.tcpSynSeconds)
  }
}

/** @param words enum flow_flag */
export function flowState(flags: number, protocol: number, words: Constants['flow']): FlowState {
  if (protocol !== IPPROTO.tcp) return 'UDP'
  if ((flags & words.reset) !== 0) return 'CLOSE'
  const [client, backend] = [(flags & words.finClient) !== 0, (flags & words.finBackend) !== 0]
  if (client) return backend ? 'TIME_WAIT' : 'FIN_WAIT'
  if (backend) return 'CLOSE_WAIT'
  return (flags & words.established) !== 0 ? 'ESTABLISHED' : 'SYN_RECV'
}

function flowRecord(key: Fields, value: Fields): FlowRecord {
  const client = addressOf(key['client'])
  const row = value['flow'] as FlowRow
  return {
    row,
    protocol: key['protocol'] as number,
    path: key['network'] === OUTSIDE_NETWORK ? 'xdp' : 'tc',
    vip: addressOf(value['vip']),
    client,
    seenAs: { address: client, port: key['client_port'] as number },
  }
}

function snatRecord(key: Fields, value: Fields): FlowRecord {
  return {
    row: value['flow'] as FlowRow,
    protocol: key['protocol'] as number,
    path: 'xdp',
    vip: addressOf(value['vip']),
    client: addressOf(value['client']),
    seenAs: { address: addressOf(key['source']), port: key['source_port'] as number },
  }
}

function addressOf(words: Fields[string] | undefined): string {
  return fromWords(typeof words === 'number' ? [0, 0, MAPPED, words] : (words as number[]))
}

/** `table.place`, the place as the kernel gave it. */
function cursorText(at: number, place: Uint8Array | undefined): string {
  return `${at}.${place === undefined ? '' : Buffer.from(place).toString('hex')}`
}

function parseCursor(text: string | undefined): [number, Uint8Array | undefined] {
  if (text === undefined) return [0, undefined]
  const [, at, place = ''] = /^([0-5])\.((?:[0-9a-f]{2})*)$/.exec(text) ?? []
  if (at === undefined) throw noCursor(text)
  return [Number(at), place === '' ? undefined : new Uint8Array(Buffer.from(place, 'hex'))]
}

function noCursor(text: string | undefined): FairleadError {
  return new FairleadError('VALUE', `cursor: not one that an answer had: ${text ?? ''}`)
}
