/** Services whose branches only some packets reach: each a service of its own, in both worlds. */
import { toWords } from '../../src/model/address.js'
import type { Algorithm } from '../../src/model/types.js'
import type { Datapath, Policy } from '../lib/kernel.js'
import { isV6 } from '../lib/packet.js'

/** Ranges of clients, by `address/bits`. */
interface Ranges {
  readonly allow?: readonly string[]
  readonly deny?: readonly string[]
}

export interface Condition {
  readonly algorithm?: Algorithm
  readonly policy?: Partial<Policy>
  /** How often each backend stands in the ring. */
  readonly times?: number
  /** In turn for the backends. */
  readonly weights?: readonly number[]
  readonly ranges?: Ranges
}

/** So short that it runs out while packets come, and so that clients share a row. */
const AFFINITY = { affinity_seconds: 1, affinity_prefix4: 31, affinity_prefix6: 127 }
/** Few, so that they are reached and fallen below. */
const LIMITS = { upper: 2, lower: 1 }
/** So many slots that least-conn draws two of them by lot. */
const MANY = 40

/** @param clients ranges of both families, some of them within others */
export function conditions(clients: readonly Ranges[]): readonly Condition[] {
  return [
    { policy: AFFINITY },
    { policy: LIMITS },
    { algorithm: 'sh', times: 7 },
    { algorithm: 'maglev', times: 7 },
    { algorithm: 'lc', times: MANY },
    { algorithm: 'wlc', weights: [1, 3, 0], policy: { ...LIMITS, ...AFFINITY } },
    ...clients.map((ranges): Condition => ({ ranges })),
  ]
}

export function words(address: string): number[] {
  return [...toWords(address)]
}

/** Bits of a v4-mapped address in front of the IPv4 one. */
const MAPPED_BITS = 96
/** Of the key in front of the address: `service` and `family`. */
const KEY_BITS = 64

function setRange(dp: Datapath, service: number, range: string, rule: string): void {
  const [address = '', bits = ''] = range.split('/')
  const v6 = isV6(address)
  const prefix_bits = KEY_BITS + Number(bits) + (v6 ? 0 : MAPPED_BITS)
  const key = { prefix_bits, service, family: v6 ? 6 : 4, addr: words(address) }
  dp.map('sources').set(key, dp.constant(rule))
}

export interface Place {
  readonly vips: readonly string[]
  readonly ports: readonly string[]
  readonly backends: readonly string[]
  readonly onLink?: boolean
}

/** @returns the service, with the ids of its backends */
export function addConditioned(
  dp: Datapath,
  place: Place,
  { algorithm, policy, times = 1, weights, ranges }: Condition,
): ReturnType<Datapath['addService']> {
  const listed = ranges?.allow ? dp.constant('SERVICE_LISTED_ONLY') : 0
  const flags = ranges ? dp.constant('SERVICE_SOURCES') | listed : 0
  const service = dp.addService({
    ...place,
    ring: place.backends.map(() => times),
    ...(algorithm && { algorithm }),
    ...(weights && { weights: place.backends.map((_, i) => weights[i % weights.length] ?? 1) }),
    policy: { ...policy, flags },
  })
  for (const range of ranges?.allow ?? []) setRange(dp, service.id, range, 'SOURCE_ALLOW')
  for (const range of ranges?.deny ?? []) setRange(dp, service.id, range, 'SOURCE_DENY')
  return service
}
