/** Which addresses of a network the engine leaves for VIPs. Pure. */
import { Cidr, canonicalAddress, family, fromNumber, toNumber } from '../../model/address.js'
import type { Family } from '../../model/types.js'

/** Ranges smaller than this have no quarter worth the name: half of them is taken. */
const SMALL_BITS = 4

/** `address/prefix` as engines write it, perhaps with host bits; undefined if it is not. */
export function rangeOf(text: string): Cidr | undefined {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text)
  if (match?.[1] === undefined) return undefined
  try {
    const of = family(match[1])
    const bits = (of === 4 ? 32 : 128) - Number(match[2])
    if (bits < 0) return undefined
    const first = (toNumber(canonicalAddress(match[1])) >> BigInt(bits)) << BigInt(bits)
    return Cidr.parse(`${fromNumber(first, of)}/${match[2]}`)
  } catch {
    return undefined
  }
}

/**
 * The engine gives addresses from the lowest upwards, so VIPs come from the last quarter; where it was
 * told to keep to a part of the subnet, from all the rest.
 */
export function poolsOf(subnet: Cidr, given: Cidr | undefined): Cidr[] {
  if (given !== undefined && subnet.includes(given) && given.prefix > subnet.prefix)
    return without(subnet, given)
  const bits = (subnet.family === 4 ? 32 : 128) - subnet.prefix
  const prefix = Math.min(subnet.prefix + (bits <= SMALL_BITS ? 1 : 2), subnet.prefix + bits)
  const size = 1n << BigInt((subnet.family === 4 ? 32 : 128) - prefix)
  return [cidr(subnet.last - size + 1n, prefix, subnet.family)]
}

/** What is left of `whole`, in as few ranges as there can be. */
function without(whole: Cidr, part: Cidr): Cidr[] {
  if (whole.prefix >= part.prefix) return []
  const half = whole.size / 2n
  const prefix = whole.prefix + 1
  const lower = cidr(whole.first, prefix, whole.family)
  const upper = cidr(whole.first + half, prefix, whole.family)
  return lower.includes(part) ? [...without(lower, part), upper] : [lower, ...without(upper, part)]
}

function cidr(first: bigint, prefix: number, of: Family): Cidr {
  return Cidr.parse(`${fromNumber(first, of)}/${prefix}`)
}
