/** A hash map of the kernel with its shadow: a row that is not wanted is not there. */
import type { Value } from 'libbpf-ts'
import { RowIndex } from './rowIndex.js'
import {
  asMapFull,
  inRuns,
  mapFull,
  Outgoing,
  readBatches,
  type KernelMap,
  type Rows,
  type Sweepable,
} from './tables.js'

/** What is known of a row. */
const WANTED = 1
/** The kernel has it, or may have it. */
const WRITTEN = 2
/** To be written. */
const DIRTY = 4
/** To be deleted, unless it is wanted again by then. */
const DOOMED = 8

/**
 * K and V name what the codecs give. Rows go by number: a row's is good until its deletion has been
 * flushed. What is put and deleted reaches the kernel with the next flush.
 */
export class HashTable<K extends Value = Value, V extends Value = Value> implements Sweepable {
  writes = 0
  readonly #index: RowIndex
  /** By row. */
  #values: Buffer
  #states: Uint8Array
  /** The sweep that has seen it, or in which it was added. */
  #seen: Uint32Array
  #sweeps = 0
  /** In the order of arrival; a row is in a list once. */
  #dirty: number[] = []
  #doomed: number[] = []
  /** Rows that the kernel has or is going to have, those that are to be deleted included. */
  #occupied = 0
  #wanted = 0
  // One of each for good: a codec makes a view of every buffer that it has not seen before.
  readonly #key: Uint32Array
  readonly #keyBytes: Uint8Array
  readonly #valueBytes: Buffer

  constructor(
    readonly name: string,
    readonly map: KernelMap,
  ) {
    this.#index = new RowIndex(map.keySize, map.maxEntries)
    this.#values = Buffer.alloc(this.#index.capacity * map.valueSize)
    this.#states = new Uint8Array(this.#index.capacity)
    this.#seen = new Uint32Array(this.#index.capacity)
    this.#key = new Uint32Array(map.keySize / 4)
    this.#keyBytes = new Uint8Array(this.#key.buffer)
    this.#valueBytes = Buffer.alloc(map.valueSize)
  }

  /** Rows that are wanted. */
  get size(): number {
    return this.#wanted
  }

  load(): void {
    const { valueSize } = this.map
    const words = this.#key.length
    for (const batch of readBatches(this.map)) {
      const keys = wordsOf(batch)
      for (let i = 0; i < batch.count; i++) {
        const row = this.#add(keys, i * words)
        this.#states[row] = WANTED | WRITTEN
        this.#values.set(batch.values.subarray(i * valueSize, (i + 1) * valueSize), row * valueSize)
      }
    }
    this.#occupied = this.#wanted = this.#index.size
  }

  /** -1 when there is no such row. */
  find(key: Value): number {
    this.#encodeKey(key)
    const row = this.#index.find(this.#key)
    return this.has(row) ? row : -1
  }

  has(row: number): boolean {
    return (this.#stateOf(row) & WANTED) !== 0
  }

  *rows(): Generator<number> {
    for (let row = 0; row < this.#index.end; row++) if (this.has(row)) yield row
  }

  keyAt(row: number): K {
    this.#keyBytes.set(this.#index.keys(row))
    return this.map.keyCodec.decode(this.#keyBytes) as K
  }

  get(row: number): V | undefined {
    if (!this.has(row)) return undefined
    const { valueSize } = this.map
    this.#values.copy(this.#valueBytes, 0, row * valueSize, (row + 1) * valueSize)
    return this.map.valueCodec.decode(this.#valueBytes) as V
  }

  /** @throws FairleadError MAP_FULL; what the codecs throw */
  put(key: Value, value: Value): number {
    return this.update(key, () => value)
  }

  /**
   * @param valueOf is given the row's number, -1 if there is none
   * @throws FairleadError MAP_FULL; what the codecs throw, and valueOf()
   */
  update(key: Value, valueOf: (row: number) => Value): number {
    this.#encodeKey(key)
    let row = this.#index.find(this.#key)
    const value = valueOf(this.has(row) ? row : -1)
    this.map.valueCodec.encode(value, this.#valueBytes)
    if (row !== -1) {
      this.#put(row)
      return row
    }
    this.#makeRoom()
    row = this.#add(this.#key, 0)
    this.#want(row)
    return row
  }

  /**
   * @param row one that was there when the last flush ended, or put since
   * @throws FairleadError MAP_FULL; what the codec throws
   */
  putAt(row: number, value: Value): void {
    this.map.valueCodec.encode(value, this.#valueBytes)
    this.#put(row)
  }

  /** Nothing, if there is no such row. */
  delete(row: number): void {
    const state = this.#stateOf(row)
    if ((state & WANTED) === 0) return
    this.#wanted--
    if ((state & WRITTEN) === 0) this.#occupied--
    if ((state & DOOMED) === 0) this.#doomed.push(row)
    this.#states[row] = (state & ~WANTED) | DOOMED
  }

  flushWrites(): void {
    if (this.#dirty.length === 0) return
    const rows = this.#dirty.filter((row) => this.has(row))
    // Before it is known to have worked: the kernel may take some of those that it refuses as a whole.
    for (const row of rows) this.#states[row] = this.#stateOf(row) | WRITTEN
    const { valueSize } = this.map
    try {
      const outgoing = new Outgoing(this.map, rows.length)
      inRuns(rows, (first, count) => {
        const values = this.#values.subarray(first * valueSize, (first + count) * valueSize)
        outgoing.add(this.#index.keys(first, count), values, count)
      })
      outgoing.end()
    } catch (error) {
      throw asMapFull(this.map, error)
    }
    this.writes += rows.length
    for (const row of this.#dirty) this.#states[row] = this.#stateOf(row) & ~DIRTY
    this.#dirty = []
  }

  flushDeletes(): void {
    if (this.#doomed.length === 0) return
    const { keySize } = this.map
    const gone = this.#doomed.filter((row) => (this.#stateOf(row) & (WANTED | DIRTY)) === 0)
    const written = gone.filter((row) => (this.#stateOf(row) & WRITTEN) !== 0)
    if (written.length > 0) {
      const keys = new Uint8Array(written.length * keySize)
      written.forEach((row, i) => keys.set(this.#index.keys(row), i * keySize))
      this.map.raw.deleteMany(keys, written.length)
      this.writes += written.length
      this.#occupied -= written.length
    }
    for (const row of this.#doomed)
      if (this.has(row)) this.#states[row] = this.#stateOf(row) & ~DOOMED
    for (const row of gone) {
      this.#states[row] = 0
      this.#index.remove(row)
    }
    // Those of which a write has failed are looked at again.
    this.#doomed = this.#doomed.filter((row) => (this.#stateOf(row) & DOOMED) !== 0)
  }

  *sweep(): Generator<number> {
    const sweep = ++this.#sweeps
    for (const batch of readBatches(this.map)) yield this.#compare(batch, sweep)
    let repaired = 0
    for (let row = 0; row < this.#index.end; row++) {
      if (this.#seen[row] === sweep || !this.#isSettled(row)) continue
      // The walk of a map that changes meanwhile may pass one over.
      const found = this.map.raw.get(this.#index.keys(row))
      if (found !== undefined && this.#equals(row, found, 0)) continue
      this.#repair(row)
      repaired++
    }
    yield repaired
  }

  #compare(batch: Rows, sweep: number): number {
    const { keySize, valueSize } = this.map
    const words = this.#key.length
    const keys = wordsOf(batch)
    let repaired = 0
    for (let i = 0; i < batch.count; i++) {
      const row = this.#index.find(keys, i * words)
      if (row === -1) {
        this.map.raw.delete(batch.keys.subarray(i * keySize, (i + 1) * keySize))
        this.writes++
        repaired++
        continue
      }
      this.#seen[row] = sweep
      if (!this.#isSettled(row) || this.#equals(row, batch.values, i * valueSize)) continue
      this.#repair(row)
      repaired++
    }
    return repaired
  }

  #repair(row: number): void {
    const { raw, valueSize } = this.map
    try {
      raw.set(this.#index.keys(row), this.#values.subarray(row * valueSize, (row + 1) * valueSize))
    } catch (error) {
      throw asMapFull(this.map, error)
    }
    this.writes++
  }

  #encodeKey(key: Value): void {
    this.map.keyCodec.encode(key, this.#keyBytes)
  }

  #add(keys: Uint32Array, from: number): number {
    const row = this.#index.add(keys, from)
    if (row >= this.#states.length) this.#grow()
    this.#seen[row] = this.#sweeps
    return row
  }

  #grow(): void {
    const rows = this.#index.capacity
    const values = Buffer.alloc(rows * this.map.valueSize)
    this.#values.copy(values)
    this.#values = values
    const states = new Uint8Array(rows)
    states.set(this.#states)
    this.#states = states
    const seen = new Uint32Array(rows)
    seen.set(this.#seen)
    this.#seen = seen
  }

  /** Gives a row the value that is in the buffer. */
  #put(row: number): void {
    const state = this.#stateOf(row)
    if ((state & WANTED) === 0) {
      if ((state & WRITTEN) === 0) this.#makeRoom()
      this.#want(row)
    } else if (!this.#equals(row, this.#valueBytes, 0)) this.#write(row)
  }

  #want(row: number): void {
    const state = this.#stateOf(row)
    if ((state & WRITTEN) === 0) this.#occupied++
    this.#wanted++
    this.#states[row] = state | WANTED
    this.#write(row)
  }

  #write(row: number): void {
    this.#values.set(this.#valueBytes, row * this.map.valueSize)
    const state = this.#stateOf(row)
    if ((state & DIRTY) !== 0) return
    this.#dirty.push(row)
    this.#states[row] = state | DIRTY
  }

  /** A row that is to be deleted has its place until it is. */
  #makeRoom(): void {
    if (this.#occupied >= this.map.maxEntries) throw mapFull(this.map, 'is full')
  }

  #stateOf(row: number): number {
    return this.#states[row] ?? 0
  }

  /** Wanted, and as it is here in the kernel, unless somebody else has changed it there. */
  #isSettled(row: number): boolean {
    return (this.#stateOf(row) & (WANTED | WRITTEN | DIRTY)) === (WANTED | WRITTEN)
  }

  #equals(row: number, bytes: Uint8Array, at: number): boolean {
    const { valueSize } = this.map
    const start = row * valueSize
    for (let i = 0; i < valueSize; i++) if (this.#values[start + i] !== bytes[at + i]) return false
    return true
  }
}

/** lookupBatch gives keys in a buffer of their own. */
function wordsOf({ keys }: Rows): Uint32Array {
  return new Uint32Array(keys.buffer, keys.byteOffset, keys.length / 4)
}
