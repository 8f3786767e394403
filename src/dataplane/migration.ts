/**
 * Moves what a map holds into one of another layout or size, while programs go on with the old one:
 * all of it once, then, until every program uses the new map, what the old programs have changed
 * since. Order and pins are pinnedMaps.ts's; this copies.
 */
import { BpfError, type MapType } from 'libbpf-ts'
import { FairleadError } from '../errors.js'
import { converter, type Convert } from './convert.js'
import { Pace } from '../pace.js'
import type { KernelMap } from './tables.js'
import { reasonOf } from '../reason.js'

const BATCH = 4096
/** After so many passes something else than the old programs keeps writing. */
const MAX_PASSES = 20

const TABLES: ReadonlySet<string> = new Set<MapType>(['hash', 'lru_hash'])
const ARRAYS: ReadonlySet<string> = new Set<MapType>(['array', 'percpu_array'])

/** How rows get from one map to the other. */
export interface Route {
  readonly key: Convert
  readonly value: Convert
}

/** `fresh`: its rows cannot be walked, or mean nothing for long, and the new map begins empty. */
export type Fate = 'same' | 'fresh' | Route

/**
 * @param size entries that the new map should have
 * @throws FairleadError LAYOUT, saying what cannot be converted
 */
export function fateOf(from: KernelMap, to: KernelMap, size = to.maxEntries): Fate {
  const refuse = (why: string) => new FairleadError('LAYOUT', `map ${from.name}: ${why}`)
  const bare = isBare(from) || isBare(to)
  const sameLayout =
    from.keySize === to.keySize &&
    from.valueSize === to.valueSize &&
    (bare || layoutOf(from) === layoutOf(to))
  if (sameLayout && from.type === to.type && from.flags === to.flags && from.maxEntries === size)
    return 'same'
  if (from.type === to.type && !TABLES.has(to.type) && !ARRAYS.has(to.type)) return 'fresh'
  const alike =
    from.type === to.type || (TABLES.has(from.type) && TABLES.has(to.type) && !from.perCpu)
  if (!alike) throw refuse(`was of type ${from.type} and is of type ${to.type}`)
  if (bare && !sameLayout) throw refuse('its records have no names, and another size')
  // A union cannot be written without knowing which member counts. Per CPU it is scratch space.
  if (!isWritable(to) && from.perCpu) return 'fresh'
  const key = converter(from.keyCodec, to.keyCodec, true)
  if (typeof key === 'string') throw refuse(key)
  const value = converter(from.valueCodec, to.valueCodec, false)
  if (typeof value === 'string') throw refuse(value)
  return { key, value }
}

/** Whether a smaller map would have room for what is in this one. */
export function fits(map: KernelMap, size: number): boolean {
  if (size >= map.maxEntries || map.type === 'lru_hash') return true
  if (!ARRAYS.has(map.type)) return map.count() <= size
  let index = 0
  for (const { values, count } of batches(map)) {
    const stride = values.length / Math.max(1, count)
    const tail = values.subarray(Math.max(0, size - index) * stride)
    if (tail.some((byte) => byte !== 0)) return false
    index += count
  }
  return true
}

/** One map on its way. */
export class Move {
  /** Old rows as they were when they were copied last: key to hash. Absent: not known. */
  #seen: Map<string, number> | undefined
  /** Of counters: what was copied. */
  #counted: Map<number, Uint8Array> | undefined

  constructor(
    readonly from: KernelMap,
    readonly to: KernelMap,
    readonly route: Route,
  ) {}

  /** Everything; nobody uses the new map yet. @throws FairleadError LAYOUT for a value that does not fit */
  async copyAll(): Promise<void> {
    const pace = new Pace()
    this.#seen = this.#isFlowing ? new Map<string, number>() : undefined
    this.#counted = this.from.perCpu ? new Map<number, Uint8Array>() : undefined
    let left = ARRAYS.has(this.from.type) ? this.to.maxEntries : Infinity
    let index = 0
    for (const { keys, values, count } of batches(this.from)) {
      const rows = new Rows(this)
      for (let i = 0; i < Math.min(count, left); i++) {
        const [key, value] = this.#row(keys, values, count, i)
        if (this.#counted !== undefined || ARRAYS.has(this.from.type)) {
          if (value.some((byte) => byte !== 0)) {
            this.#counted?.set(index + i, value.slice())
            rows.add(key, value)
          }
          continue
        }
        this.#seen?.set(textOf(key), hashOf(value))
        rows.add(key, value)
      }
      rows.write()
      left -= count
      index += count
      if (pace.due) await pace.rest()
    }
  }

  /** Rows that the old programs have made or changed since; returns how many those were. */
  async catchUp(): Promise<number> {
    if (!this.#isFlowing) return 0
    const seen = (this.#seen ??= new Map<string, number>())
    const pace = new Pace()
    let copied = 0
    for (const { keys, values, count } of batches(this.from)) {
      for (let i = 0; i < count; i++) {
        const [key, value] = this.#row(keys, values, count, i)
        const text = textOf(key)
        const hash = hashOf(value)
        const before = seen.get(text)
        if (before === hash) continue
        seen.set(text, hash)
        // A new row that is there already was made by the new programs, who know better.
        if (this.#put(key, value, before === undefined ? NOEXIST : 0)) copied++
      }
      if (pace.due) await pace.rest()
    }
    return copied
  }

  /** Adds what the old programs have counted since copyAll(). */
  addCounts(): void {
    const before = this.#counted
    if (before === undefined) return
    let index = 0
    for (const { keys, values, count } of batches(this.from)) {
      for (let i = 0; i < count && index < this.to.maxEntries; i++, index++) {
        const [key, value] = this.#row(keys, values, count, i)
        const old = before.get(index) ?? new Uint8Array(value.length)
        if (Buffer.compare(old, value) !== 0) this.#addDifference(key, old, value)
      }
    }
  }

  /** Programs write it, a row at a time; all other tables are the agent's, or counters. */
  get #isFlowing(): boolean {
    return this.from.type === 'lru_hash'
  }

  #row(keys: Uint8Array, values: Uint8Array, count: number, i: number): [Uint8Array, Uint8Array] {
    const stride = values.length / count
    const { keySize } = this.from
    return [
      keys.subarray(i * keySize, (i + 1) * keySize),
      values.subarray(i * stride, (i + 1) * stride),
    ]
  }

  #put(key: Uint8Array, value: Uint8Array, flags: number): boolean {
    const rows = new Rows(this)
    rows.add(key, value)
    try {
      rows.write(flags)
      return true
    } catch (error) {
      if (error instanceof BpfError && error.code === 'EEXIST') return false
      throw error
    }
  }

  /** All counters are 64-bit; what a program adds between reading and writing is not counted. */
  #addDifference(key: Uint8Array, before: Uint8Array, after: Uint8Array): void {
    const rows = new Rows(this)
    const difference = new Uint8Array(after.length)
    eachWord(difference, before, after, (a, b) => b - a)
    const [newKey, addition] = rows.convert(key, difference)
    const now = this.to.raw.get(newKey)
    if (now === undefined) return
    eachWord(now, now, addition, (a, b) => a + b)
    this.to.raw.set(newKey, now)
  }
}

const NOEXIST = 1

/** Converted rows, written in one call. */
class Rows {
  readonly #keys: Uint8Array[] = []
  readonly #values: Uint8Array[] = []

  constructor(readonly move: Move) {}

  add(key: Uint8Array, value: Uint8Array): void {
    const [newKey, newValue] = this.convert(key, value)
    this.#keys.push(newKey)
    this.#values.push(newValue)
  }

  convert(key: Uint8Array, value: Uint8Array): [Uint8Array, Uint8Array] {
    const { from, to, route } = this.move
    const newKey = new Uint8Array(to.keySize)
    const newValue = new Uint8Array(to.raw.elementSize)
    try {
      route.key(key, 0, newKey, 0)
      if (!from.perCpu) route.value(value, 0, newValue, 0)
      else
        for (let at = 0, into = 0; at < value.length; at += padded(from), into += padded(to))
          route.value(value, at, newValue, into)
    } catch (cause) {
      const why = reasonOf(cause)
      throw new FairleadError('LAYOUT', `map ${from.name}: ${why}`, { cause })
    }
    return [newKey, newValue]
  }

  write(flags = 0): void {
    const count = this.#keys.length
    if (count === 0) return
    const { raw } = this.move.to
    const [key, value] = [this.#keys[0], this.#values[0]]
    if (count === 1 && key !== undefined && value !== undefined) raw.set(key, value, flags)
    else raw.setMany(Buffer.concat(this.#keys), Buffer.concat(this.#values), count, flags)
  }
}

/** The time in which some programs use the old maps and others the new ones. */
export class Transition {
  #passing: Promise<number> | undefined
  #next: Promise<number> | undefined

  constructor(readonly moves: readonly Move[]) {}

  /** A pass that begins after this call; calls that come together share one. */
  async catchUp(): Promise<number> {
    if (this.#passing === undefined) return this.#pass()
    this.#next ??= this.#passing.then(async () => {
      this.#next = undefined
      return this.#pass()
    })
    return this.#next
  }

  /** Once no program uses the old maps. */
  async finish(): Promise<void> {
    for (let pass = 0; pass < MAX_PASSES; pass++) if ((await this.catchUp()) === 0) break
    for (const move of this.moves) move.addCounts()
  }

  close(): void {
    for (const { from } of this.moves) from.close()
  }

  #pass(): Promise<number> {
    const pass = async (): Promise<number> => {
      let copied = 0
      for (const move of this.moves) copied += await move.catchUp()
      return copied
    }
    this.#passing = pass().finally(() => (this.#passing = undefined))
    return this.#passing
  }
}

function* batches(
  map: KernelMap,
): Generator<{ keys: Uint8Array; values: Uint8Array; count: number }> {
  let cursor: Uint8Array | undefined
  // A table that is filled faster than it is walked must not hold the agent for ever.
  for (let left = 4 * map.maxEntries + BATCH; left > 0; left -= BATCH) {
    const batch = map.raw.lookupBatch(cursor, BATCH)
    if (batch.count > 0) yield batch
    cursor = batch.next
    if (cursor === undefined) return
  }
}

function layoutOf(map: KernelMap): string {
  return `${map.keyCodec.describe()} ${map.valueCodec.describe()}`
}

function isWritable({ valueCodec }: KernelMap): boolean {
  const bytes = new Uint8Array(valueCodec.size)
  try {
    valueCodec.encode(valueCodec.decode(bytes), bytes)
    return true
  } catch {
    return false
  }
}

/** Without BTF there are no names, and nothing to compare but sizes. */
function isBare(map: KernelMap): boolean {
  return /^u8\[\d+\]$/.test(map.valueCodec.describe())
}

function padded(map: KernelMap): number {
  return Math.ceil(map.valueSize / 8) * 8
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
}

/** FNV-1a. */
function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash
}

function eachWord(
  into: Uint8Array,
  a: Uint8Array,
  b: Uint8Array,
  combine: (a: bigint, b: bigint) => bigint,
): void {
  const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const [left, right, result] = [view(a), view(b), view(into)]
  for (let at = 0; at + 8 <= into.length; at += 8)
    result.setBigUint64(
      at,
      combine(left.getBigUint64(at, true), right.getBigUint64(at, true)),
      true,
    )
}
