/** Array maps of the kernel with their shadows. */
import type { Value } from 'libbpf-ts'
import { BATCH, inRuns, Outgoing, readBatches, type KernelMap, type Sweepable } from './tables.js'

/** An array map of rows: one that is not wanted is all zeroes. Flushed as a HashTable is. */
export class ArrayTable<V extends Value = Value> implements Sweepable {
  writes = 0
  readonly #cells: Buffer
  readonly #wanted: Uint8Array
  readonly #dirty: Marked
  readonly #doomed: Marked
  readonly #valueBytes: Buffer

  constructor(
    readonly name: string,
    readonly map: KernelMap,
  ) {
    this.#cells = Buffer.alloc(map.maxEntries * map.valueSize)
    this.#wanted = new Uint8Array(map.maxEntries)
    this.#dirty = new Marked(map.maxEntries)
    this.#doomed = new Marked(map.maxEntries)
    this.#valueBytes = Buffer.alloc(map.valueSize)
  }

  load(): void {
    const { valueSize } = this.map
    let index = 0
    for (const { values, count } of readBatches(this.map)) {
      this.#cells.set(values, index * valueSize)
      for (let i = 0; i < count; i++, index++) this.#wanted[index] = this.#isZero(index) ? 0 : 1
    }
  }

  *entries(): Generator<[number, V]> {
    for (
      let index = this.#wanted.indexOf(1);
      index !== -1;
      index = this.#wanted.indexOf(1, index + 1)
    )
      yield [index, this.#decode(index)]
  }

  has(index: number): boolean {
    return this.#wanted[index] === 1
  }

  get(index: number): V | undefined {
    return this.has(index) ? this.#decode(index) : undefined
  }

  put(index: number, value: Value): void {
    this.map.valueCodec.encode(value, this.#valueBytes)
    if (this.has(index)) {
      if (this.#equals(index, this.#valueBytes, 0)) return
    } else {
      this.#wanted[index] = 1
      this.#doomed.remove(index)
    }
    this.#dirty.add(index)
    this.#cells.set(this.#valueBytes, index * this.map.valueSize)
  }

  delete(index: number): void {
    if (!this.has(index)) return
    const { valueSize } = this.map
    this.#wanted[index] = 0
    this.#dirty.remove(index)
    this.#doomed.add(index)
    this.#cells.fill(0, index * valueSize, (index + 1) * valueSize)
  }

  flushWrites(): void {
    this.#flush(this.#dirty)
  }

  flushDeletes(): void {
    this.#flush(this.#doomed)
  }

  *sweep(): Generator<number> {
    const { valueSize } = this.map
    let start = 0
    for (const { values, count } of readBatches(this.map)) {
      const wrong: number[] = []
      const end = start + count
      if (
        this.#cells.compare(values, 0, count * valueSize, start * valueSize, end * valueSize) !== 0
      )
        for (let i = 0; i < count; i++)
          if (!this.#isPending(start + i) && !this.#equals(start + i, values, i * valueSize))
            wrong.push(start + i)
      this.#write(wrong)
      start = end
      yield wrong.length
    }
  }

  #flush(marked: Marked): void {
    if (marked.size === 0) return
    this.#write(marked.list())
    marked.clear()
  }

  #write(indexes: readonly number[]): void {
    const { valueSize } = this.map
    writeIndexed(this.map, indexes, (first, count) =>
      this.#cells.subarray(first * valueSize, (first + count) * valueSize),
    )
    this.writes += indexes.length
  }

  /** The kernel is yet to hear of it. */
  #isPending(index: number): boolean {
    return this.#dirty.has(index) || this.#doomed.has(index)
  }

  #isZero(index: number): boolean {
    const { valueSize } = this.map
    const end = (index + 1) * valueSize
    for (let at = index * valueSize; at < end; at++) if (this.#cells[at] !== 0) return false
    return true
  }

  #equals(index: number, bytes: Uint8Array, at: number): boolean {
    const { valueSize } = this.map
    const start = index * valueSize
    for (let i = 0; i < valueSize; i++) if (this.#cells[start + i] !== bytes[at + i]) return false
    return true
  }

  #decode(index: number): V {
    const { valueSize } = this.map
    // By way of a buffer that the codec knows: it makes a view of every other.
    this.#cells.copy(this.#valueBytes, 0, index * valueSize, (index + 1) * valueSize)
    return this.map.valueCodec.decode(this.#valueBytes) as V
  }
}

/** The slots map: ranges of numbers, and what lies outside the ranges in use is nobody's concern. */
export class SlotTable implements Sweepable {
  writes = 0
  readonly #cells: Uint32Array
  readonly #used: Uint8Array
  readonly #dirty: Marked

  constructor(
    readonly name: string,
    readonly map: KernelMap,
  ) {
    this.#cells = new Uint32Array(map.maxEntries)
    this.#used = new Uint8Array(map.maxEntries)
    this.#dirty = new Marked(map.maxEntries)
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
      this.#dirty.add(start + i)
    })
  }

  flushWrites(): void {
    if (this.#dirty.size === 0) return
    this.#write(this.#dirty.list())
    this.#dirty.clear()
  }

  /** There is nothing to delete: a range is given back by no longer being named. */
  flushDeletes(): void {
    return undefined
  }

  *sweep(): Generator<number> {
    let start = 0
    for (const cells of this.#read()) {
      const wrong: number[] = []
      for (let i = 0; i < cells.length; i++) {
        const index = start + i
        const found = cells[i] ?? 0
        if (found === this.#cells[index] || this.#dirty.has(index)) continue
        if (this.#used[index] === 1) wrong.push(index)
        else this.#cells[index] = found
      }
      this.#write(wrong)
      start += cells.length
      yield wrong.length
    }
  }

  #write(indexes: readonly number[]): void {
    writeIndexed(this.map, indexes, (first, count) => {
      const { buffer } = this.#cells
      return new Uint8Array(buffer, first * 4, count * 4)
    })
    this.writes += indexes.length
  }

  /** Elements in batches; the guard has checked that they are 32 bits wide. */
  *#read(): Generator<Uint32Array> {
    for (const { values, count } of readBatches(this.map))
      yield new Uint32Array(values.buffer, values.byteOffset, count)
  }
}

/** Some of the indexes of an array, in the order of arrival. */
class Marked {
  readonly #marks: Uint8Array
  /** May name one that was removed, and then one twice. */
  #list: number[] = []
  #size = 0

  constructor(entries: number) {
    this.#marks = new Uint8Array(entries)
  }

  get size(): number {
    return this.#size
  }

  has(index: number): boolean {
    return this.#marks[index] === 1
  }

  add(index: number): void {
    if (this.#marks[index] === 1) return
    this.#marks[index] = 1
    this.#list.push(index)
    this.#size++
  }

  remove(index: number): void {
    if (this.#marks[index] !== 1) return
    this.#marks[index] = 0
    this.#size--
  }

  list(): number[] {
    return this.#list.length === this.#size
      ? this.#list
      : [...new Set(this.#list)].filter((index) => this.has(index))
  }

  clear(): void {
    for (const index of this.#list) this.#marks[index] = 0
    this.#list = []
    this.#size = 0
  }
}

/** @param valuesOf the values of consecutive indexes */
function writeIndexed(
  map: KernelMap,
  indexes: readonly number[],
  valuesOf: (first: number, count: number) => Uint8Array,
): void {
  if (indexes.length === 0) return
  const outgoing = new Outgoing(map, indexes.length)
  const keys = new Uint32Array(Math.min(BATCH, indexes.length))
  inRuns(indexes, (first, count) => {
    for (let i = 0; i < count; i++) keys[i] = first + i
    outgoing.add(new Uint8Array(keys.buffer, 0, count * 4), valuesOf(first, count), count)
  })
  outgoing.end()
}
