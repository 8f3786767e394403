/**
 * Kernel maps that the agent alone writes, each with a shadow of what it should hold: a row is
 * written only when it differs, and a sweep finds what somebody else changed. Rows are kept and
 * compared as bytes; only their codecs know what is in them.
 */
import { setImmediate as breathe } from 'node:timers/promises'
import { BpfError, type BpfMap, type Codec, type Value } from 'libbpf-ts'
import { FairleadError } from '../errors.js'
import type { Fields } from './rows.js'

/** Rows a sweep reads before it lets others run. */
const BATCH = 4096

export type KernelMap = BpfMap

/** Bytes as a key of a Map. */
function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
}

function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, 'latin1')
}

function encode(codec: Codec, value: Value): Uint8Array {
  const bytes = new Uint8Array(codec.size)
  codec.encode(value, bytes)
  return bytes
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

const FULL = new Set(['E2BIG', 'ENOMEM', 'ENOSPC'])

/** Names the map and its size where the kernel only had a number. */
function asMapFull(map: KernelMap, error: unknown): unknown {
  if (!(error instanceof BpfError) || !FULL.has(error.code)) return error
  const why = error.code === 'ENOMEM' ? 'has no memory left for more' : 'is full'
  return new FairleadError('MAP_FULL', `map ${map.name} ${why} (${map.maxEntries} entries)`, {
    cause: error,
  })
}

/** What the reconciler asks of a table, whatever the kind of map. */
export interface Sweepable {
  readonly name: string
  /** Writes to the kernel since the start, repairs included. */
  readonly writes: number
  /** Takes what the kernel holds for what was written. */
  load(): void
  /** Puts back what differs from what was written; returns how many rows that were. */
  sweep(): Promise<number>
}

/** A hash map: a row that is not wanted is not there. K and V name what its codecs give. */
export class HashTable<K extends Value = Value, V extends Value = Value> implements Sweepable {
  writes = 0
  /** Key → value, both as bytes. */
  readonly #rows = new Map<string, Uint8Array>()

  constructor(
    readonly name: string,
    readonly map: KernelMap,
  ) {}

  load(): void {
    this.#rows.clear()
    for (const { key, value } of this.#read()) this.#rows.set(textOf(key), value.slice())
  }

  /** The row's identity: what the other methods call `key`. */
  keyOf(fields: Fields | number | bigint): string {
    return textOf(encode(this.map.keyCodec, fields))
  }

  keys(): string[] {
    return [...this.#rows.keys()]
  }

  decodeKey(key: string): K {
    return this.map.keyCodec.decode(bytesOf(key)) as K
  }

  get(key: string): V | undefined {
    const bytes = this.#rows.get(key)
    return bytes && (this.map.valueCodec.decode(bytes) as V)
  }

  /** @throws FairleadError MAP_FULL; BpfError for anything else */
  put(key: string, value: Value): void {
    const bytes = encode(this.map.valueCodec, value)
    const before = this.#rows.get(key)
    if (before !== undefined && same(before, bytes)) return
    this.#write(key, bytes)
    this.#rows.set(key, bytes)
  }

  delete(key: string): void {
    if (!this.#rows.has(key)) return
    this.map.raw.delete(bytesOf(key))
    this.writes++
    this.#rows.delete(key)
  }

  async sweep(): Promise<number> {
    let repaired = 0
    const seen = new Set<string>()
    for (const { key, value, last } of this.#read()) {
      const text = textOf(key)
      const wanted = this.#rows.get(text)
      if (wanted === undefined) {
        this.map.raw.delete(key)
        this.writes++
        repaired++
      } else {
        seen.add(text)
        if (!same(wanted, value)) {
          this.#write(text, wanted)
          repaired++
        }
      }
      if (last) await breathe()
    }
    if (seen.size === this.#rows.size) return repaired
    for (const [text, wanted] of this.#rows) {
      if (seen.has(text)) continue
      this.#write(text, wanted)
      repaired++
    }
    return repaired
  }

  #write(key: string, value: Uint8Array): void {
    try {
      this.map.raw.set(bytesOf(key), value)
    } catch (error) {
      throw asMapFull(this.map, error)
    }
    this.writes++
  }

  *#read(): Generator<{ key: Uint8Array; value: Uint8Array; last: boolean }> {
    yield* readRaw(this.map)
  }
}

/** An array map of rows: one that is not wanted is all zeroes. */
export class ArrayTable<V extends Value = Value> implements Sweepable {
  writes = 0
  readonly #rows = new Map<number, Uint8Array>()
  readonly #zero: Uint8Array

  constructor(
    readonly name: string,
    readonly map: KernelMap,
  ) {
    this.#zero = new Uint8Array(map.valueSize)
  }

  load(): void {
    this.#rows.clear()
    let index = 0
    for (const { value } of readRaw(this.map)) {
      if (!same(value, this.#zero)) this.#rows.set(index, value.slice())
      index++
    }
  }

  entries(): [number, V][] {
    return [...this.#rows].map(([index, bytes]) => [index, this.#decode(bytes) as V])
  }

  get(index: number): V | undefined {
    const bytes = this.#rows.get(index)
    return bytes && (this.#decode(bytes) as V)
  }

  put(index: number, value: Value): void {
    const bytes = encode(this.map.valueCodec, value)
    const before = this.#rows.get(index)
    if (before !== undefined && same(before, bytes)) return
    this.#write(index, bytes)
    this.#rows.set(index, bytes)
  }

  delete(index: number): void {
    if (!this.#rows.has(index)) return
    this.#write(index, this.#zero)
    this.#rows.delete(index)
  }

  async sweep(): Promise<number> {
    let repaired = 0
    let index = 0
    for (const { value, last } of readRaw(this.map)) {
      const wanted = this.#rows.get(index) ?? this.#zero
      if (!same(wanted, value)) {
        this.#write(index, wanted)
        repaired++
      }
      index++
      if (last) await breathe()
    }
    return repaired
  }

  #write(index: number, bytes: Uint8Array): void {
    this.map.raw.set(encode(this.map.keyCodec, index), bytes)
    this.writes++
  }

  #decode(bytes: Uint8Array): Value {
    return this.map.valueCodec.decode(bytes)
  }
}

/** The slots map: ranges of numbers, and what lies outside the ranges in use is nobody's concern. */
export class SlotTable implements Sweepable {
  writes = 0
  readonly #cells: Uint32Array
  readonly #used: Uint8Array

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
    const changed: [number, number][] = []
    ids.forEach((id, i) => {
      if (this.#cells[start + i] !== id) changed.push([start + i, id])
    })
    if (changed.length === 0) return
    this.map.setMany(changed)
    this.writes += changed.length
    for (const [index, id] of changed) this.#cells[index] = id
  }

  async sweep(): Promise<number> {
    let start = 0
    const wrong: [number, number][] = []
    for (const cells of this.#read()) {
      cells.forEach((found, i) => {
        const wanted = this.#cells[start + i] ?? 0
        if (found === wanted) return
        if (this.#used[start + i] === 1) wrong.push([start + i, wanted])
        else this.#cells[start + i] = found
      })
      start += cells.length
      await breathe()
    }
    if (wrong.length > 0) this.map.setMany(wrong)
    this.writes += wrong.length
    return wrong.length
  }

  /** Elements in batches; the guard has checked that they are 32 bits wide. */
  *#read(): Generator<Uint32Array> {
    for (const { values, count } of readBatches(this.map)) {
      yield new Uint32Array(values.slice().buffer, 0, count)
    }
  }
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
