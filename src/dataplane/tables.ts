/**
 * Kernel maps that the agent alone writes, each with a shadow of what it should hold: a row is
 * written only when it differs, many in one call, and a sweep finds what somebody else changed. Rows
 * are kept and compared as bytes; only their codecs know what is in them.
 */
import { setImmediate as breathe } from 'node:timers/promises'
import { BpfError, type BpfMap, type Value } from 'libbpf-ts'
import { FairleadError } from '../errors.js'
import type { Fields } from './rows.js'

/** Rows a sweep reads before it lets others run. */
const BATCH = 4096

export type KernelMap = BpfMap

/** Bytes as a key of a Map. */
function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
}

const FULL = new Set(['E2BIG', 'ENOMEM', 'ENOSPC'])

function mapFull(map: KernelMap, why: string, cause?: unknown): FairleadError {
  return new FairleadError('MAP_FULL', `map ${map.name} ${why} (${map.maxEntries} entries)`, {
    cause,
  })
}

/** Names the map and its size where the kernel only had a number. */
function asMapFull(map: KernelMap, error: unknown): unknown {
  if (!(error instanceof BpfError) || !FULL.has(error.code)) return error
  return mapFull(map, error.code === 'ENOMEM' ? 'has no memory left for more' : 'is full', error)
}

/** What the reconciler asks of a table, whatever the kind of map. */
export interface Sweepable {
  readonly name: string
  /** Writes to the kernel since the start, repairs included. */
  readonly writes: number
  /** Takes what the kernel holds for what was written. */
  load(): void
  /**
   * Writes rows that were put since the last call, in batches.
   *
   * @throws FairleadError MAP_FULL; BpfError for anything else. Then the next call tries them again
   */
  flushWrites(): void
  /** The same for rows that were deleted. */
  flushDeletes(): void
  /** Puts back what differs from what was written; returns how many rows that were. */
  sweep(): Promise<number>
}

/**
 * A hash map: a row that is not wanted is not there. K and V name what its codecs give. What is put
 * and deleted reaches the kernel with the next flush.
 */
export class HashTable<K extends Value = Value, V extends Value = Value> implements Sweepable {
  writes = 0
  /** Key, as bytes, → place of the value. */
  readonly #rows = new Map<string, number>()
  readonly #values: Slab
  /** Rows to be written; whether the kernel (perhaps) has such a row already. */
  readonly #dirty = new Map<string, boolean>()
  /** Rows to be deleted. */
  readonly #doomed = new Set<string>()
  readonly #keyBytes: Buffer
  readonly #valueBytes: Buffer

  constructor(
    readonly name: string,
    readonly map: KernelMap,
  ) {
    // One of each for good: a codec makes a view of every buffer that it has not seen before.
    this.#keyBytes = Buffer.alloc(map.keySize)
    this.#valueBytes = Buffer.alloc(map.valueSize)
    this.#values = new Slab(map.valueSize)
  }

  load(): void {
    for (const { key, value } of readRaw(this.map))
      this.#rows.set(textOf(key), this.#values.add(value))
  }

  /** The row's identity: what the other methods call `key`. */
  keyOf(fields: Fields | number | bigint): string {
    this.map.keyCodec.encode(fields, this.#keyBytes)
    return this.#keyBytes.toString('latin1')
  }

  keys(): string[] {
    return [...this.#rows.keys()]
  }

  decodeKey(key: string): K {
    this.#keyBytes.write(key, 'latin1')
    return this.map.keyCodec.decode(this.#keyBytes) as K
  }

  get(key: string): V | undefined {
    const place = this.#rows.get(key)
    if (place === undefined) return undefined
    this.#values.read(place, this.#valueBytes)
    return this.map.valueCodec.decode(this.#valueBytes) as V
  }

  has(key: string): boolean {
    return this.#rows.has(key)
  }

  /** @throws FairleadError MAP_FULL */
  put(key: string, value: Value): void {
    this.map.valueCodec.encode(value, this.#valueBytes)
    const before = this.#rows.get(key)
    if (before === undefined) {
      const doomed = this.#doomed.has(key)
      // A row that is to be deleted has its place until it is.
      if (!doomed && this.#rows.size + this.#doomed.size >= this.map.maxEntries)
        throw mapFull(this.map, 'is full')
      if (doomed) this.#doomed.delete(key)
      this.#dirty.set(key, doomed)
      this.#rows.set(key, this.#values.add(this.#valueBytes))
      return
    }
    if (this.#values.equals(before, this.#valueBytes)) return
    if (!this.#dirty.has(key)) this.#dirty.set(key, true)
    this.#values.write(before, this.#valueBytes)
  }

  delete(key: string): void {
    const place = this.#rows.get(key)
    if (place === undefined) return
    this.#rows.delete(key)
    this.#values.free(place)
    if (this.#dirty.get(key) !== false) this.#doomed.add(key)
    this.#dirty.delete(key)
  }

  flushWrites(): void {
    if (this.#dirty.size === 0) return
    const batch = new WriteBatch(this.map, this.#dirty.size)
    try {
      for (const key of this.#dirty.keys()) {
        const place = this.#rows.get(key)
        if (place !== undefined) batch.add(key, this.#values.at(place))
      }
      batch.end()
    } catch (error) {
      // Those before the refused one are there now.
      for (const key of this.#dirty.keys()) this.#dirty.set(key, true)
      throw asMapFull(this.map, error)
    }
    this.writes += this.#dirty.size
    this.#dirty.clear()
  }

  flushDeletes(): void {
    const count = this.#doomed.size
    if (count === 0) return
    const keys = Buffer.alloc(count * this.map.keySize)
    let at = 0
    for (const key of this.#doomed) at += keys.write(key, at, 'latin1')
    this.map.raw.deleteMany(keys, count)
    this.writes += count
    this.#doomed.clear()
  }

  async sweep(): Promise<number> {
    let repaired = 0
    const seen = new Set<string>()
    for (const { key, value, last } of readRaw(this.map)) {
      const text = textOf(key)
      const wanted = this.#rows.get(text)
      if (wanted === undefined) {
        this.map.raw.delete(key)
        this.writes++
        repaired++
      } else {
        seen.add(text)
        if (!this.#values.equals(wanted, value)) {
          this.#write(text, this.#values.at(wanted))
          repaired++
        }
      }
      if (last) await breathe()
    }
    if (seen.size === this.#rows.size) return repaired
    for (const [text, wanted] of this.#rows) {
      if (seen.has(text)) continue
      this.#write(text, this.#values.at(wanted))
      repaired++
    }
    return repaired
  }

  #write(key: string, value: Uint8Array): void {
    try {
      this.map.raw.set(Buffer.from(key, 'latin1'), value)
    } catch (error) {
      throw asMapFull(this.map, error)
    }
    this.writes++
  }
}

/** An array map of rows: one that is not wanted is all zeroes. Flushed as a HashTable is. */
export class ArrayTable<V extends Value = Value> implements Sweepable {
  writes = 0
  readonly #cells: Buffer
  readonly #present = new Set<number>()
  readonly #dirty = new Set<number>()
  readonly #doomed = new Set<number>()
  readonly #valueBytes: Buffer

  constructor(
    readonly name: string,
    readonly map: KernelMap,
  ) {
    this.#cells = Buffer.alloc(map.maxEntries * map.valueSize)
    this.#valueBytes = Buffer.alloc(map.valueSize)
  }

  load(): void {
    let index = 0
    for (const { value } of readRaw(this.map)) {
      if (value.some((byte) => byte !== 0)) this.#present.add(index)
      this.#at(index).set(value)
      index++
    }
  }

  entries(): [number, V][] {
    return [...this.#present].map((index) => [index, this.#decode(index)])
  }

  has(index: number): boolean {
    return this.#present.has(index)
  }

  get(index: number): V | undefined {
    return this.#present.has(index) ? this.#decode(index) : undefined
  }

  put(index: number, value: Value): void {
    this.map.valueCodec.encode(value, this.#valueBytes)
    if (this.#present.has(index)) {
      if (this.#equals(index, this.#valueBytes)) return
    } else {
      this.#present.add(index)
      this.#doomed.delete(index)
    }
    this.#dirty.add(index)
    this.#at(index).set(this.#valueBytes)
  }

  delete(index: number): void {
    if (!this.#present.delete(index)) return
    this.#dirty.delete(index)
    this.#doomed.add(index)
    this.#at(index).fill(0)
  }

  flushWrites(): void {
    this.#flush(this.#dirty)
  }

  flushDeletes(): void {
    this.#flush(this.#doomed)
  }

  async sweep(): Promise<number> {
    let repaired = 0
    let index = 0
    for (const { value, last } of readRaw(this.map)) {
      if (!this.#equals(index, value)) {
        setIndexed(this.map, Uint32Array.of(index), this.#at(index))
        this.writes++
        repaired++
      }
      index++
      if (last) await breathe()
    }
    return repaired
  }

  #flush(indexes: Set<number>): void {
    if (indexes.size === 0) return
    const keys = Uint32Array.from(indexes)
    const { valueSize } = this.map
    const values = Buffer.alloc(keys.length * valueSize)
    keys.forEach((index, i) => {
      this.#cells.copy(values, i * valueSize, index * valueSize, (index + 1) * valueSize)
    })
    setIndexed(this.map, keys, values)
    this.writes += keys.length
    indexes.clear()
  }

  #at(index: number): Buffer {
    const { valueSize } = this.map
    return this.#cells.subarray(index * valueSize, (index + 1) * valueSize)
  }

  #equals(index: number, bytes: Uint8Array): boolean {
    const { valueSize } = this.map
    return (
      this.#cells.compare(bytes, 0, valueSize, index * valueSize, (index + 1) * valueSize) === 0
    )
  }

  #decode(index: number): V {
    // By way of a buffer that the codec knows: it makes a view of every other.
    this.#valueBytes.set(this.#at(index))
    return this.map.valueCodec.decode(this.#valueBytes) as V
  }
}

/** The slots map: ranges of numbers, and what lies outside the ranges in use is nobody's concern. */
export class SlotTable implements Sweepable {
  writes = 0
  readonly #cells: Uint32Array
  readonly #used: Uint8Array
  #dirty: number[] = []

  constructor(
    readonly name: string,
    readonly map: KernelMap,
  ) {
    this.#cells = new Uint32Array(map.maxEntries)
    this.#used = new Uint8Array(map.maxEntries)
  }

  load(): void {
    let index = 0
    for (const cells of this.#read()) {
      this.#cells.set(cells, index)
      index += cells.length
    }
  }

  read(start: number, length: number): number[] {
    return [...this.#cells.subarray(start, start + length)]
  }

  /** Marks a range as in use, so that a sweep looks after it. */
  watch(start: number, length: number, on: boolean): void {
    this.#used.fill(on ? 1 : 0, start, start + length)
  }

  put(start: number, ids: readonly number[]): void {
    ids.forEach((id, i) => {
      if (this.#cells[start + i] === id) return
      this.#cells[start + i] = id
      this.#dirty.push(start + i)
    })
  }

  flushWrites(): void {
    if (this.#dirty.length === 0) return
    this.#set(Uint32Array.from(this.#dirty))
    this.#dirty = []
  }

  /** There is nothing to delete: a range is given back by no longer being named. */
  flushDeletes(): void {
    return undefined
  }

  async sweep(): Promise<number> {
    let start = 0
    const wrong: number[] = []
    for (const cells of this.#read()) {
      cells.forEach((found, i) => {
        if (found === this.#cells[start + i]) return
        if (this.#used[start + i] === 1) wrong.push(start + i)
        else this.#cells[start + i] = found
      })
      start += cells.length
      await breathe()
    }
    if (wrong.length > 0) this.#set(Uint32Array.from(wrong))
    return wrong.length
  }

  #set(indexes: Uint32Array): void {
    const values = indexes.map((index) => this.#cells[index] ?? 0)
    setIndexed(this.map, indexes, new Uint8Array(values.buffer))
    this.writes += indexes.length
  }

  /** Elements in batches; the guard has checked that they are 32 bits wide. */
  *#read(): Generator<Uint32Array> {
    for (const { values, count } of readBatches(this.map)) {
      yield new Uint32Array(values.slice().buffer, 0, count)
    }
  }
}

/** Values of one size in one buffer: hundreds of thousands of small arrays would keep the GC busy. */
class Slab {
  #bytes: Buffer
  #used = 0
  readonly #free: number[] = []

  constructor(readonly size: number) {
    this.#bytes = Buffer.alloc(64 * size)
  }

  add(value: Uint8Array): number {
    const place = this.#free.pop() ?? this.#used++
    if (place * this.size >= this.#bytes.length) {
      const grown = Buffer.alloc(this.#bytes.length * 2)
      this.#bytes.copy(grown)
      this.#bytes = grown
    }
    this.write(place, value)
    return place
  }

  free(place: number): void {
    this.#free.push(place)
  }

  write(place: number, value: Uint8Array): void {
    this.#bytes.set(value, place * this.size)
  }

  read(place: number, into: Buffer): void {
    this.#bytes.copy(into, 0, place * this.size, (place + 1) * this.size)
  }

  at(place: number): Buffer {
    return this.#bytes.subarray(place * this.size, (place + 1) * this.size)
  }

  equals(place: number, value: Uint8Array): boolean {
    const start = place * this.size
    return this.#bytes.compare(value, 0, this.size, start, start + this.size) === 0
  }
}

/** Rows of a hash map on their way to the kernel, some thousands in a call. */
class WriteBatch {
  readonly #keys: Buffer
  readonly #values: Buffer
  #count = 0

  /** @param rows at most, all in all */
  constructor(
    readonly map: KernelMap,
    rows: number,
  ) {
    const count = Math.min(BATCH, rows)
    this.#keys = Buffer.alloc(count * map.keySize)
    this.#values = Buffer.alloc(count * map.valueSize)
  }

  add(key: string, value: Uint8Array): void {
    this.#keys.write(key, this.#count * this.map.keySize, 'latin1')
    this.#values.set(value, this.#count * this.map.valueSize)
    if (++this.#count === BATCH) this.end()
  }

  end(): void {
    const count = this.#count
    this.#count = 0
    if (count === 0) return
    const { raw, keySize, valueSize } = this.map
    raw.setMany(
      this.#keys.subarray(0, count * keySize),
      this.#values.subarray(0, count * valueSize),
      count,
    )
  }
}

/** @param keys indexes, in host order as the kernel has them */
function setIndexed(map: KernelMap, keys: Uint32Array, values: Uint8Array): void {
  const bytes = new Uint8Array(keys.buffer, keys.byteOffset, keys.byteLength)
  map.raw.setMany(bytes, values, keys.length)
}

/** All rows of a map; `last` ends a batch, where the reader may pause. */
function* readRaw(
  map: KernelMap,
): Generator<{ key: Uint8Array; value: Uint8Array; last: boolean }> {
  const { keySize, valueSize } = map
  for (const { keys, values, count } of readBatches(map)) {
    for (let i = 0; i < count; i++) {
      yield {
        key: keys.subarray(i * keySize, (i + 1) * keySize),
        value: values.subarray(i * valueSize, (i + 1) * valueSize),
        last: i === count - 1,
      }
    }
  }
}

function* readBatches(
  map: KernelMap,
): Generator<{ keys: Uint8Array; values: Uint8Array; count: number }> {
  let cursor: Uint8Array | undefined
  do {
    const batch = map.raw.lookupBatch(cursor, BATCH)
    yield batch
    cursor = batch.next
  } while (cursor !== undefined)
}
