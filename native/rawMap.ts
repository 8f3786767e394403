/** A map's elements as bytes, for bulk work that does not need objects. */
import type { NativeMap } from './addon.js'
import * as check from './check.js'

export interface Chunk {
  /** `count` keys, one after the other. */
  readonly keys: Uint8Array
  /** `count` elements of `elementSize` bytes. */
  readonly values: Uint8Array
  readonly count: number
  /** Where to go on; absent after the last chunk. Opaque. */
  readonly next?: Uint8Array
}

const MAX_CHUNK = 1 << 22

/** Of all chunks that do not last. */
let scratch = new Uint8Array(0)

function borrowed(keyBytes: number, valueBytes: number): [Uint8Array, Uint8Array] {
  const start = Math.ceil(keyBytes / 8) * 8
  if (scratch.length < start + valueBytes) scratch = new Uint8Array(start + valueBytes)
  return [scratch.subarray(0, keyBytes), scratch.subarray(start, start + valueBytes)]
}

/** Lengths are checked in the addon: RangeError for a buffer of another size than the map's. */
export class RawMap {
  /** @internal */
  constructor(
    private readonly name: string,
    private readonly keySize: number,
    private readonly open: () => NativeMap,
  ) {}

  /** Bytes of one element: the value's, or for a per-CPU map those of all CPUs, each padded to 8. */
  get elementSize(): number {
    return this.open().details().elementSize
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const native = this.open()
    const value = new Uint8Array(native.details().elementSize)
    return native.lookup(key, value) ? value : undefined
  }

  /** @param flags BPF_ANY, BPF_NOEXIST, ...: 0, 1, ... */
  set(key: Uint8Array, value: Uint8Array, flags = 0): this {
    this.open().update(key, value, flags)
    return this
  }

  delete(key: Uint8Array): boolean {
    return this.open().remove(key)
  }

  /**
   * @param cursor `next` of the chunk before; undefined starts
   * @param max    elements; a hash map answers ENOSPC when one of its buckets holds more
   * @param lasting false: the chunk is good until the next such one of any map, and nothing is
   *               allocated for it
   */
  lookupBatch(cursor: Uint8Array | undefined, max: number, lasting = true): Chunk {
    const native = this.open()
    check.integer(max, `${this.name} max`, 1, MAX_CHUNK)
    const next = new Uint8Array(Math.max(this.keySize, 8))
    const elementSize = native.details().elementSize
    const [keys, values] = lasting
      ? [new Uint8Array(max * this.keySize), new Uint8Array(max * elementSize)]
      : borrowed(max * this.keySize, max * elementSize)
    const answer = native.lookupBatch(cursor, next, keys, values, max)
    const count = answer < 0 ? -1 - answer : answer
    const chunk = {
      keys: keys.subarray(0, count * this.keySize),
      values: values.subarray(0, count * elementSize),
      count,
    }
    return answer < 0 ? chunk : { ...chunk, next }
  }

  /**
   * @param keys   count keys, one after the other
   * @param values count elements, likewise
   */
  setMany(keys: Uint8Array, values: Uint8Array, count: number, flags = 0): number {
    return this.open().updateMany(keys, values, count, flags)
  }

  /** @returns how many were there */
  deleteMany(keys: Uint8Array, count: number): number {
    return this.open().deleteMany(keys, count)
  }
}
