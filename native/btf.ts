/**
 * BTF as a graph of types. Reads the format of the kernel's Documentation/bpf/btf.rst; it knows
 * nothing of values (codec.ts) and of where the bytes come from.
 */
import { endianness } from 'node:os'

export const littleEndian = endianness() === 'LE'

interface Named {
  readonly name: string
}
export interface IntType extends Named {
  readonly kind: 'int'
  readonly size: number
  readonly signed: boolean
  readonly bool: boolean
}
export interface FloatType extends Named {
  readonly kind: 'float'
  readonly size: number
}
export interface PointerType extends Named {
  readonly kind: 'pointer'
  readonly target: number
}
export interface ArrayType extends Named {
  readonly kind: 'array'
  readonly element: number
  readonly length: number
}
export interface Member extends Named {
  readonly type: number
  /** From the start of the struct. */
  readonly bitOffset: number
  /** 0: not a bitfield. */
  readonly bits: number
}
/** Struct, union, or a data section, whose members are its variables. */
export interface StructType extends Named {
  readonly kind: 'struct' | 'union' | 'section'
  readonly size: number
  readonly members: readonly Member[]
}
export interface EnumType extends Named {
  readonly kind: 'enum'
  readonly size: number
  readonly signed: boolean
  readonly values: readonly (readonly [string, bigint])[]
}
interface Alias<Kind extends string> extends Named {
  readonly kind: Kind
  readonly target: number
}
/** Another name for `target`. */
export type AliasType = Alias<'typedef'> | Alias<'qualifier'> | Alias<'variable'>
export interface OtherType extends Named {
  readonly kind: 'void' | 'forward' | 'function'
}
export type BtfType =
  IntType | FloatType | PointerType | ArrayType | StructType | EnumType | AliasType | OtherType

const MAGIC = 0xeb9f
const KIND = {
  int: 1,
  pointer: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  forward: 7,
  typedef: 8,
  volatile: 9,
  const: 10,
  restrict: 11,
  function: 12,
  prototype: 13,
  variable: 14,
  section: 15,
  float: 16,
  declTag: 17,
  typeTag: 18,
  enum64: 19,
} as const

/** Walks the type section once, in order; ids count from 1. */
class Reader {
  readonly types: BtfType[] = [{ kind: 'void', name: 'void' }]
  private at: number
  private readonly end: number
  private readonly strings: number
  private readonly stringsEnd: number

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    if (bytes.byteLength < 24 || this.view.getUint16(0, littleEndian) !== MAGIC) {
      throw new RangeError('BTF: no header')
    }
    const header = this.view.getUint32(4, littleEndian)
    this.at = header + this.view.getUint32(8, littleEndian)
    this.end = this.at + this.view.getUint32(12, littleEndian)
    this.strings = header + this.view.getUint32(16, littleEndian)
    this.stringsEnd = this.strings + this.view.getUint32(20, littleEndian)
    if (this.end > bytes.byteLength || this.stringsEnd > bytes.byteLength) {
      throw new RangeError('BTF: sections reach past the end')
    }
    while (this.at < this.end) this.types.push(this.type())
  }

  private readonly view: DataView

  private u32(): number {
    const value = this.view.getUint32(this.at, littleEndian)
    this.at += 4
    return value
  }

  private string(): string {
    const start = this.strings + this.u32()
    const nul = this.bytes.indexOf(0, start)
    if (start >= this.stringsEnd || nul < 0) throw new RangeError('BTF: bad string offset')
    return Buffer.from(this.bytes.buffer, this.bytes.byteOffset + start, nul - start).toString()
  }

  private list<T>(count: number, one: () => T): T[] {
    return Array.from({ length: count }, one)
  }

  private type(): BtfType {
    const name = this.string()
    const info = this.u32()
    const sizeOrType = this.u32()
    const count = info & 0xffff
    const flag = info >>> 31 === 1
    switch ((info >>> 24) & 0x1f) {
      case KIND.int: {
        const encoding = (this.u32() >>> 24) & 0xf
        const signed = (encoding & 1) !== 0
        return { kind: 'int', name, size: sizeOrType, signed, bool: (encoding & 4) !== 0 }
      }
      case KIND.pointer:
        return { kind: 'pointer', name, target: sizeOrType }
      case KIND.array: {
        const element = this.u32()
        this.u32() // the type of an index
        return { kind: 'array', name, element, length: this.u32() }
      }
      case KIND.struct:
        return { kind: 'struct', name, size: sizeOrType, members: this.members(count, flag) }
      case KIND.union:
        return { kind: 'union', name, size: sizeOrType, members: this.members(count, flag) }
      case KIND.section:
        return { kind: 'section', name, size: sizeOrType, members: this.variables(count) }
      case KIND.enum:
        return this.enumeration(name, sizeOrType, count, flag, false)
      case KIND.enum64:
        return this.enumeration(name, sizeOrType, count, flag, true)
      case KIND.typedef:
        return { kind: 'typedef', name, target: sizeOrType }
      case KIND.volatile:
      case KIND.const:
      case KIND.restrict:
      case KIND.typeTag:
        return { kind: 'qualifier', name: '', target: sizeOrType }
      case KIND.variable:
        this.at += 4
        return { kind: 'variable', name, target: sizeOrType }
      case KIND.float:
        return { kind: 'float', name, size: sizeOrType }
      case KIND.forward:
        return { kind: 'forward', name }
      case KIND.function:
        return { kind: 'function', name }
      case KIND.prototype:
        this.at += count * 8
        return { kind: 'function', name }
      case KIND.declTag:
        this.at += 4
        return { kind: 'function', name }
      default:
        throw new RangeError(`BTF: unknown kind ${(info >>> 24) & 0x1f}`)
    }
  }

  private members(count: number, bitfields: boolean): Member[] {
    return this.list(count, () => {
      const name = this.string()
      const type = this.u32()
      const offset = this.u32()
      return bitfields
        ? { name, type, bitOffset: offset & 0xffffff, bits: offset >>> 24 }
        : { name, type, bitOffset: offset, bits: 0 }
    })
  }

  private variables(count: number): Member[] {
    return this.list(count, () => {
      const type = this.u32()
      const bitOffset = this.u32() * 8
      this.u32() // its size
      return { name: this.types[type]?.name ?? '', type, bitOffset, bits: 0 }
    })
  }

  private enumeration(
    name: string,
    size: number,
    count: number,
    signed: boolean,
    wide: boolean,
  ): EnumType {
    const values = this.list(count, () => {
      const label = this.string()
      const low = BigInt(this.u32())
      const all = wide ? low | (BigInt(this.u32()) << 32n) : low
      const bits = wide ? 64 : 32
      return [label, signed ? BigInt.asIntN(bits, all) : all] as const
    })
    return { kind: 'enum', name, size, signed, values }
  }
}

/** The types of one object file or one kernel map. */
export class Btf {
  private readonly types: readonly BtfType[]
  private readonly byName = new Map<string, number>()

  /** @throws RangeError when the bytes are not BTF */
  constructor(bytes: Uint8Array) {
    this.types = new Reader(bytes).types
    this.types.forEach((type, id) => {
      if (type.name === '' || type.kind === 'function' || type.kind === 'variable') return
      // C keeps tags and typedefs apart; where both exist, the tag has the layout.
      const known = this.byName.get(type.name)
      if (known === undefined || this.type(known).kind === 'forward') this.byName.set(type.name, id)
    })
  }

  /** @throws RangeError for an id that is not there */
  type(id: number): BtfType {
    const type = this.types[id]
    if (type === undefined) throw new RangeError(`BTF: no type ${id}`)
    return type
  }

  /** The id of a struct, union, enum, typedef, base type or data section. */
  find(name: string): number | undefined {
    return this.byName.get(name)
  }

  names(): string[] {
    return [...this.byName.keys()]
  }

  /** Through typedefs, qualifiers and variables to what they mean. */
  resolve(id: number): { type: Exclude<BtfType, AliasType>; names: readonly string[] } {
    const names: string[] = []
    for (let steps = 0; steps < 64; steps++) {
      const type = this.type(id)
      switch (type.kind) {
        case 'typedef':
          names.push(type.name)
          id = type.target
          break
        case 'qualifier':
        case 'variable':
          id = type.target
          break
        default:
          return { type, names }
      }
    }
    throw new RangeError(`BTF: type ${id} is an alias of itself`)
  }
}
