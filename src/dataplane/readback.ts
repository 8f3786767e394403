/** What the kernel side has counted, under the names that the model knows. */
import type {
  AttachmentInfo,
  BackendCounters,
  Counters,
  Features,
  MapOccupancy,
  Readback,
  ReasonCount,
  ReconcileStats,
} from '../model/readback.js'
import type { Path } from '../model/types.js'
import type { Installer } from './install.js'
import type { PinnedMaps } from './pinnedMaps.js'
import { sumCounters, type CounterFields } from './retirement.js'
import type { KernelMap } from './tables.js'

/** Rows between two ids in use that are cheaper to read along than to leave out. */
const GAP_ROWS = 256
const BATCH = 2048

/** Maps whose fill is worth watching: all that can run full. */
const COUNTED = [
  'vips4',
  'vips6',
  'ports4',
  'ports6',
  'services',
  'netnses',
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
}

export class KernelReadback implements Readback {
  readonly #parts: ReadbackParts

  constructor(parts: ReadbackParts) {
    this.#parts = parts
  }

  counters(): BackendCounters[] {
    const { ids, retirement } = this.#parts.installer
    const rows: BackendCounters[] = []
    const leaving = retirement.leaving()
    const owners = new Map<number, { service: string; backend?: string }>()
    for (const [id, { service: of, address }] of ids.backends.entries()) {
      const service = ids.services.keyOf(of)
      if (service === undefined) continue
      const gone = leaving.has(id)
      owners.set(id, { service, ...(!gone && { backend: address }) })
    }
    this.#readPerCpu('counters', owners, rows)
    const services = new Map<number, { service: string }>()
    for (const [service, id] of ids.services.entries()) services.set(id, { service })
    this.#readRetired(services, rows)
    return mergeRows(rows)
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

  occupancy(): MapOccupancy[] {
    const { maps, installer } = this.#parts
    const present = new Map(maps.all().map((map) => [map.name, map]))
    const counted = COUNTED.flatMap((name) => {
      const map = present.get(name)
      return map ? [{ map: name, entries: map.count(), capacity: map.maxEntries }] : []
    })
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

  #readPerCpu(
    name: string,
    owners: ReadonlyMap<number, { service: string; backend?: string }>,
    rows: BackendCounters[],
  ): void {
    const { maps } = this.#parts
    const paths = maps.constants.paths
    for (const { index, value } of readRuns(maps.get(name), owners.keys(), paths.length)) {
      const owner = owners.get(Math.floor(index / paths.length))
      const path = paths[index % paths.length]
      if (owner === undefined || path === undefined) continue
      const active = name === 'counters' && owner.backend !== undefined
      rows.push({
        ...owner,
        path: path as Path,
        ...toCounters(value),
        ...(active && this.#active(Math.floor(index / paths.length), path as Path)),
      })
    }
  }

  /** The socket path has a gauge of its own; what is not of it stands with tc. */
  #active(backend: number, path: Path): { active: number } {
    const { maps } = this.#parts
    const sock = Number(maps.get('sock_actives').get(backend) ?? 0n)
    if (path === 'sock') return { active: sock }
    if (path !== 'tc') return { active: 0 }
    return { active: Math.max(0, Number(maps.get('actives').get(backend) ?? 0n) - sock) }
  }

  #readRetired(services: ReadonlyMap<number, { service: string }>, rows: BackendCounters[]): void {
    this.#readPerCpu('retired', services, rows)
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

/** The counters of ids in use that have counted, summed over the CPUs; near ids in batches. */
function* readRuns(
  map: KernelMap,
  ids: Iterable<number>,
  rowsPerId: number,
): Generator<{ index: number; value: CounterFields }> {
  const starts = [...ids].map((id) => id * rowsPerId).sort((a, b) => a - b)
  for (let i = 0; i < starts.length;) {
    const first = starts[i] ?? 0
    let end = first + rowsPerId
    for (i++; i < starts.length && (starts[i] ?? 0) - end <= GAP_ROWS; i++)
      end = (starts[i] ?? 0) + rowsPerId
    yield* readRange(map, first, end)
  }
}

function* readRange(
  map: KernelMap,
  first: number,
  end: number,
): Generator<{ index: number; value: CounterFields }> {
  const { keyCodec, valueCodec, keySize } = map
  let cursor: Uint8Array | undefined
  if (first > 0) {
    // An array's batch goes on after the index it is given.
    cursor = new Uint8Array(Math.max(keySize, 8))
    keyCodec.encode(first - 1, cursor)
  }
  let index = first
  while (index < end) {
    const batch = map.raw.lookupBatch(cursor, Math.min(BATCH, end - index))
    const stride = batch.count === 0 ? 0 : batch.values.length / batch.count
    const cpuStride = Math.ceil(valueCodec.size / 8) * 8
    const zero = new Uint8Array(stride)
    for (let row = 0; row < batch.count; row++, index++) {
      const bytes = batch.values.subarray(row * stride, (row + 1) * stride)
      if (Buffer.compare(bytes, zero) === 0) continue
      const parts: CounterFields[] = []
      for (let at = row * stride; at < (row + 1) * stride; at += cpuStride)
        parts.push(valueCodec.decode(batch.values, at) as CounterFields)
      yield { index, value: sumCounters(parts) }
    }
    if (batch.next === undefined) return
    cursor = batch.next
  }
}

function toCounters(value: CounterFields): Counters {
  return {
    packetsIn: Number(value.packets_in),
    bytesIn: Number(value.bytes_in),
    packetsOut: Number(value.packets_out),
    bytesOut: Number(value.bytes_out),
    connections: Number(value.connections),
  }
}

/** What is left of backends that are leaving joins what has been retired. */
function mergeRows(rows: readonly BackendCounters[]): BackendCounters[] {
  const merged = new Map<string, BackendCounters>()
  for (const row of rows) {
    const key = `${row.service} ${row.backend ?? ''} ${row.path}`
    const before = merged.get(key)
    merged.set(
      key,
      before === undefined
        ? row
        : {
            ...row,
            packetsIn: before.packetsIn + row.packetsIn,
            bytesIn: before.bytesIn + row.bytesIn,
            packetsOut: before.packetsOut + row.packetsOut,
            bytesOut: before.bytesOut + row.bytesOut,
            connections: before.connections + row.connections,
          },
    )
  }
  return [...merged.values()]
}
