/** Fields of a service that decide who gets which backend, from what is written to what is meant. */
import { Cidr } from '../../model/address.js'
import { isPrime } from '../../model/maglev.js'
import type { Affinity, ServiceSpec, SourceRanges, Thresholds } from '../../model/types.js'
import { durationMs, expectation } from './fields.js'
import type { Complain } from './parse.js'
import type { ServiceEntry } from './schema.js'

export type Choice = Pick<
  ServiceSpec,
  'algorithm' | 'tableSize' | 'locality' | 'affinity' | 'thresholds' | 'sourceRanges'
>

export function choiceOf(entry: ServiceEntry, complain: Complain): Choice {
  const { algorithm = 'rr', tableSize, locality } = entry
  if (tableSize !== undefined) checkTableSize(entry, tableSize, complain)
  const affinity = entry.affinity && affinityOf(entry.affinity, complain)
  const thresholds = entry.thresholds && thresholdsOf(entry.thresholds, complain)
  const sourceRanges = entry.sourceRanges && rangesOf(entry.sourceRanges, complain)
  return {
    algorithm,
    ...(tableSize === undefined ? {} : { tableSize }),
    ...(locality === 'prefer-local' ? { locality } : {}),
    ...(affinity === undefined ? {} : { affinity }),
    ...(thresholds === undefined ? {} : { thresholds }),
    ...(sourceRanges === undefined ? {} : { sourceRanges }),
  }
}

function checkTableSize(
  { algorithm, backends = [] }: ServiceEntry,
  size: number,
  complain: Complain,
): void {
  if (algorithm !== 'maglev' && algorithm !== 'sh')
    complain(['tableSize'], 'is only for algorithm maglev and sh')
  if (!isPrime(size)) complain(['tableSize'], expectation('a prime number', size))
  if (size < backends.length)
    complain(['tableSize'], `has fewer slots than the service has backends (${backends.length})`)
}

function affinityOf(
  { timeout, prefix4 = 32, prefix6 = 128 }: NonNullable<ServiceEntry['affinity']>,
  complain: Complain,
): Affinity {
  const timeoutMs = durationMs(timeout) ?? 0
  if (timeoutMs % 1000 !== 0)
    complain(['affinity', 'timeout'], expectation('whole seconds', timeout))
  return { timeoutSeconds: Math.floor(timeoutMs / 1000), prefix4, prefix6 }
}

/** By default a backend has room again at three quarters, as in IPVS. */
function thresholdsOf(
  { upper, lower = Math.ceil((upper * 3) / 4) }: NonNullable<ServiceEntry['thresholds']>,
  complain: Complain,
): Thresholds {
  if (lower > upper)
    complain(['thresholds', 'lower'], expectation(`at most the upper (${upper})`, lower))
  return { upper, lower }
}

function rangesOf(
  { allow = [], deny = [] }: NonNullable<ServiceEntry['sourceRanges']>,
  complain: Complain,
): SourceRanges {
  const canonical = (ranges: readonly string[]): string[] => [
    ...new Set(ranges.map((range) => Cidr.parse(range).toString())),
  ]
  const allowed = canonical(allow)
  const denied = canonical(deny)
  const both = denied.find((range) => allowed.includes(range))
  if (both !== undefined)
    complain(['sourceRanges', 'deny'], `has ${both}, which is allowed as well`, 'DUPLICATE')
  return { allow: allowed, deny: denied }
}
