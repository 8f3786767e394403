/**
 * Maglev hashing: a table that says which backend takes which hash, the same on every node that
 * knows the same backends, and little changed when one of them leaves. Pure.
 *
 * Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
 * section 3.4. The paper has no weights: here a backend lighter than the heaviest lets turns pass
 * in proportion.
 */
import { hashAddress, HASH_START, type AddressWords } from './hash.js'

/** The order in which a backend asks for slots: offset, offset + skip, ... modulo the size. */
export interface Preference {
  /** 0..size-1 */
  readonly offset: number
  /** 1..size-1 */
  readonly skip: number
  /** 1 or more */
  readonly weight: number
}

export interface MaglevMember {
  readonly id: number
  /** What the place in the table depends on; unique. */
  readonly address: AddressWords
  readonly weight: number
}

/** The paper's "small" size; at least a hundred times the backends keeps the shares even. */
export const MAGLEV_SIZE = 65_537

const OFFSET_START = HASH_START
const SKIP_START = 0xd1b5_4a32_d192_ed03n

export function isPrime(n: number): boolean {
  if (!Number.isInteger(n) || n < 2) return false
  for (let i = 2; i * i <= n; i++) if (n % i === 0) return false
  return true
}

/**
 * @param members their order does not matter; equal weights are the paper's case
 * @param size    slots; prime, or a step could miss some
 * @returns       length `size`, or 0 without members; element i is the id that slot i belongs to
 */
export function buildMaglev(members: readonly MaglevMember[], size: number): number[] {
  const sorted = [...members].sort((a, b) => compareWords(a.address, b.address))
  const preferences = sorted.map(({ address, weight }) => ({
    offset: Number(hashAddress(OFFSET_START, address) % BigInt(size)),
    skip: Number(hashAddress(SKIP_START, address) % BigInt(size - 1)) + 1,
    weight: Math.max(1, weight),
  }))
  return Array.from(populate(preferences, size), (index) => sorted[index]?.id ?? 0)
}

/**
 * The paper's procedure: in turn, each takes the first slot of its preference that is free.
 *
 * @returns element i is the index of the preference that slot i belongs to; empty without any
 */
export function populate(preferences: readonly Preference[], size: number): Uint32Array {
  if (preferences.length === 0) return new Uint32Array(0)
  const table = new Uint32Array(size)
  const taken = new Uint8Array(size)
  const next = Uint32Array.from(preferences, ({ offset }) => offset)
  const skips = Uint32Array.from(preferences, ({ skip }) => skip)
  const weights = Float64Array.from(preferences, ({ weight }) => weight)
  const heaviest = weights.reduce((most, weight) => Math.max(most, weight), 0)
  const credit = new Float64Array(preferences.length)
  for (let filled = 0; ;) {
    for (let i = 0; i < preferences.length; i++) {
      credit[i] = (credit[i] ?? 0) + (weights[i] ?? 0)
      if ((credit[i] ?? 0) < heaviest) continue
      credit[i] = (credit[i] ?? 0) - heaviest
      const skip = skips[i] ?? 1
      let slot = next[i] ?? 0
      while (taken[slot] === 1) slot = (slot + skip) % size
      table[slot] = i
      taken[slot] = 1
      next[i] = (slot + skip) % size
      if (++filled === size) return table
    }
  }
}

function compareWords(a: AddressWords, b: AddressWords): number {
  for (let i = 0; i < 4; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}
