/**
 * How one C type reads and writes a value: the primitive layouts, which codec.ts composes from BTF.
 * A layout trusts its offsets; codec.ts checks the buffer once for the whole.
 */
import { littleEndian } from './btf.js'

/** What a C type is in JavaScript; see `Codec`. */
export type Value =
  number | bigint | boolean | string | Uint8Array | Value[] | { [field: string]: Value }

export interface Layout {
  readonly size: number
  /** Canonical: equal texts mean interchangeable records. */
  readonly text: string
  /** write() sets every byte. */
  readonly full: boolean
  read(view: DataView, at: number): Value
  /** @throws Misfit */
  write(view: DataView, at: number, value: unknown): void
}

/** A value that does not fit; gathers the path to it on its way up. */
export class Misfit extends Error {
  private path = ''

  constructor(
    private readonly kind: 'TypeError' | 'RangeError',
    private readonly reason: string,
  ) {
    super(reason)
  }

  within(step: string): this {
    const dot = this.path === '' || this.path.startsWith('[') ? '' : '.'
    this.path = `${step}${dot}${this.path}`
    return this
  }

  /** @param subject stands for the path when the value itself is at fault */
  toError(subject: string): TypeError | RangeError {
    const message = `${this.path === '' ? subject : this.path}: ${this.reason}`
    return this.kind === 'TypeError' ? new TypeError(message) : new RangeError(message)
  }
}

function sort(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (Array.isArray(value)) return 'an array'
  if (value instanceof Uint8Array) return 'a Uint8Array'
  return `a ${typeof value}`
}

export function wrongType(wanted: string, value: unknown): Misfit {
  return new Misfit('TypeError', `${sort(value)}, not ${wanted}`)
}

function outOfRange(value: number | bigint, low: number | bigint, high: number | bigint): Misfit {
  return new Misfit('RangeError', `${value} is not an integer from ${low} to ${high}`)
}

/** @param swap the typedef's byte order where it has one ('be' or 'le') */
export function integer(size: number, signed: boolean, order: 'be' | 'le' | 'host'): Layout {
  const little = order === 'host' ? littleEndian : order === 'le'
  const text = `${order === 'host' ? (signed ? 's' : 'u') : order}${size * 8}`
  if (size === 8) return wideInteger(text, signed, little)
  const bits = size * 8
  const low = signed ? -(2 ** (bits - 1)) : 0
  const high = signed ? 2 ** (bits - 1) - 1 : 2 ** bits - 1
  const check = (value: unknown): number => {
    if (typeof value !== 'number') throw wrongType('a number', value)
    if (!Number.isInteger(value) || value < low || value > high) throw outOfRange(value, low, high)
    return value
  }
  switch (size) {
    case 1:
      return {
        ...{ size, text, full: true },
        read: signed ? (view, at) => view.getInt8(at) : (view, at) => view.getUint8(at),
        write: (view, at, value) => view.setUint8(at, check(value)),
      }
    case 2:
      return {
        ...{ size, text, full: true },
        read: signed
          ? (view, at) => view.getInt16(at, little)
          : (view, at) => view.getUint16(at, little),
        write: (view, at, value) => view.setUint16(at, check(value), little),
      }
    default:
      return {
        ...{ size, text, full: true },
        read: signed
          ? (view, at) => view.getInt32(at, little)
          : (view, at) => view.getUint32(at, little),
        write: (view, at, value) => view.setUint32(at, check(value), little),
      }
  }
}

function wideInteger(text: string, signed: boolean, little: boolean): Layout {
  const low = signed ? -(2n ** 63n) : 0n
  const high = signed ? 2n ** 63n - 1n : 2n ** 64n - 1n
  return {
    ...{ size: 8, text, full: true },
    read: signed
      ? (view, at) => view.getBigInt64(at, little)
      : (view, at) => view.getBigUint64(at, little),
    write: (view, at, value) => {
      let wide: bigint
      if (typeof value === 'bigint') wide = value
      else if (typeof value !== 'number') throw wrongType('a bigint', value)
      else if (!Number.isSafeInteger(value)) throw outOfRange(value, low, high)
      else wide = BigInt(value)
      if (wide < low || wide > high) throw outOfRange(wide, low, high)
      view.setBigInt64(at, wide, little)
    },
  }
}

export const bool: Layout = {
  size: 1,
  text: 'bool',
  full: true,
  read: (view, at) => view.getUint8(at) !== 0,
  write: (view, at, value) => {
    if (typeof value !== 'boolean') throw wrongType('a boolean', value)
    view.setUint8(at, value ? 1 : 0)
  },
}

export function float(size: number): Layout {
  const check = (value: unknown): number => {
    if (typeof value !== 'number') throw wrongType('a number', value)
    return value
  }
  return size === 4
    ? {
        size,
        text: 'f32',
        full: true,
        read: (view, at) => view.getFloat32(at, littleEndian),
        write: (view, at, value) => view.setFloat32(at, check(value), littleEndian),
      }
    : {
        size,
        text: 'f64',
        full: true,
        read: (view, at) => view.getFloat64(at, littleEndian),
        write: (view, at, value) => view.setFloat64(at, check(value), littleEndian),
      }
}

/** u8[size], and whatever has no better form. */
export function bytes(size: number): Layout {
  return {
    size,
    text: `u8[${size}]`,
    full: true,
    read: (view, at) =>
      new Uint8Array(view.buffer.slice(view.byteOffset + at, view.byteOffset + at + size)),
    write: (view, at, value) => {
      if (!(value instanceof Uint8Array)) throw wrongType('a Uint8Array', value)
      if (value.byteLength !== size) {
        throw new Misfit('RangeError', `${value.byteLength} bytes, not ${size}`)
      }
      new Uint8Array(view.buffer, view.byteOffset + at, size).set(value)
    },
  }
}

/** char[size]: UTF-8 up to the first NUL. */
export function text(size: number): Layout {
  return {
    size,
    text: `char[${size}]`,
    full: false,
    read: (view, at) => {
      const all = Buffer.from(view.buffer, view.byteOffset + at, size)
      const end = all.indexOf(0)
      return all.toString('utf8', 0, end < 0 ? size : end)
    },
    write: (view, at, value) => {
      if (typeof value !== 'string') throw wrongType('a string', value)
      const length = Buffer.byteLength(value)
      if (length >= size) {
        throw new Misfit('RangeError', `${length} bytes of text, and room for ${size - 1}`)
      }
      if (value.includes('\0')) throw new Misfit('RangeError', 'contains NUL')
      Buffer.from(view.buffer, view.byteOffset + at, size).write(value)
    },
  }
}

export function array(element: Layout, length: number): Layout {
  return {
    size: element.size * length,
    text: `${element.text}[${length}]`,
    full: element.full,
    read: (view, at) => {
      const values = new Array<Value>(length)
      for (let i = 0; i < length; i++) values[i] = element.read(view, at + i * element.size)
      return values
    },
    write: (view, at, value) => {
      if (!Array.isArray(value)) throw wrongType('an array', value)
      if (value.length !== length) {
        throw new Misfit('RangeError', `${value.length} elements, not ${length}`)
      }
      let i = 0
      try {
        for (; i < length; i++) element.write(view, at + i * element.size, value[i])
      } catch (error) {
        throw error instanceof Misfit ? error.within(`[${i}]`) : error
      }
    },
  }
}

/**
 * Bits of an integer. `at` stays the start of the struct; `bitOffset` counts as the compiler does:
 * from the least significant bit on a little-endian host, from the most significant on the other.
 */
export function bitfield(base: Layout, signed: boolean, bitOffset: number, bits: number): Layout {
  const first = Math.floor(bitOffset / 8)
  const count = Math.ceil((bitOffset + bits) / 8) - first
  const shift = BigInt(littleEndian ? bitOffset % 8 : count * 8 - (bitOffset % 8) - bits)
  const mask = (1n << BigInt(bits)) - 1n
  const wide = base.size === 8
  const low = signed ? -(1n << BigInt(bits - 1)) : 0n
  const high = signed ? (1n << BigInt(bits - 1)) - 1n : mask
  const load = (view: DataView, at: number): bigint => {
    let all = 0n
    for (let i = 0; i < count; i++) {
      const index = littleEndian ? count - 1 - i : i
      all = (all << 8n) | BigInt(view.getUint8(at + first + index))
    }
    return all
  }
  return {
    size: base.size,
    text: `${base.text}:${bits}+${bitOffset}`,
    full: false,
    read: (view, at) => {
      const raw = (load(view, at) >> shift) & mask
      const value = signed ? BigInt.asIntN(bits, raw) : raw
      return wide ? value : Number(value)
    },
    write: (view, at, value) => {
      if (typeof value !== 'number' && typeof value !== 'bigint') throw wrongType('a number', value)
      if (typeof value === 'number' && !Number.isSafeInteger(value)) {
        throw outOfRange(value, low, high)
      }
      const field = BigInt(value)
      if (field < low || field > high) throw outOfRange(field, low, high)
      let all = (load(view, at) & ~(mask << shift)) | ((field & mask) << shift)
      for (let i = 0; i < count; i++) {
        view.setUint8(at + first + (littleEndian ? i : count - 1 - i), Number(all & 0xffn))
        all >>= 8n
      }
    },
  }
}
