/**
 * Addresses and ranges: the one place where text becomes numbers and back.
 *
 * The rest of fairlead compares addresses as strings, which works because everything passes through
 * `canonicalAddress` once: RFC 5952 text, lower case, without a zone. A v4-mapped IPv6 address is
 * the IPv4 address it carries, so that one peer has one spelling whatever socket it came by.
 */
import ipaddr from 'ipaddr.js'
import { FairleadError } from '../errors.js'
import type { Family } from './types.js'

/** Host-order u32 words of `__be32 addr[4]` in maps.h; IPv4 is (0, 0, 0xffff, address). */
export type Words = readonly [number, number, number, number]

/** Where something listens or is reached; `host` is a canonical address. */
export interface ListenAddress {
  readonly host: string
  /** 1..65535 */
  readonly port: number
}

const MAPPED = 0xffff
const GROUPS = 8

/**
 * @param text IPv4 in four decimal parts, or IPv6; no zone, no octal or short IPv4 forms
 * @throws FairleadError VALUE
 */
export function canonicalAddress(text: string): string {
  const words = parseWords(text)
  if (words === undefined) throw new FairleadError('VALUE', `not an IP address: ${quote(text)}`)
  return fromWords(words)
}

export function isAddress(text: string): boolean {
  return parseWords(text) !== undefined
}

/** @param address canonical */
export function family(address: string): Family {
  return address.includes(':') ? 6 : 4
}

const NOT_ONE_HOST =
  /^(?:0\.|22[4-9]\.|23\d\.|255\.255\.255\.255$|::$|ff[\da-f]{2}:|fe[89ab][\da-f]:)/

/**
 * Whether the address names one host by itself: not unspecified, multicast or broadcast, nor
 * link-local IPv6, which needs a zone. Loopback does, to the socket path.
 *
 * @param address canonical
 */
export function isUnicast(address: string): boolean {
  return !NOT_ONE_HOST.test(address)
}

/**
 * @param address any valid text; canonical IPv4 is the fast case
 * @throws FairleadError VALUE
 */
export function toWords(address: string): Words {
  const words = parseWords(address)
  if (words === undefined) throw new FairleadError('VALUE', `not an IP address: ${quote(address)}`)
  return words
}

/** Canonical text; (0, 0, 0xffff, x) is IPv4. */
export function fromWords(words: readonly number[]): string {
  const [a = 0, b = 0, c = 0, d = 0] = words
  if (a === 0 && b === 0 && c === MAPPED) {
    return `${d >>> 24}.${(d >>> 16) & 255}.${(d >>> 8) & 255}.${d & 255}`
  }
  const groups = [a, b, c, d].flatMap((word) => [word >>> 16, word & 0xffff])
  return formatGroups(groups)
}

/** 4 or 16 bytes, network order, as DNS and sockets write them. */
export function toBytes(address: string): Uint8Array {
  const [a, b, c, d] = toWords(address)
  const four = family(address) === 4 || (a === 0 && b === 0 && c === MAPPED)
  const words = four ? [d] : [a, b, c, d]
  const bytes = new Uint8Array(words.length * 4)
  const view = new DataView(bytes.buffer)
  words.forEach((word, i) => view.setUint32(i * 4, word))
  return bytes
}

/**
 * @param bytes 4 or 16, network order
 * @throws RangeError on any other length
 */
export function fromBytes(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length === 4) return fromWords([0, 0, MAPPED, view.getUint32(0)])
  if (bytes.length !== 16) throw new RangeError(`an address has 4 or 16 bytes, not ${bytes.length}`)
  return fromWords([0, 4, 8, 12].map((offset) => view.getUint32(offset)))
}

/** Unsigned value of the address within its family: 32 or 128 bits. */
export function toNumber(address: string): bigint {
  const [a, b, c, d] = toWords(address)
  if (a === 0 && b === 0 && c === MAPPED) return BigInt(d)
  return (BigInt(a) << 96n) | (BigInt(b) << 64n) | (BigInt(c) << 32n) | BigInt(d)
}

export function fromNumber(value: bigint, of: Family): string {
  const low = Number(value & 0xffffffffn)
  if (of === 4) return fromWords([0, 0, MAPPED, low])
  return fromWords([...[96n, 64n, 32n].map((bits) => Number((value >> bits) & 0xffffffffn)), low])
}

/** The name under which PTR is asked: `9.0.0.10.in-addr.arpa`, nibbles under `ip6.arpa`. */
export function reverseName(address: string): string {
  const bytes = [...toBytes(address)].reverse()
  if (bytes.length === 4) return `${bytes.join('.')}.in-addr.arpa`
  const nibbles = bytes.flatMap((byte) => [byte & 15, byte >>> 4])
  return `${nibbles.map((nibble) => nibble.toString(16)).join('.')}.ip6.arpa`
}

/**
 * @param text        `address`, `address:port`, `[v6]`, `[v6]:port` or a bare v6 address
 * @param defaultPort used when the text has none; absent: a port is required
 * @throws FairleadError VALUE
 */
export function parseListen(text: string, defaultPort?: number): ListenAddress {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d{1,5}))?$/.exec(text)
  const host = match === null ? text : (match[1] ?? match[2] ?? '')
  const port = match?.[3] === undefined ? defaultPort : Number(match[3])
  if (!isAddress(host) || (match?.[1] !== undefined && !host.includes(':'))) {
    throw new FairleadError('VALUE', `not address:port or [address]:port: ${quote(text)}`)
  }
  if (port === undefined) throw new FairleadError('VALUE', `needs a port: ${quote(text)}`)
  if (port < 1 || port > 65535) {
    throw new FairleadError('VALUE', `port must be 1..65535, got ${port}`)
  }
  return { host: canonicalAddress(host), port }
}

/** The inverse of `parseListen`. */
export function formatListen({ host, port }: ListenAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** @param address canonical */
export function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.')
}

/** A range of addresses by prefix. Immutable. */
export class Cidr {
  /** Of IPv4, where bigints would take ten times as long. */
  readonly #firstWord: number
  readonly #lastWord: number

  private constructor(
    readonly family: Family,
    /** Bits that are fixed: 0..32 or 0..128. */
    readonly prefix: number,
    readonly first: bigint,
    readonly last: bigint,
  ) {
    this.#firstWord = Number(first & 0xffffffffn)
    this.#lastWord = Number(last & 0xffffffffn)
  }

  /**
   * @param text `address/prefix`, bits after the prefix zero
   * @throws FairleadError VALUE
   */
  static parse(text: string): Cidr {
    const match = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text)
    const words = parseWords(match?.[1] ?? '')
    if (match?.[1] === undefined || words === undefined) {
      throw new FairleadError('VALUE', `not address/prefix: ${quote(text)}`)
    }
    const of = family(match[1])
    const bits = of === 4 ? 32 : 128
    const prefix = Number(match[2])
    if (of === 6 && words[0] === 0 && words[1] === 0 && words[2] === MAPPED) {
      throw new FairleadError('VALUE', `v4-mapped range: write it as IPv4: ${quote(text)}`)
    }
    if (prefix > bits) throw new FairleadError('VALUE', `prefix of ${quote(text)} is over ${bits}`)
    const base = toNumber(match[1])
    const hostMask = (1n << BigInt(bits - prefix)) - 1n
    const cidr = new Cidr(of, prefix, base & ~hostMask, base | hostMask)
    if (base !== cidr.first) {
      throw new FairleadError(
        'VALUE',
        `${quote(text)} has host bits set; did you mean ${cidr.toString()}?`,
      )
    }
    return cidr
  }

  get size(): bigint {
    return this.last - this.first + 1n
  }

  /** @param address any family; one of the other family is outside */
  contains(address: string): boolean {
    return family(address) === this.family && this.containsWords(toWords(address))
  }

  /** The same for an address of this family that has been read. */
  containsWords(words: readonly number[]): boolean {
    if (this.family === 4) {
      const word = words[3] ?? 0
      return word >= this.#firstWord && word <= this.#lastWord
    }
    const value = words.reduce((sum, word) => (sum << 32n) | BigInt(word), 0n)
    return value >= this.first && value <= this.last
  }

  includes(other: Cidr): boolean {
    return this.family === other.family && other.first >= this.first && other.last <= this.last
  }

  overlaps(other: Cidr): boolean {
    return this.family === other.family && other.first <= this.last && other.last >= this.first
  }

  /** Every address in order; the caller bounds it. */
  *addresses(): Generator<string> {
    for (let value = this.first; value <= this.last; value++) yield fromNumber(value, this.family)
  }

  toString(): string {
    return `${fromNumber(this.first, this.family)}/${this.prefix}`
  }
}

function parseWords(text: string): Words | undefined {
  if (text.includes(':')) return parseWords6(text)
  const value = parseDotted(text)
  return value === undefined ? undefined : [0, 0, MAPPED, value]
}

/** Four decimal parts without leading zeroes. By hand, because states have a hundred thousand. */
function parseDotted(text: string): number | undefined {
  let value = 0
  let part = -1
  let parts = 0
  for (let i = 0; i <= text.length; i++) {
    const digit = i === text.length ? DOT : text.charCodeAt(i) - 48
    if (digit === DOT) {
      if (part < 0 || ++parts > 4) return undefined
      value = value * 256 + part
      part = -1
    } else {
      if (digit < 0 || digit > 9 || part === 0) return undefined
      part = part < 0 ? digit : part * 10 + digit
      if (part > 255) return undefined
    }
  }
  return parts === 4 ? value : undefined
}

/** '.', counted from '0'. */
const DOT = -2

function parseWords6(text: string): Words | undefined {
  if (text.includes('%')) return undefined
  const plain = text.includes('.') ? withoutDottedTail(text) : text
  if (plain === undefined || !ipaddr.IPv6.isValid(plain)) return undefined
  const g = ipaddr.IPv6.parse(plain).parts
  const word = (i: number): number => ((g[i] ?? 0) * 65536 + (g[i + 1] ?? 0)) >>> 0
  return [word(0), word(2), word(4), word(6)]
}

/** ipaddr.js reads `::1.2.3.4` as v4-mapped, so the dotted tail is turned into groups here. */
function withoutDottedTail(text: string): string | undefined {
  const at = text.lastIndexOf(':') + 1
  const tail = text.slice(at)
  if (!ipaddr.IPv4.isValidFourPartDecimal(tail)) return undefined
  const [a = 0, b = 0, c = 0, d = 0] = tail.split('.').map(Number)
  return `${text.slice(0, at)}${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`
}

/** RFC 5952: the longest run of two or more zero groups, the first of equals, becomes `::`. */
function formatGroups(groups: readonly number[]): string {
  let start = 0
  let length = 1
  for (let from = 0; from < GROUPS; from++) {
    let to = from
    while (to < GROUPS && groups[to] === 0) to++
    if (to - from > length) [start, length] = [from, to - from]
    from = to
  }
  const hex = (part: readonly number[]): string => part.map((g) => g.toString(16)).join(':')
  if (length === 1) return hex(groups)
  return `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text)
}

/** A range as the programs compare with it: its first address and its mask, in words as toWords() has them. */
export function rangeWords({ family: of, first, prefix }: Cidr): {
  base: number[]
  mask: number[]
} {
  // Of a v4-mapped address the mapping counts, too.
  const bits = of === 4 ? 96 + prefix : prefix
  const mask = [0, 32, 64, 96].map((from) => {
    const set = Math.min(32, Math.max(0, bits - from))
    return set === 0 ? 0 : (0xffff_ffff << (32 - set)) >>> 0
  })
  return { base: [...toWords(fromNumber(first, of))], mask }
}
