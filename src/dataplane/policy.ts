/** What limits a service in the kernel: fields of its row, and rows of the sources map. Pure. */
import { Cidr, fromNumber, toWords } from '../model/address.js'
import type { Service } from '../model/types.js'
import type { Policy, SourcePlan, Words } from './rows.js'

/** Bits of a source_key before the address; of an address before the IPv4 one in it. */
const KEY_BITS = 64
const MAPPED_BITS = 96

export function policyOf(
  { affinity, thresholds, sourceRanges }: Service,
  words: Words['service'],
): Policy {
  const { allow = [], deny = [] } = sourceRanges ?? {}
  const listed = allow.length + deny.length > 0 ? words.sources : 0
  return {
    flags: listed | (allow.length > 0 ? words.listedOnly : 0),
    affinity_prefix4: affinity?.prefix4 ?? 0,
    affinity_prefix6: affinity?.prefix6 ?? 0,
    affinity_seconds: affinity?.timeoutSeconds ?? 0,
    upper: thresholds?.upper ?? 0,
    lower: thresholds?.lower ?? 0,
  }
}

/** @param service its id */
export function sourcePlans(
  { sourceRanges }: Service,
  service: number,
  words: Words['source'],
): SourcePlan[] {
  const rows = (ranges: readonly string[], value: number): SourcePlan[] =>
    ranges.map((range) => {
      const { family: of, prefix, first } = Cidr.parse(range)
      return {
        key: {
          prefix_bits: KEY_BITS + prefix + (of === 4 ? MAPPED_BITS : 0),
          service,
          family: of,
          addr: [...toWords(fromNumber(first, of))],
        },
        value,
      }
    })
  const { allow = [], deny = [] } = sourceRanges ?? {}
  return [...rows(allow, words.allow), ...rows(deny, words.deny)]
}
