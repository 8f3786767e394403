/**
 * The hashes of bpf/hash.h, bit for bit: what depends on them must come out alike in the kernel,
 * here and on every node. Pure.
 */
const MASK = 0xffff_ffff_ffff_ffffn

/** HASH_START of bpf/hash.h. */
export const HASH_START = 0x9e37_79b9_7f4a_7c15n

/** The four words of an address as `toWords` gives them. */
export type AddressWords = readonly [number, number, number, number]

/** Steele, Lea, Flood, "Fast splittable pseudorandom number generators": the finalizer. */
export function splitmix64(state: bigint): bigint {
  let x = state & MASK
  x = ((x ^ (x >> 30n)) * 0xbf58_476d_1ce4_e5b9n) & MASK
  x = ((x ^ (x >> 27n)) * 0x94d0_49bb_1331_11ebn) & MASK
  return x ^ (x >> 31n)
}

export function hashWords(state: bigint, high: number, low: number): bigint {
  return splitmix64(state ^ ((BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)))
}

export function hashAddress(state: bigint, words: AddressWords): bigint {
  return hashWords(hashWords(state, words[0], words[1]), words[2], words[3])
}

export interface FlowTuple {
  readonly from: AddressWords
  readonly fromPort: number
  /** What the client dialled. */
  readonly to: AddressWords
  readonly toPort: number
  /** IP protocol number. */
  readonly protocol: number
}

export function hashFlow({ from, fromPort, to, toPort, protocol }: FlowTuple): bigint {
  const state = hashAddress(hashAddress(HASH_START, from), to)
  return hashWords(state, ((fromPort << 16) | toPort) >>> 0, protocol)
}

/** @returns 0..count-1 */
export function hashPlace(hash: bigint, count: number): number {
  return Number(((hash >> 32n) * BigInt(count)) >> 32n)
}
