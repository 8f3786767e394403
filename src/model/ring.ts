/**
 * Rings: the sequence of slots that a service's cursor or random number walks over.
 * Pure; the order of the result is the order in which rr and wrr hand out connections.
 */
import { toWords } from './address.js'
import { buildMaglev, MAGLEV_SIZE } from './maglev.js'
import type { Algorithm, Backend, BackendState, Service } from './types.js'

export interface RingMember {
  /** Backend id, or whatever the caller wants back. */
  readonly id: number
  /** 0..65535; 0 is left out unless all are 0. */
  readonly weight: number
}

/** Slots of one ring unless there are more members than that. */
export const MAX_RING_SLOTS = 4096

/**
 * The backends that take new flows: the active ones; when none is left, the draining ones.
 * A backend that is down never does.
 */
export function usableBackends<T extends { readonly state: BackendState }>(
  backends: readonly T[],
): T[] {
  const active = backends.filter(({ state }) => state === 'active')
  return active.length > 0 ? active : backends.filter(({ state }) => state === 'draining')
}

/**
 * The backends that new flows go to, of one family: of the usable ones those with a weight (all, if
 * none has one), of these those of the least priority number, and of these, if the service prefers
 * them and there are any, those of `node`.
 */
export function servingBackends(
  backends: readonly Backend[],
  locality: Service['locality'],
  node: string,
): Backend[] {
  const usable = usableBackends(backends)
  const weighted = usable.filter(({ weight }) => weight > 0)
  const taking = weighted.length > 0 ? weighted : usable
  const first = taking.reduce((least, { priority = 0 }) => Math.min(least, priority), Infinity)
  const tier = taking.filter(({ priority = 0 }) => priority === first)
  const local = locality === undefined ? [] : tier.filter((backend) => backend.node === node)
  return local.length > 0 ? local : tier
}

/** Slots of sh: enough for some hundred backends, and small where every service has a table. */
const SOURCE_HASH_SIZE = 4093

/**
 * The slots of a service, for backends of one family.
 *
 * @param backends those that new flows go to
 * @param idOf     by address
 */
export function serviceRing(
  { algorithm, tableSize }: Pick<Service, 'algorithm' | 'tableSize'>,
  backends: readonly Backend[],
  idOf: (address: string) => number,
): number[] {
  const members = backends.map(({ address, weight }) => ({ id: idOf(address), weight, address }))
  if (algorithm !== 'maglev' && algorithm !== 'sh') return layoutRing(members, algorithm)
  const standard =
    algorithm === 'maglev' || members.length * 10 > SOURCE_HASH_SIZE
      ? MAGLEV_SIZE
      : SOURCE_HASH_SIZE
  return buildMaglev(
    members.map((member) => ({ ...member, address: toWords(member.address) })),
    tableSize ?? standard,
  )
}

/**
 * rr, lc and wlc: one slot a member, in the order given. wrr and random: slots in proportion to the weights,
 * interleaved as nginx's smooth weighted round robin does.
 *
 * @param members  their order breaks ties
 * @param maxSlots upper bound; raised to the number of members when there are more of those
 * @returns        ids. Exact shares (weights over their gcd) while these fit into `maxSlots`. Else
 *                 every member has at least one slot, and a member's slots differ by less than one
 *                 from its share of what is left when those too light for a slot have theirs.
 */
export function layoutRing(
  members: readonly RingMember[],
  algorithm: Algorithm,
  maxSlots: number = MAX_RING_SLOTS,
): number[] {
  const weighted = members.filter(({ weight }) => weight > 0)
  const taking = weighted.length > 0 ? weighted : members
  if (algorithm !== 'wrr' && algorithm !== 'random') return taking.map(({ id }) => id)
  const weights = taking.map(({ weight }) => (weight === 0 ? 1 : weight))
  const counts = slotCounts(weights, Math.max(maxSlots, taking.length))
  return interleave(counts).map((index) => taking[index]?.id ?? 0)
}

/** How many slots each weight gets, at most `maxSlots` (>= weights.length) together. */
function slotCounts(weights: readonly number[], maxSlots: number): number[] {
  const exact = reduced(weights)
  return sum(exact) <= maxSlots ? exact : reduced(scaled(exact, maxSlots))
}

function reduced(counts: readonly number[]): number[] {
  const divisor = counts.reduce(gcd, 0)
  return counts.map((count) => count / (divisor || 1))
}

/** Largest remainders, after those that deserve less than a slot have been given one. */
function scaled(weights: readonly number[], slots: number): number[] {
  const counts = weights.map(() => 0)
  let open = weights.map((_, index) => index)
  let left = slots
  for (;;) {
    const total = sum(open.map((index) => weights[index] ?? 0))
    const light = open.filter((index) => ((weights[index] ?? 0) * left) / total < 1)
    if (light.length === 0) break
    for (const index of light) counts[index] = 1
    left -= light.length
    open = open.filter((index) => counts[index] === 0)
    if (open.length === 0) return counts
  }
  const total = sum(open.map((index) => weights[index] ?? 0))
  const quotas = open.map((index) => ({ index, quota: ((weights[index] ?? 0) * left) / total }))
  for (const { index, quota } of quotas) counts[index] = Math.floor(quota)
  const spare = left - sum(quotas.map(({ quota }) => Math.floor(quota)))
  quotas.sort((a, b) => (b.quota % 1) - (a.quota % 1) || a.index - b.index)
  for (const { index } of quotas.slice(0, spare)) counts[index] = (counts[index] ?? 0) + 1
  return counts
}

/** Smooth weighted round robin: each step all gain their count, the richest is taken and pays. */
function interleave(counts: readonly number[]): number[] {
  if (counts.every((count) => count === counts[0])) return counts.map((_, index) => index)
  const total = sum(counts)
  const credit = new Float64Array(counts.length)
  const sequence: number[] = []
  while (sequence.length < total) {
    let best = 0
    for (let i = 0; i < counts.length; i++) {
      credit[i] = (credit[i] ?? 0) + (counts[i] ?? 0)
      if ((credit[i] ?? 0) > (credit[best] ?? 0)) best = i
    }
    credit[best] = (credit[best] ?? 0) - total
    sequence.push(best)
  }
  return sequence
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b)
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0)
}
