/** Ring buffers: records as they come, on the event loop, without a thread. */
import { addon, type NativeRingBuffer } from './addon.js'
import type { Codec } from './codec.js'
import { bpfError } from './errors.js'
import { BpfMap } from './map.js'

/**
 * Reads a ringbuf map until close(). Holds the event loop open unless unref()'d. An exception in
 * the callback is an uncaught one; the record counts as delivered.
 */
export class RingBuffer<T = Uint8Array> {
  #native: NativeRingBuffer | undefined

  /**
   * @param onRecord gets each record once, in order: decoded, or a copy of its bytes
   * @throws TypeError unless `map` is a ringbuf; BpfError
   */
  constructor(map: BpfMap, onRecord: (record: T) => void, options: { codec?: Codec<T> } = {}) {
    if (!(map instanceof BpfMap)) throw new TypeError('map: not a BpfMap')
    if (map.type !== 'ringbuf') throw new TypeError(`map: ${map.name} is a ${map.type}`)
    if (typeof onRecord !== 'function') throw new TypeError('onRecord: not a function')
    const { codec } = options
    this.#native = new addon.RingBuffer(map.fd, (record) => {
      // Without a codec T is Uint8Array.
      onRecord(codec === undefined ? (record as T) : codec.decode(record))
    })
  }

  /** Delivers what is there now, some thousands at most. @returns how many */
  consume(): number {
    if (this.#native === undefined) throw bpfError('consume', 'ring buffer', 'EBADF')
    return this.#native.consume()
  }

  ref(): this {
    this.#native?.ref()
    return this
  }

  unref(): this {
    this.#native?.unref()
    return this
  }

  /** Idempotent; also from within the callback. */
  close(): void {
    this.#native?.close()
    this.#native = undefined
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
