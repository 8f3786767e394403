/** Records to bytes and back, planned once from BTF. */
import { type Btf, type Member, type StructType } from './btf.js'
import * as layouts from './layout.js'
import { Misfit, type Layout, type Value } from './layout.js'

export type { Value } from './layout.js'

/**
 * One C type in JavaScript:
 *
 * | C                         | JavaScript                                             |
 * | ------------------------- | ------------------------------------------------------ |
 * | integers up to 32 bits    | number                                                 |
 * | 64-bit integers, pointers | bigint (a safe integer number is taken, too)           |
 * | `__be16`, `__be32`, `__be64`, `__le..` typedefs | the same, converted to host order |
 * | bool, float, enum         | boolean, number, number                                |
 * | char[N]                   | string, UTF-8, ends at NUL                             |
 * | 1-byte unsigned [N]       | Uint8Array                                             |
 * | other T[N]                | array                                                  |
 * | struct, data section      | object; anonymous members are flattened                |
 * | union                     | object with all members; one with just one to encode   |
 *
 * Members named `pad`, `pad1`, `_pad`, `__padding`, ... may be left out; they are then zero.
 */
export interface Codec<T = Value> {
  /** Bytes of one record. */
  readonly size: number
  /**
   * @throws TypeError or RangeError that name the field; `into` may be half written then
   */
  encode(value: T, into: Uint8Array, offset?: number): void
  /** @throws RangeError when `from` is too short */
  decode(from: Uint8Array, offset?: number): T
  /** Canonical text of the layout: equal texts mean interchangeable records. */
  describe(): string
}

class LayoutCodec<T> implements Codec<T> {
  readonly size: number
  // One buffer is used many times in a row: making a DataView costs as much as a small record.
  private buffer: ArrayBufferLike | undefined
  private view: DataView | undefined

  constructor(
    private readonly layout: Layout,
    private readonly subject: string,
  ) {
    this.size = layout.size
  }

  encode(value: T, into: Uint8Array, offset = 0): void {
    const view = this.viewOf(into, offset)
    if (!this.layout.full) into.fill(0, offset, offset + this.size)
    try {
      this.layout.write(view, into.byteOffset + offset, value)
    } catch (error) {
      throw error instanceof Misfit ? error.toError(this.subject) : error
    }
  }

  decode(from: Uint8Array, offset = 0): T {
    // The layout is what the caller has named with T; BTF holds no more than that.
    return this.layout.read(this.viewOf(from, offset), from.byteOffset + offset) as T
  }

  describe(): string {
    return this.layout.text
  }

  private viewOf(bytes: unknown, offset: number): DataView {
    if (!(bytes instanceof Uint8Array)) throw new TypeError(`${this.subject}: not a Uint8Array`)
    if (!Number.isInteger(offset) || offset < 0 || offset + this.size > bytes.byteLength) {
      throw new RangeError(
        `${this.subject}: ${this.size} bytes at ${offset} do not fit ${bytes.byteLength}`,
      )
    }
    if (this.view === undefined || this.buffer !== bytes.buffer) {
      this.buffer = bytes.buffer
      this.view = new DataView(bytes.buffer)
    }
    return this.view
  }
}

/** Bytes as they are. */
export function bytesCodec(size: number): Codec<Uint8Array> {
  return new LayoutCodec<Uint8Array>(layouts.bytes(size), 'value')
}

/** A 32-bit number in host order: indexes and descriptors. */
export function u32Codec(): Codec<number> {
  return new LayoutCodec<number>(layouts.integer(4, false, 'host'), 'value')
}

/** @throws TypeError when the type has no form in memory (a function, a forward declaration) */
export function codecOf<T = Value>(btf: Btf, id: number): Codec<T> {
  const { type, names } = btf.resolve(id)
  return new LayoutCodec<T>(layoutOf(btf, id), names[0] ?? (type.name === '' ? 'value' : type.name))
}

const ORDERED = /^(?:__)?(be|le)(?:16|32|64)$/
const PADDING = /^_*pad(ding)?_?\d*$/

function layoutOf(btf: Btf, id: number): Layout {
  const { type, names } = btf.resolve(id)
  switch (type.kind) {
    case 'int': {
      if (type.bool) return layouts.bool
      if (type.size > 8) return layouts.bytes(type.size)
      const order = names.map((name) => ORDERED.exec(name)?.[1]).find((one) => one !== undefined)
      return layouts.integer(
        type.size,
        type.signed,
        order === 'be' || order === 'le' ? order : 'host',
      )
    }
    case 'float':
      return type.size <= 8 ? layouts.float(type.size) : layouts.bytes(type.size)
    case 'pointer':
      return layouts.integer(8, false, 'host')
    case 'enum':
      return layouts.integer(type.size, type.signed, 'host')
    case 'array': {
      const element = btf.resolve(type.element)
      if (element.type.kind === 'int' && element.type.size === 1 && !element.type.bool) {
        if (element.type.name === 'char') return layouts.text(type.length)
        if (!element.type.signed) return layouts.bytes(type.length)
      }
      return layouts.array(layoutOf(btf, type.element), type.length)
    }
    case 'struct':
    case 'section':
      return recordLayout(type.size, '{', '}', fieldsOf(btf, type, 0), false)
    case 'union':
      return recordLayout(type.size, '<', '>', fieldsOf(btf, type, 0), true)
    default:
      throw new TypeError(`${type.name}: a ${type.kind} type has no layout`)
  }
}

interface Field {
  readonly name: string
  /** In bits, from the start of the record: the order of declaration. */
  readonly position: number
  readonly offset: number
  readonly layout: Layout
  readonly optional: boolean
}
/** An anonymous union: its members are the owner's, but only one of the groups is written. */
interface Choice {
  readonly groups: readonly Fields[]
}
interface Fields {
  readonly plain: readonly Field[]
  readonly choices: readonly Choice[]
}

function fieldsOf(btf: Btf, type: StructType, base: number): Fields {
  const plain: Field[] = []
  const choices: Choice[] = []
  for (const member of type.members) {
    const inner = btf.resolve(member.type).type
    const offset = base + Math.floor(member.bitOffset / 8)
    if (member.name !== '' || (inner.kind !== 'struct' && inner.kind !== 'union')) {
      if (member.name !== '') plain.push(fieldOf(btf, member, base))
    } else if (inner.kind === 'struct') {
      const nested = fieldsOf(btf, inner, offset)
      plain.push(...nested.plain)
      choices.push(...nested.choices)
    } else {
      choices.push({ groups: inner.members.map((one) => groupOf(btf, one, offset)) })
    }
  }
  return { plain, choices }
}

/** One member of an anonymous union: itself, or all of an anonymous struct's. */
function groupOf(btf: Btf, member: Member, base: number): Fields {
  return fieldsOf(btf, { kind: 'struct', name: '', size: 0, members: [member] }, base)
}

function fieldOf(btf: Btf, member: Member, base: number): Field {
  const { name } = member
  const optional = PADDING.test(name)
  const position = base * 8 + member.bitOffset
  if (member.bits === 0) {
    const offset = base + Math.floor(member.bitOffset / 8)
    return { name, position, offset, layout: layoutOf(btf, member.type), optional }
  }
  const { type } = btf.resolve(member.type)
  const signed = (type.kind === 'int' || type.kind === 'enum') && type.signed
  const plain = type.kind === 'int' && type.bool ? layouts.integer(1, false, 'host') : undefined
  const layout = plain ?? layoutOf(btf, member.type)
  const bits = layouts.bitfield(layout, signed, member.bitOffset, member.bits)
  return { name, position, offset: base, layout: bits, optional }
}

function allFields(fields: Fields): Field[] {
  const chosen = fields.choices.flatMap((choice) => choice.groups.flatMap(allFields))
  return [...fields.plain, ...chosen].sort((a, b) => a.position - b.position)
}

function recordLayout(
  size: number,
  open: string,
  close: string,
  fields: Fields,
  one: boolean,
): Layout {
  const all = allFields(fields)
  const known = new Set(all.map((field) => field.name))
  const covered = all.reduce((sum, field) => sum + (field.layout.full ? field.layout.size : 0), 0)
  const parts = all.map((field) => `${field.name}:${field.layout.text}@${field.offset}`)
  return {
    size,
    text: `${open}${parts.join(',')}${close}${size}`,
    full: !one && fields.choices.length === 0 && covered === size,
    read: (view, at) => {
      const record: Record<string, Value> = {}
      for (const field of all) record[field.name] = field.layout.read(view, at + field.offset)
      return record
    },
    write: (view, at, value) => {
      if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) {
        throw layouts.wrongType('an object', value)
      }
      const record = value as Readonly<Record<string, unknown>>
      const written = one
        ? writeChoice(view, at, record, {
            groups: all.map((field) => ({ plain: [field], choices: [] })),
          })
        : writeFields(view, at, record, fields)
      // Counting names is cheaper than looking each of them up.
      if (Object.keys(record).length !== written) refuseStrangers(record, known)
    },
  }
}

function refuseStrangers(record: Given, known: ReadonlySet<string>): void {
  for (const name of Object.keys(record))
    if (!known.has(name)) throw new Misfit('TypeError', 'no such field').within(name)
}

type Given = Readonly<Record<string, unknown>>

/** @returns how many fields were given */
function writeFields(view: DataView, at: number, record: Given, fields: Fields): number {
  let name = ''
  let written = 0
  try {
    for (const field of fields.plain) {
      name = field.name
      const value = record[name]
      if (value !== undefined) {
        field.layout.write(view, at + field.offset, value)
        written++
      } else if (field.optional) clear(view, at + field.offset, field.layout)
      else throw new Misfit('TypeError', 'missing')
    }
  } catch (error) {
    throw error instanceof Misfit ? error.within(name) : error
  }
  for (const choice of fields.choices) written += writeChoice(view, at, record, choice)
  return written
}

/** A layout that is not full has been cleared with the whole record, which may share its bytes. */
function clear(view: DataView, at: number, { size, full }: Layout): void {
  if (full) for (let i = 0; i < size; i++) view.setUint8(at + i, 0)
}

function writeChoice(view: DataView, at: number, record: Given, choice: Choice): number {
  const given = choice.groups.filter((group) =>
    allFields(group).some((field) => record[field.name] !== undefined),
  )
  const [group] = given
  if (group === undefined || given.length > 1) {
    const names = choice.groups.flatMap((one) => allFields(one).map((field) => field.name))
    throw new Misfit('TypeError', `exactly one of ${names.join(', ')} is to be given`)
  }
  return writeFields(view, at, record, group)
}

/** The types of an object file, by name. */
export class TypeTable {
  constructor(private readonly btf: Btf) {}

  /**
   * @param name a struct, union, typedef, base type or data section
   * @throws RangeError when there is none
   */
  struct<T = Value>(name: string): Codec<T> {
    return codecOf<T>(this.btf, this.id(name))
  }

  /**
   * Enumerators by name; those beyond 2^53 are refused.
   *
   * @throws RangeError when there is no such enum
   */
  enum(name: string): Readonly<Record<string, number>> {
    const { type } = this.btf.resolve(this.id(name))
    if (type.kind !== 'enum') throw new RangeError(`${name}: not an enum`)
    const entries = type.values.map(([label, value]) => {
      if (!Number.isSafeInteger(Number(value))) throw new RangeError(`${name}.${label}: too large`)
      return [label, Number(value)] as const
    })
    return Object.freeze(Object.fromEntries(entries))
  }

  has(name: string): boolean {
    return this.btf.find(name) !== undefined
  }

  names(): string[] {
    return this.btf.names()
  }

  private id(name: string): number {
    const id = this.btf.find(name)
    if (id === undefined) throw new RangeError(`no type ${name}`)
    return id
  }
}
