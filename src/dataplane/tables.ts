/**
 * Kernel maps that the agent alone writes, each with a shadow of what it should hold: a row is
 * written only when it differs, many in one call, and a sweep finds what somebody else changed. Rows
 * are kept and compared as bytes; only their codecs know what is in them.
 */
import { BpfError, type BpfMap } from 'libbpf-ts'
import { FairleadError } from '../errors.js'

/** Rows in one call; a sweep lets others run after so many. */
export const BATCH = 4096

export type KernelMap = BpfMap

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
  /**
   * Puts back what differs from what was written, a batch at a step; gives how many rows that were.
   * Between steps rows may be put, deleted and flushed.
   */
  sweep(): Generator<number>
}

const FULL = new Set(['E2BIG', 'ENOMEM', 'ENOSPC'])

export function mapFull(map: KernelMap, why: string, cause?: unknown): FairleadError {
  return new FairleadError('MAP_FULL', `map ${map.name} ${why} (${map.maxEntries} entries)`, {
    cause,
  })
}

/** Names the map and its size where the kernel only had a number. */
export function asMapFull(map: KernelMap, error: unknown): unknown {
  if (!(error instanceof BpfError) || !FULL.has(error.code)) return error
  return mapFull(map, error.code === 'ENOMEM' ? 'has no memory left for more' : 'is full', error)
}

export interface Rows {
  /** `count` keys, one after the other, and as many values. */
  readonly keys: Uint8Array
  readonly values: Uint8Array
  readonly count: number
}

/** A batch is good until the next one of any map. */
export function* readBatches(map: KernelMap): Generator<Rows> {
  let cursor: Uint8Array | undefined
  do {
    const batch = map.raw.lookupBatch(cursor, BATCH, false)
    yield batch
    cursor = batch.next
  } while (cursor !== undefined)
}

/** Calls `write` with each run of consecutive numbers, none of them longer than BATCH. */
export function inRuns(
  numbers: readonly number[],
  write: (first: number, count: number) => void,
): void {
  let first = -1
  let count = 0
  for (const number of numbers) {
    if (number === first + count && count < BATCH) {
      count++
      continue
    }
    if (count > 0) write(first, count)
    first = number
    count = 1
  }
  if (count > 0) write(first, count)
}

/** Shared by all tables, because a flush never waits: buffers of its own would keep the GC busy. */
let scratch = new Uint8Array(1 << 16)

/** Rows on their way to the kernel, in calls of up to BATCH. To be ended before another begins. */
export class Outgoing {
  readonly #keys: Uint8Array
  readonly #values: Uint8Array
  readonly #room: number
  #count = 0

  /** @param rows at most, all in all */
  constructor(
    readonly map: KernelMap,
    rows: number,
  ) {
    this.#room = Math.min(BATCH, rows)
    const keyBytes = this.#room * map.keySize
    const bytes = keyBytes + this.#room * map.valueSize
    if (bytes > scratch.length) scratch = new Uint8Array(bytes)
    this.#keys = scratch.subarray(0, keyBytes)
    this.#values = scratch.subarray(keyBytes, bytes)
  }

  /** @param keys of `count` rows, as many as there are values; at most BATCH */
  add(keys: Uint8Array, values: Uint8Array, count: number): void {
    if (this.#count + count > this.#room) this.end()
    this.#keys.set(keys, this.#count * this.map.keySize)
    this.#values.set(values, this.#count * this.map.valueSize)
    this.#count += count
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
