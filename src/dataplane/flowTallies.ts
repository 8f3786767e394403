/**
 * How flows have ended and how long handshakes took, as the programs have counted it, under the
 * names that the model knows.
 */
import type { BackendEnds, Handshakes } from '../model/readback.js'
import type { Path, ServiceKey } from '../model/types.js'
import type { Pace } from '../pace.js'
import type { Installer } from './install.js'
import type { HandshakeRow } from './leftCounts.js'
import type { PinnedMaps } from './pinnedMaps.js'
import { readRuns, wide } from './runs.js'

const BATCH = 1024
const IDS_AT_ONCE = 1024

export interface FlowTallyParts {
  readonly maps: PinnedMaps
  readonly installer: Installer
  /** When others get their turn. */
  readonly pace: () => Pace
}

interface HandshakeKey {
  readonly id: number
  readonly part: number
  readonly path: number
}

export class FlowTallies {
  readonly #parts: FlowTallyParts

  constructor(parts: FlowTallyParts) {
    this.#parts = parts
  }

  /** One row for each backend and path, and each service and path, that has counted anything. */
  async ends(service?: ServiceKey): Promise<BackendEnds[]> {
    const of = (id: number): BackendEnds[] => this.#endsOf([...this.#backendsOf(id)], [id])
    if (service !== undefined) return this.#idOf(service).flatMap(of)
    return this.#whole((pace) => this.#endsInTurns(pace), of)
  }

  /** One row for each backend, or service, path and part that has been timed. */
  async handshakes(service?: ServiceKey): Promise<Handshakes[]> {
    const of = (id: number): Handshakes[] => this.#handshakesOf(id)
    if (service !== undefined) return this.#idOf(service).flatMap(of)
    return this.#whole((pace) => this.#handshakesInTurns(pace), of)
  }

  #idOf(service: ServiceKey): number[] {
    return [this.#parts.installer.ids.services.get(service) ?? []].flat()
  }

  lostEvents(): Record<string, number> {
    const { maps } = this.#parts
    const lost: Record<string, number> = {}
    for (const [index, perCpu] of maps.get('unwatched').entriesPerCpu()) {
      const reason = maps.constants.watchLosses[Number(index)]
      if (reason === undefined) continue
      lost[reason] = Number((perCpu as bigint[]).reduce((total, count) => total + count, 0n))
    }
    return lost
  }

  /** What a backend had counted may move to its service's row between two looks. */
  async #whole<T extends { readonly service: ServiceKey }>(
    read: (pace: Pace) => Promise<T[]>,
    again: (service: number) => T[],
  ): Promise<T[]> {
    const { ids, retirement } = this.#parts.installer
    const moved = new Set<number>()
    const end = retirement.watch((id) => moved.add(id))
    try {
      const pace = this.#parts.pace()
      const rows = await read(pace)
      const anew = new Map<ServiceKey, T[]>()
      for (const id of moved) {
        moved.delete(id)
        anew.set(ids.services.keyOf(id) ?? '', again(id))
        if (pace.due) await pace.rest()
      }
      if (anew.size === 0) return rows
      return [...rows.filter(({ service }) => !anew.has(service)), ...[...anew.values()].flat()]
    } finally {
      end()
    }
  }

  #backendsOf(service: number): Iterable<number> {
    return this.#parts.installer.ids.backends.of(service)?.values() ?? []
  }

  async #endsInTurns(pace: Pace): Promise<BackendEnds[]> {
    const { ids } = this.#parts.installer
    const rows: BackendEnds[] = []
    for (
      let some = ids.backends.after(0, IDS_AT_ONCE);
      some.length > 0;
      some = ids.backends.after(some.at(-1) ?? 0, IDS_AT_ONCE)
    ) {
      for (const row of this.#endsOf(some, [])) rows.push(row)
      if (pace.due) await pace.rest()
    }
    const services = [...ids.services.entries()].map(([, id]) => id).sort((a, b) => a - b)
    for (let at = 0; at < services.length; at += IDS_AT_ONCE) {
      for (const row of this.#endsOf([], services.slice(at, at + IDS_AT_ONCE))) rows.push(row)
      if (pace.due) await pace.rest()
    }
    return rows
  }

  #endsOf(backends: readonly number[], services: readonly number[]): BackendEnds[] {
    const { installer, maps } = this.#parts
    const { ids } = installer
    const rows: BackendEnds[] = []
    const wanted = new Set(backends)
    this.#read('backend_ends', backends, maps.constants.ends, (id, path, ends) => {
      const backend = wanted.has(id) ? ids.backends.backendOf(id) : undefined
      const service = ids.services.keyOf(backend?.service ?? 0)
      if (backend === undefined || service === undefined) return
      rows.push({ service, backend: backend.address, path, ends })
    })
    const left = new Map<string, Map<string, number>>()
    const add = (id: number, path: Path, ends: ReadonlyMap<string, number>): void => {
      const key = `${path} ${ids.services.keyOf(id) ?? ''}`
      const sum = left.get(key) ?? new Map<string, number>()
      for (const [reason, count] of ends) sum.set(reason, (sum.get(reason) ?? 0) + count)
      left.set(key, sum)
    }
    const own = new Set(services)
    this.#read('retired_ends', services, maps.constants.ends, (id, path, ends) => {
      if (own.has(id)) add(id, path, ends)
    })
    this.#read('gone_ends', services, ['gone'], (id, path, ends) => {
      if (own.has(id)) add(id, path, ends)
    })
    for (const [key, ends] of left) {
      const [path = '', service = ''] = key.split(' ')
      rows.push({ service, path: path as Path, ends })
    }
    return rows
  }

  /** Shows the rows of these ids, and of those between them, that have counted anything. */
  #read(
    name: string,
    ids: readonly number[],
    reasons: readonly string[],
    show: (id: number, path: Path, ends: ReadonlyMap<string, number>) => void,
  ): void {
    const { maps } = this.#parts
    const { paths } = maps.constants
    for (const { first, values, count } of readRuns(maps.get(name), ids, paths.length)) {
      const words = new Uint32Array(values.buffer, values.byteOffset, values.length / 4)
      const perRow = words.length / Math.max(1, count)
      for (let row = 0; row < count; row++) {
        const ends = new Map<string, number>()
        reasons.forEach((reason, i) => {
          const ended = wide(words, row * perRow + 2 * i)
          if (ended > 0) ends.set(reason, ended)
        })
        const path = paths[(first + row) % paths.length]
        if (ends.size === 0 || path === undefined) continue
        show(Math.floor((first + row) / paths.length), path as Path, ends)
      }
    }
  }

  async #handshakesInTurns(pace: Pace): Promise<Handshakes[]> {
    const map = this.#parts.maps.get('handshakes')
    const rows: Handshakes[] = []
    // A table that is written to while it is walked may show a row twice.
    const seen = new Set<string>()
    let cursor: Uint8Array | undefined
    do {
      const { keys, values, count, next } = map.raw.lookupBatch(cursor, BATCH, false)
      for (let i = 0; i < count; i++) {
        const key = map.keyCodec.decode(keys, i * map.keySize) as unknown as HandshakeKey
        const text = `${key.id} ${key.part} ${key.path}`
        if (seen.has(text)) continue
        seen.add(text)
        const value = map.valueCodec.decode(values, i * map.valueSize)
        const row = this.#handshakesRow(key, value as unknown as HandshakeRow)
        if (row !== undefined) rows.push(row)
      }
      cursor = next
      if (pace.due) await pace.rest()
    } while (cursor !== undefined && seen.size <= map.maxEntries)
    return rows
  }

  #handshakesOf(service: number): Handshakes[] {
    const { constants } = this.#parts.maps
    const map = this.#parts.maps.get('handshakes')
    const part = (name: string): number => constants.handshakeParts.indexOf(name)
    const owners = [
      ...[...this.#backendsOf(service)].map((id) => ({ id, part: part('backend') })),
      ...['client', 'left'].map((name) => ({ id: service, part: part(name) })),
    ]
    return owners.flatMap((owner) =>
      constants.paths.flatMap((_, path) => {
        const value = map.get({ ...owner, path }) as HandshakeRow | undefined
        const row = value && this.#handshakesRow({ ...owner, path }, value)
        return row === undefined ? [] : [row]
      }),
    )
  }

  /** undefined: nobody has the id any more. */
  #handshakesRow(key: HandshakeKey, row: HandshakeRow): Handshakes | undefined {
    const { installer, maps } = this.#parts
    const { ids } = installer
    const part = maps.constants.handshakeParts[key.part]
    const path = maps.constants.paths[key.path]
    const backend = part === 'backend' ? ids.backends.backendOf(key.id) : undefined
    const owner = part === 'backend' ? (backend?.service ?? 0) : key.id
    const service = ids.services.keyOf(owner)
    if (service === undefined || path === undefined) return undefined
    return {
      service,
      ...(backend && { backend: backend.address }),
      path: path as Path,
      part: part === 'client' ? 'client' : 'backend',
      sumSeconds: Number(row.sum_ns) / 1e9,
      counts: row.counts.map(Number),
    }
  }
}
