/** Names as text: lower-case, dots between labels, none at the end. `.` is the root. */

import { fromBytes } from '../model/address.js'

const MAX_LABEL_BYTES = 63
/** RFC 1035: 255 octets on the wire, which is 253 characters as text. */
const MAX_NAME_LENGTH = 253

/** Whether a name can be put on the wire; dns-packet writes what is too long without complaint. */
export function fitsWire(name: string): boolean {
  if (name.length > MAX_NAME_LENGTH) return false
  return name
    .split('.')
    .every((label) => label.length > 0 && Buffer.byteLength(label) <= MAX_LABEL_BYTES)
}

/** A label that stands for an address: `10-0-0-5`, `fd00--5`. */
export function addressLabel(address: string): string {
  return address.replaceAll(/[.:]/g, '-')
}

/** Every way to cut `a.b.c` in two: `[a, b.c]`, `[a.b, c]`. */
export function* cuts(name: string): Generator<readonly [head: string, tail: string]> {
  for (let dot = name.indexOf('.'); dot !== -1; dot = name.indexOf('.', dot + 1)) {
    yield [name.slice(0, dot), name.slice(dot + 1)]
  }
}

export function isWithin(name: string, ancestor: string): boolean {
  return ancestor === '.' || name === ancestor || name.endsWith(`.${ancestor}`)
}

/** What a name below `in-addr.arpa` or `ip6.arpa` stands for. */
export interface ReverseName {
  /** Canonical; what the name does not give is zero. */
  readonly address: string
  /** How many leading bits the name gives: 32 or 128 for a whole address. */
  readonly bits: number
  readonly bitsPerLabel: 8 | 4
  readonly whole: boolean
}

const V4 = { suffix: '.in-addr.arpa', size: 4, labels: 4, bits: 8, label: /^(0|[1-9]\d{0,2})$/ }
const V6 = { suffix: '.ip6.arpa', size: 16, labels: 32, bits: 4, label: /^[\da-f]$/ }

/** @returns undefined for a name that is no reverse name, or not a well-formed one */
export function parseReverse(name: string): ReverseName | undefined {
  const form = name.endsWith(V4.suffix) ? V4 : name.endsWith(V6.suffix) ? V6 : undefined
  if (form === undefined) return undefined
  const labels = name.slice(0, -form.suffix.length).split('.').reverse()
  if (labels.length > form.labels) return undefined
  const bytes = new Array<number>(form.size).fill(0)
  for (const [index, label] of labels.entries()) {
    if (!form.label.test(label)) return undefined
    const value = Number.parseInt(label, form === V4 ? 10 : 16)
    if (value > 255) return undefined
    const at = form === V4 ? index : index >> 1
    bytes[at] = (bytes[at] ?? 0) | (form === V6 && index % 2 === 0 ? value << 4 : value)
  }
  return {
    address: fromBytes(Uint8Array.from(bytes)),
    bits: labels.length * form.bits,
    bitsPerLabel: form === V4 ? 8 : 4,
    whole: labels.length === form.labels,
  }
}

/** The name's last `labels` labels before the `arpa` suffix, with it. */
export function reverseApex(name: string, labels: number): string {
  const parts = name.split('.')
  return parts.slice(Math.max(0, parts.length - 2 - labels)).join('.')
}
