/**
 * How flows have ended and how long handshakes took, as the programs have counted it, under the
 * names that the model knows.
 */
import type { BackendEnds, Handshakes } from '../model/readback.js'
import { EndSums, HandshakeSums } from '../model/sums.js'
import type { Path, ServiceKey } from '../model/types.js'
import type { Pace } from '../pace.js'
import type { Installer } from './install.js'
import type { HandshakeRow } from './leftCounts.js'
import type { PinnedMaps } from './pinnedMaps.js'
import { readRuns, wholeOf, wide } from './runs.js'
import type { KernelMap } from './tables.js'

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
    return this.#whole(async (pace) => {
      const rows: BackendEnds[] = []
      await this.#endsInTurns(pace, (row) => rows.push(row))
      return rows
    }, of)
  }

  /** Of services as a whole: one row for each path. */
  endsOfServices(): Promise<BackendEnds[]> {
    return this.#whole(
      async (pace) => {
        const sums = new EndSums()
        await this.#endsInTurns(pace, (row) => sums.add(row))
        return sums.rows()
      },
      (id) => {
        const sums = new EndSums()
        for (const row of this.#endsOf([...this.#backendsOf(id)], [id])) sums.add(row)
        return sums.rows()
      },
    )
  }

  /** One row for each backend, or service, path and part that has been timed. */
  async handshakes(service?: ServiceKey): Promise<Handshakes[]> {
    const of = (id: number): Handshakes[] => this.#handshakesOf(id)
    if (service !== undefined) return this.#idOf(service).flatMap(of)
    return this.#whole((pace) => this.#handshakesInTurns(pace), of)
  }

  /** Of services as a whole: one row for each path and part. */
  handshakesOfServices(): Promise<Handshakes[]> {
    return this.#whole(
      (pace) => this.#handshakeSumsInTurns(pace),
      (id) => {
        const sums = new HandshakeSums()
        for (const row of this.#handshakesOf(id)) sums.add(row)
        return sums.rows()
      },
    )
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

  async #endsInTurns(pace: Pace, show: (row: BackendEnds) => void): Promise<void> {
    const { ids } = this.#parts.installer
    for (
      let some = ids.backends.after(0, IDS_AT_ONCE);
      some.length > 0;
      some = ids.backends.after(some.at(-1) ?? 0, IDS_AT_ONCE)
    ) {
      for (const row of this.#endsOf(some, [])) show(row)
      if (pace.due) await pace.rest()
    }
    const services = [...ids.services.entries()].map(([, id]) => id).sort((a, b) => a - b)
    for (let at = 0; at < services.length; at += IDS_AT_ONCE) {
      for (const row of this.#endsOf([], services.slice(at, at + IDS_AT_ONCE))) show(row)
      if (pace.due) await pace.rest()
    }
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
    const left = new EndSums()
    const own = new Set(services)
    const add = (id: number, path: Path, ends: BackendEnds['ends']): void => {
      if (own.has(id)) left.add({ service: ids.services.keyOf(id) ?? '', path, ends })
    }
    this.#read('retired_ends', services, maps.constants.ends, add)
    this.#read('gone_ends', services, ['gone'], add)
    for (const row of left.rows()) rows.push(row)
    return rows
  }

  /** Shows the rows of these ids, and of those between them, that have counted anything. */
  #read(
    name: string,
    ids: readonly number[],
    reasons: readonly string[],
    show: (id: number, path: Path, ends: BackendEnds['ends']) => void,
  ): void {
    const { maps } = this.#parts
    const { paths } = maps.constants
    for (const { first, values, count } of readRuns(maps.get(name), ids, paths.length)) {
      const words = new Uint32Array(values.buffer, values.byteOffset, values.length / 4)
      const perRow = words.length / Math.max(1, count)
      for (let row = 0; row < count; row++) {
        let used = 0
        for (let i = row * perRow; i < (row + 1) * perRow; i++) used |= words[i] ?? 0
        const path = paths[(first + row) % paths.length]
        if (used === 0 || path === undefined) continue
        const ends: [string, number][] = []
        for (const [i, reason] of reasons.entries()) {
          const ended = wide(words, row * perRow + 2 * i)
          if (ended > 0) ends.push([reason, ended])
        }
        show(Math.floor((first + row) / paths.length), path as Path, ends)
      }
    }
  }

  async #handshakesInTurns(pace: Pace): Promise<Handshakes[]> {
    const rows: Handshakes[] = []
    const add = rowAdder(this.#parts.maps.get('handshakes'))
    await this.#walkHandshakes(pace, (id, part, path, words, from) => {
      const row = this.#handshakesRow({ id, part, path }, add(words, from))
      if (row !== undefined) rows.push(row)
    })
    return rows
  }

  /** Without a row of each backend on the way: 100,000 of them are work for the collector. */
  async #handshakeSumsInTurns(pace: Pace): Promise<Handshakes[]> {
    const { ids } = this.#parts.installer
    const { paths, handshakeParts } = this.#parts.maps.constants
    const add = rowAdder(this.#parts.maps.get('handshakes'))
    const [ofBackend, ofClient] = ['backend', 'client'].map((name) => handshakeParts.indexOf(name))
    const left = handshakeParts.indexOf('left')
    const sums = new Map<number, { readonly key: HandshakeKey; readonly counted: Sum }>()
    await this.#walkHandshakes(pace, (id, part, path, words, from) => {
      const service = part === ofBackend ? ids.backends.backendOf(id)?.service : id
      if (service === undefined) return
      const at = (service * 2 + Number(part === ofClient)) * paths.length + path
      const sum = sums.get(at)
      if (sum !== undefined) add(words, from, sum.counted)
      else {
        const key = { id: service, part: part === ofClient ? part : left, path }
        sums.set(at, { key, counted: add(words, from) })
      }
    })
    return [...sums.values()].flatMap(({ key, counted }) => this.#handshakesRow(key, counted) ?? [])
  }

  /** Shows each row once, its value by its place among words that are good until the next batch. */
  async #walkHandshakes(
    pace: Pace,
    show: (id: number, part: number, path: number, words: Uint32Array, from: number) => void,
  ): Promise<void> {
    const { maps, installer } = this.#parts
    const { paths, handshakeParts } = maps.constants
    const map = maps.get('handshakes')
    const place = keyPlaces(map)
    const perId = handshakeParts.length * paths.length
    const { ids } = installer
    const last = Math.max(ids.backends.last, ids.services.last)
    // A table that is written to while it is walked may show a row twice.
    const seen = new Uint8Array((last + 1) * perId)
    let cursor: Uint8Array | undefined
    let walked = 0
    do {
      const { keys, values, count, next } = map.raw.lookupBatch(cursor, BATCH, false)
      const halves = new Uint16Array(keys.buffer, keys.byteOffset, keys.length / 2)
      const words = new Uint32Array(values.buffer, values.byteOffset, values.length / 4)
      for (let i = 0; i < count; i++) {
        const key = (i * map.keySize) / 2
        const id = wholeOf(halves, key + place.id)
        const part = halves[key + place.part] ?? 0
        const path = halves[key + place.path] ?? 0
        const at = id * perId + part * paths.length + path
        if (seen[at] !== 0) continue
        seen[at] = 1
        show(id, part, path, words, (i * map.valueSize) / 4)
      }
      cursor = next
      walked += count
      if (pace.due) await pace.rest()
    } while (cursor !== undefined && walked <= 2 * map.maxEntries)
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
        const row = value && this.#handshakesRow({ ...owner, path }, numbersOf(value))
        return row === undefined ? [] : [row]
      }),
    )
  }

  /** undefined: nobody has the id any more. */
  #handshakesRow(key: HandshakeKey, counted: Sum): Handshakes | undefined {
    const { installer, maps } = this.#parts
    const { ids } = installer
    const counts = maps.constants.handshakeParts[key.part]
    const part = counts === 'client' ? counts : 'backend'
    const path = maps.constants.paths[key.path]
    const backend = counts === 'backend' ? ids.backends.backendOf(key.id) : undefined
    const owner = counts === 'backend' ? (backend?.service ?? 0) : key.id
    const service = ids.services.keyOf(owner)
    if (service === undefined || path === undefined) return undefined
    const row: Handshakes = { service, path: path as Path, part, ...counted }
    return backend === undefined ? row : { ...row, backend: backend.address }
  }
}

interface Sum {
  sumSeconds: number
  readonly counts: number[]
}

function numbersOf({ sum_ns, counts }: HandshakeRow): Sum {
  return { sumSeconds: Number(sum_ns) / 1e9, counts: counts.map(Number) }
}

/**
 * Where a key's fields are, in halves of words. As below, not by the codec: it alone knows what is where,
 * and is asked that once.
 */
function keyPlaces(map: KernelMap): HandshakeKey {
  const numbered = Uint16Array.from({ length: map.keySize / 2 }, (_, i) => i)
  const bytes = new Uint8Array(numbered.buffer)
  const { id, part, path } = map.keyCodec.decode(bytes) as unknown as HandshakeKey
  return { id: Math.min(id & 0xffff, id >>> 16), part, path }
}

/** As in readback.ts. */
function rowAdder(map: KernelMap): (words: Uint32Array, from: number, to?: Sum) => Sum {
  const numbered = BigUint64Array.from({ length: map.valueSize / 8 }, (_, i) => BigInt(i))
  const row = map.valueCodec.decode(new Uint8Array(numbered.buffer)) as unknown as HandshakeRow
  const sum = Number(row.sum_ns) * 2
  const places = row.counts.map((place) => Number(place) * 2)
  return (words, from, to = { sumSeconds: 0, counts: places.map(() => 0) }) => {
    to.sumSeconds += wide(words, from + sum) / 1e9
    for (let i = 0; i < places.length; i++) {
      const count = wide(words, from + (places[i] ?? 0))
      if (count !== 0) to.counts[i] = (to.counts[i] ?? 0) + count
    }
    return to
  }
}
