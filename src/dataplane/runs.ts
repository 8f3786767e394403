/** Rows of arrays, read many at a time. */
import type { KernelMap } from './tables.js'

/** Rows between two ids in use that are cheaper to read along than to leave out. */
const GAP_ROWS = 256
const BATCH = 2048

export interface Run {
  /** Index of the first row. */
  readonly first: number
  readonly values: Uint8Array
  readonly count: number
}

/** The rows of some ids of an array, and of those between them that are not worth leaving out. */
export function* readRuns(
  map: KernelMap,
  ids: readonly number[],
  rowsPerId: number,
): Generator<Run> {
  const starts = Float64Array.from(ids, (id) => id * rowsPerId).sort()
  for (let i = 0; i < starts.length;) {
    const first = starts[i] ?? 0
    let end = first + rowsPerId
    for (i++; i < starts.length && (starts[i] ?? 0) - end <= GAP_ROWS; i++)
      end = (starts[i] ?? 0) + rowsPerId
    yield* readRange(map, first, end)
  }
}

/** Rows of an array from `first` to before `end`, in parts. */
export function* readRange(map: KernelMap, first: number, end: number): Generator<Run> {
  const { keyCodec, keySize } = map
  let cursor: Uint8Array | undefined
  if (first > 0) {
    // An array's batch goes on after the index it is given.
    cursor = new Uint8Array(Math.max(keySize, 8))
    keyCodec.encode(first - 1, cursor)
  }
  for (let at = first; at < end;) {
    const { values, count, next } = map.raw.lookupBatch(cursor, Math.min(BATCH, end - at), false)
    yield { first: at, values, count }
    if (next === undefined) return
    at += count
    cursor = next
  }
}

/** 64 bits of a counter; beyond 2^53 it is as exact as a number can be. */
export function wide(words: Uint32Array, at: number): number {
  const one = words[at] ?? 0
  const other = words[at + 1] ?? 0
  // Most are small: such a sum stays a small integer.
  if (LITTLE) return other === 0 ? one : one + other * 2 ** 32
  return one === 0 ? other : other + one * 2 ** 32
}

/** 32 bits of two halves. */
export function wholeOf(halves: Uint16Array, at: number): number {
  const one = halves[at] ?? 0
  const other = halves[at + 1] ?? 0
  return LITTLE ? one + other * 2 ** 16 : other + one * 2 ** 16
}

const LITTLE = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1
