/** What the kernel side has counted, under the names that the model knows. */
import type { FlowPage, FlowQuery } from '../model/flows.js'
import type {
  AttachmentInfo,
  BackendCounters,
  BackendEnds,
  Counters,
  Features,
  Handshakes,
  MapOccupancy,
  PathCounters,
  Readback,
  ReasonCount,
  ReconcileStats,
} from '../model/readback.js'
import { CounterSums } from '../model/sums.js'
import type { Path, ServiceKey } from '../model/types.js'
import { Pace } from '../pace.js'
import { FlowTables, type JiffiesClock } from './flowTables.js'
import type { Installer } from './install.js'
import type { PinnedMaps } from './pinnedMaps.js'
import { FlowTallies } from './flowTallies.js'
import { readRuns, wide } from './runs.js'
import { DEFAULT_TIMERS, type Timers } from './programs.js'
import { type CounterFields, DEPARTED } from './retirement.js'
import type { KernelMap } from './tables.js'

const BATCH = 2048
/** Two or three milliseconds' work. */
const IDS_AT_ONCE = 1024

/** Maps whose fill is worth watching: all that can run full. */
const COUNTED = [
  'vips4',
  'vips6',
  'ports4',
  'ports6',
  'services',
  'netnses',
  'resolvers',
  'names',
  'flows4',
  'flows6',
  'embryonic4',
  'embryonic6',
  'overflows',
  'snats',
  'embryonic_snats',
  'snat_clients',
  'udp_to',
  'udp_from',
] as const

export interface ReadbackParts {
  readonly maps: PinnedMaps
  readonly installer: Installer
  readonly attachments: () => AttachmentInfo[]
  readonly reconcile: () => ReconcileStats
  readonly features: Features
  /** Idle times where a service has none of its own. */
  readonly timers?: Timers
  /** Absent: it is not known when flows expire. */
  readonly clock?: JiffiesClock
  /** When others get their turn. */
  readonly pace?: () => Pace
}

export class KernelReadback implements Readback {
  readonly #parts: ReadbackParts
  readonly #flows: FlowTables
  readonly #tallies: FlowTallies

  constructor(parts: ReadbackParts) {
    this.#parts = parts
    this.#tallies = new FlowTallies({ ...parts, pace: () => this.#pace() })
    this.#flows = new FlowTables({
      ...{ timers: DEFAULT_TIMERS, clock: { hz: 1, now: () => undefined } },
      ...parts,
    })
  }

  async counters(service?: ServiceKey): Promise<BackendCounters[]> {
    if (service !== undefined) return this.#ofService(service)
    return this.#whole(
      async (pace) => {
        const all: BackendCounters[] = []
        await this.#inTurns(pace, (row) => all.push(row))
        return all
      },
      (key) => this.#ofService(key),
    )
  }

  countersOfServices(): Promise<BackendCounters[]> {
    return this.#whole(
      async (pace) => {
        const sums = new CounterSums()
        await this.#inTurns(pace, (row) => sums.add(row))
        return sums.rows()
      },
      (key) => summed(this.#ofService(key)),
    )
  }

  /** What a backend had counted may move to its service's row between two looks. */
  async #whole(
    read: (pace: Pace) => Promise<BackendCounters[]>,
    again: (service: ServiceKey) => BackendCounters[],
  ): Promise<BackendCounters[]> {
    const { ids, retirement } = this.#parts.installer
    const moved = new Set<ServiceKey>()
    const end = retirement.watch((id) => moved.add(ids.services.keyOf(id) ?? ''))
    try {
      const pace = this.#pace()
      const rows = await read(pace)
      const anew = new Map<ServiceKey, BackendCounters[]>()
      for (const key of moved) {
        moved.delete(key)
        anew.set(key, again(key))
        if (pace.due) await pace.rest()
      }
      if (anew.size === 0) return rows
      return [...rows.filter((row) => !anew.has(row.service)), ...[...anew.values()].flat()]
    } finally {
      end()
    }
  }

  #pace(): Pace {
    return this.#parts.pace?.() ?? new Pace()
  }

  async #inTurns(pace: Pace, show: (row: BackendCounters) => void): Promise<void> {
    const { ids } = this.#parts.installer
    const retired = new CounterSums()
    let some = ids.backends.after(0, IDS_AT_ONCE)
    while (some.length > 0) {
      const { rows, leaving } = this.#ofBackends(some)
      for (const row of rows) show(row)
      for (const row of leaving) retired.add(row)
      if (pace.due) await pace.rest()
      some = ids.backends.after(some.at(-1) ?? 0, IDS_AT_ONCE)
    }
    // In order: nothing that is read along with some is read with others.
    const services = [...ids.services.entries()].map(([, id]) => id).sort((a, b) => a - b)
    for (let at = 0; at < services.length; at += IDS_AT_ONCE) {
      for (const row of this.#retired(services.slice(at, at + IDS_AT_ONCE))) retired.add(row)
      if (pace.due) await pace.rest()
    }
    for (const row of retired.rows()) show(row)
  }

  #ofService(key: ServiceKey): BackendCounters[] {
    const { ids } = this.#parts.installer
    const id = ids.services.get(key)
    if (id === undefined) return []
    const { rows, leaving } = this.#ofBackends([...(ids.backends.of(id)?.values() ?? [])])
    // Those of others lie between them.
    const own = ({ service }: BackendCounters) => service === key
    return [...rows.filter(own), ...summed([...leaving.filter(own), ...this.#retired([id])])]
  }

  /** @returns rows of backends, and of those that are on their way out */
  #ofBackends(given: readonly number[]): { rows: BackendCounters[]; leaving: BackendCounters[] } {
    const { ids, retirement } = this.#parts.installer
    const rows: (BackendCounters & Gauges)[] = []
    const leaving: BackendCounters[] = []
    const counted: number[] = []
    this.#read('counters', given, (id, path, sums) => {
      const backend = ids.backends.backendOf(id)
      const service = ids.services.keyOf(backend?.service ?? 0)
      if (backend === undefined || service === undefined) return
      if (retirement.isLeaving(id)) leaving.push({ service, path, ...namedSums(sums) })
      else {
        rows.push({ service, backend: backend.address, path, ...namedSums(sums) })
        counted.push(id)
      }
    })
    this.#addActives(rows, counted)
    return { rows, leaving }
  }

  #retired(services: readonly number[]): BackendCounters[] {
    const { ids } = this.#parts.installer
    const rows: BackendCounters[] = []
    this.#read('retired', services, (id, path, sums) =>
      rows.push({ service: ids.services.keyOf(id) ?? '', path, ...namedSums(sums) }),
    )
    return rows
  }

  departed(): PathCounters[] {
    const rows: PathCounters[] = []
    this.#read('retired', [DEPARTED], (id, path, sums) => {
      if (id === DEPARTED) rows.push({ path, ...namedSums(sums) })
    })
    return rows
  }

  drops(): ReasonCount[] {
    return this.#reasons('drops', this.#parts.maps.constants.dropReasons).filter(
      ({ reason }) => reason !== 'none',
    )
  }

  events(): ReasonCount[] {
    return this.#reasons('events', this.#parts.maps.constants.events)
  }

  ends(): ReasonCount[] {
    return this.#reasons('ends', this.#parts.maps.constants.ends)
  }

  backendEnds(service?: ServiceKey): Promise<BackendEnds[]> {
    return this.#tallies.ends(service)
  }

  endsOfServices(): Promise<BackendEnds[]> {
    return this.#tallies.endsOfServices()
  }

  handshakes(service?: ServiceKey): Promise<Handshakes[]> {
    return this.#tallies.handshakes(service)
  }

  handshakesOfServices(): Promise<Handshakes[]> {
    return this.#tallies.handshakesOfServices()
  }

  lostEvents(): Readonly<Record<string, number>> {
    return this.#tallies.lostEvents()
  }

  flows(query: FlowQuery): Promise<FlowPage> {
    return this.#flows.page(query)
  }

  async occupancy(): Promise<MapOccupancy[]> {
    const { maps, installer } = this.#parts
    const present = new Map(maps.all().map((map) => [map.name, map]))
    const pace = this.#pace()
    const counted: MapOccupancy[] = []
    for (const name of COUNTED) {
      const map = present.get(name)
      if (map === undefined) continue
      counted.push({ map: name, entries: await countRows(map, pace), capacity: map.maxEntries })
    }
    const { ids, slots } = installer
    return [
      ...counted,
      { map: 'backends', entries: ids.backends.size, capacity: ids.backends.last },
      { map: 'slots', entries: slots.used, capacity: slots.size },
    ]
  }

  attachments(): AttachmentInfo[] {
    return this.#parts.attachments()
  }

  reconcile(): ReconcileStats {
    return this.#parts.reconcile()
  }

  features(): Features {
    return this.#parts.features
  }

  /** Shows the rows of these ids, and of those between them, that have counted anything. */
  #read(
    name: string,
    ids: readonly number[],
    show: (id: number, path: Path, sums: Float64Array) => void,
  ): void {
    const { maps } = this.#parts
    const paths = maps.constants.paths
    const map = maps.get(name)
    const sum = summing(map)
    for (const { first, values, count } of readRuns(map, ids, paths.length)) {
      const words = new Uint32Array(values.buffer, values.byteOffset, values.length / 4)
      const perRow = words.length / Math.max(1, count)
      for (let row = 0; row < count; row++) {
        const sums = sum(words, row * perRow, perRow)
        const path = paths[(first + row) % paths.length]
        if (sums === undefined || path === undefined) continue
        show(Math.floor((first + row) / paths.length), path as Path, sums)
      }
    }
  }

  /**
   * The socket path has a gauge of its own; tc and XDP have one together, which stands on the row of
   * the first of them.
   *
   * @param ids those of the rows, ascending
   */
  #addActives(rows: readonly (BackendCounters & Gauges)[], ids: readonly number[]): void {
    const gauge = (name: string): Map<number, number> => {
      const values = new Map<number, number>()
      for (const run of readRuns(this.#parts.maps.get(name), [...new Set(ids)], 1)) {
        const words = new Uint32Array(run.values.buffer, run.values.byteOffset, run.count * 2)
        for (let row = 0; row < run.count; row++) {
          const live = wide(words, row * 2)
          if (live > 0) values.set(run.first + row, live)
        }
      }
      return values
    }
    const [all, socks] = [gauge('actives'), gauge('sock_actives')]
    const ended = gauge('inactives')
    let told = -1
    rows.forEach((row, i) => {
      const id = ids[i] ?? 0
      const sock = socks.get(id) ?? 0
      if (row.path === 'sock') row.active = sock
      else {
        row.active = told === id ? 0 : Math.max(0, (all.get(id) ?? 0) - sock)
        row.inactive = told === id ? 0 : (ended.get(id) ?? 0)
        told = id
      }
    })
  }

  #reasons(name: string, reasons: readonly string[]): ReasonCount[] {
    const { maps } = this.#parts
    const paths = maps.constants.paths
    const counts: ReasonCount[] = []
    for (const [index, perCpu] of maps.get(name).entriesPerCpu()) {
      const reason = reasons[Math.floor(Number(index) / paths.length)]
      const path = paths[Number(index) % paths.length]
      if (reason === undefined || path === undefined) continue
      const count = (perCpu as bigint[]).reduce((total, n) => total + n, 0n)
      counts.push({ reason, path: path as Path, count: Number(count) })
    }
    return counts
  }
}

/** A flow table has a million rows, and is filled while it is walked. */
async function countRows(map: KernelMap, pace: Pace): Promise<number> {
  let total = 0
  let cursor: Uint8Array | undefined
  do {
    const { count, next } = map.raw.lookupBatch(cursor, BATCH, false)
    total += count
    cursor = next
    if (pace.due) await pace.rest()
  } while (cursor !== undefined && total <= map.maxEntries)
  return total
}

interface Gauges {
  active?: number
  inactive?: number
}

/** In the order of sums. */
const FIELDS = ['packets_in', 'bytes_in', 'packets_out', 'bytes_out', 'connections'] as const

function namedSums(sums: Float64Array): Counters {
  return {
    packetsIn: sums[0] ?? 0,
    bytesIn: sums[1] ?? 0,
    packetsOut: sums[2] ?? 0,
    bytesOut: sums[3] ?? 0,
    connections: sums[4] ?? 0,
  }
}

/**
 * Sums rows of counters over the CPUs; undefined for one that has counted nothing. Not by the codec:
 * an object of bigints for every CPU of each of some hundred thousand rows holds up everybody. The
 * sums are good until the next ones.
 */
function summing(
  map: KernelMap,
): (words: Uint32Array, from: number, length: number) => Float64Array | undefined {
  const cpuWords = Math.ceil(map.valueSize / 8) * 2
  // The codec alone knows what is where: each field is found by a row that has nothing else.
  const names = Array.from({ length: map.valueSize / 8 }, (_, i) => {
    const bytes = new Uint8Array(map.valueSize).fill(1, i * 8, i * 8 + 8)
    const row = map.valueCodec.decode(bytes) as CounterFields
    return Object.entries(row).find(([, value]) => value !== 0n)?.[0]
  })
  const places = FIELDS.map((name) => names.indexOf(name) * 2)
  const sums = new Float64Array(places.length)
  return (words, from, length) => {
    let used = 0
    for (let i = from; i < from + length; i++) used |= words[i] ?? 0
    if (used === 0) return undefined
    sums.fill(0)
    for (let cpu = from; cpu < from + length; cpu += cpuWords)
      for (let i = 0; i < sums.length; i++)
        sums[i] = (sums[i] ?? 0) + wide(words, cpu + (places[i] ?? 0))
    return sums
  }
}

/** Rows of one service and path become one, without a backend. */
function summed(rows: readonly BackendCounters[]): BackendCounters[] {
  const sums = new CounterSums()
  for (const row of rows) sums.add(row)
  return sums.rows()
}
