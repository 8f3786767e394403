/**
 * Rows of one layout as rows of another, field by field by name: a new field is zero, one that is no
 * more is left out, an integer may change its width. What cannot be told from names (a key that
 * means something else, text that became a number) is refused.
 */
import type { Codec, Value } from 'libbpf-ts'

/** As libbpf-ts takes them: a member that only fills a hole. */
const PADDING = /^_*pad(ding)?\d*$/

type Fields = Record<string, Value>

/** Bytes of the old layout to bytes of the new one. */
export type Convert = (
  from: Uint8Array,
  fromOffset: number,
  into: Uint8Array,
  intoOffset: number,
) => void

/**
 * @returns what converts, or why nothing can
 */
export function converter(from: Codec, to: Codec, isKey: boolean): Convert | string {
  const [size, layout] = [to.size, to.describe()]
  if (from.describe() === layout)
    return (bytes, at, into, intoAt) => into.set(bytes.subarray(at, at + size), intoAt)
  // Neither side's values are ever seen here but by their shape: that of a row of zeroes.
  const before = from.decode(new Uint8Array(from.size))
  const after = to.decode(new Uint8Array(to.size))
  const why = misfit(before, after, isKey, '')
  if (why !== undefined) return why
  return (bytes, at, into, intoAt) => to.encode(adapt(from.decode(bytes, at), after), into, intoAt)
}

/** Why values like `before` cannot become values like `after`; undefined when they can. */
function misfit(before: Value, after: Value, isKey: boolean, path: string): string | undefined {
  const [was, is] = [kindOf(before), kindOf(after)]
  if (was !== is) return `${path || 'the record'} was ${was} and is ${is}`
  if (Array.isArray(before) && Array.isArray(after)) {
    if (before.length > after.length || (isKey && before.length !== after.length))
      return `${path} had ${before.length} elements and has ${after.length}`
    const [one, other] = [before[0], after[0]]
    return one === undefined || other === undefined
      ? undefined
      : misfit(one, other, isKey, `${path}[]`)
  }
  if (before instanceof Uint8Array && after instanceof Uint8Array)
    return before.length > after.length || (isKey && before.length !== after.length)
      ? `${path} had ${before.length} bytes and has ${after.length}`
      : undefined
  if (!isFields(before) || !isFields(after)) return undefined
  return misfitFields(before, after, isKey, path)
}

function misfitFields(
  before: Fields,
  after: Fields,
  isKey: boolean,
  path: string,
): string | undefined {
  const within = (name: string) => (path === '' ? name : `${path}.${name}`)
  for (const name of Object.keys(before))
    if (isKey && !(name in after) && !PADDING.test(name)) return `key ${within(name)} is no more`
  for (const [name, value] of Object.entries(after)) {
    if (PADDING.test(name)) continue
    const old = before[name]
    // Rows that differ in nothing else would all be found under zero, or none of them.
    if (old === undefined && isKey) return `key ${within(name)} is new`
    const why = old === undefined ? undefined : misfit(old, value, isKey, within(name))
    if (why !== undefined) return why
  }
  return undefined
}

/** `value` in the shape of `shape`, which misfit() has found possible. */
function adapt(value: Value, shape: Value): Value {
  if (typeof shape === 'number') return Number(value)
  if (typeof shape === 'bigint') return BigInt(value as number | bigint)
  if (shape instanceof Uint8Array) {
    const bytes = new Uint8Array(shape.length)
    bytes.set(value as Uint8Array)
    return bytes
  }
  if (Array.isArray(shape) && Array.isArray(value))
    return shape.map((element, i) => {
      const old = value[i]
      return old === undefined ? element : adapt(old, element)
    })
  if (!isFields(shape) || !isFields(value)) return value
  const result: Fields = {}
  for (const [name, zero] of Object.entries(shape)) {
    const old = value[name]
    result[name] = old === undefined || PADDING.test(name) ? zero : adapt(old, zero)
  }
  return result
}

function isFields(value: Value): value is Fields {
  return typeof value === 'object' && !Array.isArray(value) && !(value instanceof Uint8Array)
}

function kindOf(value: Value): string {
  if (typeof value === 'number' || typeof value === 'bigint') return 'a number'
  if (Array.isArray(value)) return 'an array'
  if (value instanceof Uint8Array) return 'bytes'
  return typeof value === 'string' ? 'text' : `a ${typeof value}`
}
