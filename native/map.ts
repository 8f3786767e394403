/** Maps: keys and values through codecs, walks and writes in batches. */
import { addon, type MapDefinition, type MapDetails, type NativeMap } from './addon.js'
import * as check from './check.js'
import type { Codec, Value } from './codec.js'
import { bpfError, BpfError } from './errors.js'
import {
  DESCRIPTOR_MAPS,
  INDEXED_MAPS,
  mapTypeName,
  mapTypeNumber,
  PER_CPU_MAPS,
  type MapType,
} from './kinds.js'
import { pick, withKernelBtf, type Codecs } from './mapCodecs.js'
import { RawMap } from './rawMap.js'

/** What to write: any element, only a new one (else EEXIST), only an existing one (else ENOENT). */
export type WriteMode = 'any' | 'noexist' | 'exist'
const WRITE_FLAGS: Readonly<Record<WriteMode, number>> = { any: 0, noexist: 1, exist: 2 }

/** Elements in one call; more would only hold the CPU longer. */
const CHUNK = 1000
const CHUNK_BYTES = 1 << 20

/**
 * A BPF map. Keys and values are what the codecs say; without BTF they are Uint8Arrays, or numbers
 * for indexes and descriptors. All methods throw BpfError: EBADF before load and after close(),
 * else what the kernel answers.
 */
export class BpfMap<K = Value, V = Value> implements Iterable<[K, V]> {
  readonly name: string
  readonly type: MapType | (string & {})
  readonly keyCodec: Codec<K>
  readonly valueCodec: Codec<V>
  readonly keySize: number
  readonly valueSize: number
  readonly flags: number
  readonly perCpu: boolean

  #definition: MapDefinition
  #native: NativeMap | undefined
  #raw: RawMap | undefined
  /** Bytes from one CPU's value to the next, and of all of them. */
  readonly #stride: number
  #elementSize = 0
  #keyBytes = new Uint8Array(0)
  #valueBytes = new Uint8Array(0)

  /** @internal */
  constructor(definition: MapDefinition, codecs: Codecs<K, V>, native?: NativeMap) {
    this.name = definition.name
    this.type = mapTypeName(definition.type)
    this.keySize = definition.keySize
    this.valueSize = definition.valueSize
    this.flags = definition.flags
    this.perCpu = PER_CPU_MAPS.has(this.type)
    this.#stride = Math.ceil(definition.valueSize / 8) * 8
    this.#definition = definition
    const indexed = INDEXED_MAPS.has(this.type) && this.keySize === 4
    const descriptors = DESCRIPTOR_MAPS.has(this.type) && this.valueSize === 4
    this.keyCodec = pick(codecs.key, this.keySize, indexed, `${this.name} key`)
    this.valueCodec = pick(codecs.value, this.valueSize, descriptors, `${this.name} value`)
    if (native !== undefined) this.bind(native)
  }

  /**
   * @param path   a pin on a bpffs
   * @param codecs default to the layouts that the kernel keeps of the map
   * @throws BpfError ENOENT, EPERM, EINVAL (a pin of something else); RangeError for a codec whose
   *   size is not the map's
   */
  static openPinned<K = Value, V = Value>(path: string, codecs: Codecs<K, V> = {}): BpfMap<K, V> {
    const native = new addon.Map(check.text(path, 'path'))
    try {
      const details = native.details()
      return new BpfMap<K, V>(details, withKernelBtf(details, check.options(codecs)), native)
    } catch (error) {
      native.close()
      throw error
    }
  }

  /** A new map that belongs to no object file. */
  static create<K = Value, V = Value>(
    wanted: {
      name: string
      type: MapType
      keySize: number
      valueSize: number
      maxEntries: number
      flags?: number
    },
    codecs: Codecs<K, V> = {},
  ): BpfMap<K, V> {
    const { name, type, keySize, valueSize, maxEntries, flags = 0 } = check.options(wanted, 'map')
    const definition = { name, type: mapTypeNumber(type), keySize, valueSize, maxEntries, flags }
    const native = new addon.Map(definition)
    try {
      return new BpfMap<K, V>(native.details(), check.options(codecs), native)
    } catch (error) {
      native.close()
      throw error
    }
  }

  /** @internal Called once, when the map exists in the kernel. */
  bind(native: NativeMap): void {
    const details = native.details()
    this.#definition = details
    this.#native = native
    this.#elementSize = details.elementSize
    this.#keyBytes = new Uint8Array(details.keySize)
    this.#valueBytes = new Uint8Array(details.elementSize)
  }

  /** @internal Before load: what resize() has set. */
  adjust(maxEntries: number): void {
    this.#definition = { ...this.#definition, maxEntries }
  }

  get id(): number {
    return this.details('id').id
  }

  get fd(): number {
    return this.details('fd').fd
  }

  get maxEntries(): number {
    return this.#definition.maxEntries
  }

  /** The same elements as bytes. */
  get raw(): RawMap {
    this.#raw ??= new RawMap(this.name, this.keySize, () => this.open('raw'))
    return this.#raw
  }

  /** @throws TypeError for a per-CPU map */
  get(key: K): V | undefined {
    const native = this.open('get')
    this.plain('get', 'getPerCpu')
    this.keyCodec.encode(key, this.#keyBytes)
    if (!native.lookup(this.#keyBytes, this.#valueBytes)) return undefined
    return this.valueCodec.decode(this.#valueBytes)
  }

  has(key: K): boolean {
    const native = this.open('has')
    this.keyCodec.encode(key, this.#keyBytes)
    return native.lookup(this.#keyBytes, this.#valueBytes)
  }

  /**
   * @throws TypeError or RangeError for a value that does not fit; BpfError EEXIST, ENOENT (by
   *   `mode`), E2BIG or ENOSPC (no room)
   */
  set(key: K, value: V, mode: WriteMode = 'any'): this {
    const native = this.open('set')
    this.plain('set', 'setPerCpu')
    this.keyCodec.encode(key, this.#keyBytes)
    this.valueCodec.encode(value, this.#valueBytes)
    native.update(this.#keyBytes, this.#valueBytes, writeFlags(mode))
    return this
  }

  /** false: there was none */
  delete(key: K): boolean {
    const native = this.open('delete')
    this.keyCodec.encode(key, this.#keyBytes)
    return native.remove(this.#keyBytes)
  }

  /** One value a possible CPU. @throws TypeError unless per-CPU */
  getPerCpu(key: K): V[] | undefined {
    const native = this.open('getPerCpu')
    this.spread('getPerCpu')
    this.keyCodec.encode(key, this.#keyBytes)
    if (!native.lookup(this.#keyBytes, this.#valueBytes)) return undefined
    return this.decodePerCpu(this.#valueBytes, 0)
  }

  /** @param values one a possible CPU. @throws RangeError for another number of them */
  setPerCpu(key: K, values: readonly V[], mode: WriteMode = 'any'): this {
    const native = this.open('setPerCpu')
    this.spread('setPerCpu')
    const cpus = this.#elementSize / this.#stride
    if (!Array.isArray(values)) throw new TypeError('values: not an array')
    if (values.length !== cpus) {
      throw new RangeError(`values: ${values.length}, and there are ${cpus} possible CPUs`)
    }
    this.keyCodec.encode(key, this.#keyBytes)
    values.forEach((value: V, cpu) => {
      this.valueCodec.encode(value, this.#valueBytes, cpu * this.#stride)
    })
    native.update(this.#keyBytes, this.#valueBytes, writeFlags(mode))
    return this
  }

  /**
   * Elements that stay during the walk come once (in a hash map that changes meanwhile, possibly
   * twice); others may come or not. The same holds for all walks.
   */
  *entries(): Generator<[K, V]> {
    this.plain('entries', 'entriesPerCpu')
    for (const chunk of this.chunks()) {
      for (let i = 0; i < chunk.count; i++) {
        yield [
          this.keyCodec.decode(chunk.keys, i * this.keySize),
          this.valueCodec.decode(chunk.values, i * this.#elementSize),
        ]
      }
    }
  }

  *entriesPerCpu(): Generator<[K, V[]]> {
    this.spread('entriesPerCpu')
    for (const chunk of this.chunks()) {
      for (let i = 0; i < chunk.count; i++) {
        yield [
          this.keyCodec.decode(chunk.keys, i * this.keySize),
          this.decodePerCpu(chunk.values, i * this.#elementSize),
        ]
      }
    }
  }

  *keys(): Generator<K> {
    for (const chunk of this.chunks()) {
      for (let i = 0; i < chunk.count; i++) {
        yield this.keyCodec.decode(chunk.keys, i * this.keySize)
      }
    }
  }

  *values(): Generator<V> {
    this.plain('values', 'entriesPerCpu')
    for (const chunk of this.chunks()) {
      for (let i = 0; i < chunk.count; i++) {
        yield this.valueCodec.decode(chunk.values, i * this.#elementSize)
      }
    }
  }

  [Symbol.iterator](): Generator<[K, V]> {
    return this.entries()
  }

  /**
   * Writes in batches of 1,000. What came before a failure stays written.
   *
   * @returns how many were written
   */
  setMany(entries: Iterable<readonly [K, V]>, mode: WriteMode = 'any'): number {
    const native = this.open('setMany')
    this.plain('setMany', 'setPerCpu')
    const flags = writeFlags(mode)
    const keys = new Uint8Array(CHUNK * this.keySize)
    const values = new Uint8Array(CHUNK * this.valueSize)
    let done = 0
    let count = 0
    const flush = (): void => {
      if (count === 0) return
      const keyPart = keys.subarray(0, count * this.keySize)
      done += native.updateMany(keyPart, values.subarray(0, count * this.valueSize), count, flags)
      count = 0
    }
    for (const [key, value] of entries) {
      this.keyCodec.encode(key, keys, count * this.keySize)
      this.valueCodec.encode(value, values, count * this.valueSize)
      if (++count === CHUNK) flush()
    }
    flush()
    return done
  }

  /** @returns how many were there; absent keys are skipped */
  deleteMany(keys: Iterable<K>): number {
    const native = this.open('deleteMany')
    const bytes = new Uint8Array(CHUNK * this.keySize)
    let removed = 0
    let count = 0
    const flush = (): void => {
      if (count > 0) removed += native.deleteMany(bytes.subarray(0, count * this.keySize), count)
      count = 0
    }
    for (const key of keys) {
      this.keyCodec.encode(key, bytes, count * this.keySize)
      if (++count === CHUNK) flush()
    }
    flush()
    return removed
  }

  /** Elements now, by a walk in the addon; of an array, its size. */
  count(): number {
    return this.open('count').count()
  }

  /** No more writes from user space, for as long as the map lives. */
  freeze(): void {
    this.open('freeze').freeze()
  }

  /** @param path new, on a bpffs. @throws BpfError EEXIST, EPERM (not a bpffs) */
  pin(path: string): void {
    this.open('pin').pin(check.text(path, 'path'))
  }

  /** @throws BpfError ENOENT; EINVAL when it is another object's pin */
  unpin(path: string): void {
    this.open('unpin').unpin(check.text(path, 'path'))
  }

  /** Idempotent. Pins and programs keep the map in the kernel. */
  close(): void {
    this.#native?.close()
    this.#native = undefined
  }

  [Symbol.dispose](): void {
    this.close()
  }

  private open(operation: string): NativeMap {
    if (this.#native === undefined) {
      throw bpfError(operation, this.name, 'EBADF', 'the map is not loaded, or closed')
    }
    return this.#native
  }

  private details(operation: string): MapDetails {
    return this.open(operation).details()
  }

  private plain(operation: string, instead: string): void {
    if (this.perCpu) throw new TypeError(`${this.name}: ${operation} on a per-CPU map: ${instead}`)
  }

  private spread(operation: string): void {
    if (!this.perCpu) throw new TypeError(`${this.name}: ${operation} on a map that is not per-CPU`)
  }

  private decodePerCpu(bytes: Uint8Array, offset: number): V[] {
    const values: V[] = []
    for (let at = 0; at < this.#elementSize; at += this.#stride) {
      values.push(this.valueCodec.decode(bytes, offset + at))
    }
    return values
  }

  private *chunks(): Generator<{ keys: Uint8Array; values: Uint8Array; count: number }> {
    const row = Math.max(1, this.keySize + this.#elementSize)
    let max = Math.max(16, Math.min(CHUNK, Math.floor(CHUNK_BYTES / row)))
    let cursor: Uint8Array | undefined
    // A map that is filled faster than it is walked must not hold the caller for ever.
    let left = 4 * this.maxEntries + 4096
    while (left > 0) {
      let chunk
      try {
        chunk = this.raw.lookupBatch(cursor, max)
      } catch (error) {
        // One bucket of a hash map holds more than a chunk.
        if (!(error instanceof BpfError) || error.code !== 'ENOSPC' || max > 1 << 20) throw error
        max *= 4
        continue
      }
      yield chunk
      if (chunk.next === undefined) return
      cursor = chunk.next
      left -= chunk.count
    }
  }
}

function writeFlags(mode: WriteMode): number {
  check.oneOf(mode, ['any', 'noexist', 'exist'], 'mode')
  return WRITE_FLAGS[mode]
}
