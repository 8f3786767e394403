/**
 * Automatic VIPs: a pure function of the networks, the services and what was assigned before.
 *
 * A name's place in the pool is a hash of (network, service, family); a taken place leads to the
 * next free one. Services are placed in the order given, and an earlier assignment that is still
 * possible wins over any hash. Hence
 * - the same input and history give the same VIPs, anywhere;
 * - a service keeps its VIP as long as the address stays in the pool and nobody claims it outright;
 * - without history, appending a service never moves another one;
 * - two histories can differ only where hashes clashed, or where an address was claimed meanwhile.
 *
 * Pools are never enumerated: a /64 costs what a /28 costs.
 */
import { createHash } from 'node:crypto'
import { Cidr, family, fromNumber, toNumber } from './address.js'
import type { Family, Network, ServiceSpec } from './types.js'
import { serviceKey } from './types.js'

/** `network/service/family` → canonical address. */
export type Assignments = ReadonlyMap<string, string>

export interface Placement {
  readonly assignments: Assignments
  /** Requests for which the pool had no address left. */
  readonly exhausted: readonly { readonly service: ServiceSpec; readonly family: Family }[]
}

export function assignmentKey(
  service: { readonly network: string; readonly name: string },
  of: Family,
): string {
  return `${serviceKey(service)}/${of}`
}

/**
 * @param services in order of precedence; those whose network is unknown get nothing
 * @param previous what was assigned before. Entries for other services stay reserved and are in the
 *                 result when `keepAbsent`: their source may not have spoken yet
 */
export function placeVips(
  networks: ReadonlyMap<string, Network>,
  services: readonly ServiceSpec[],
  previous: Assignments,
  keepAbsent: boolean,
): Placement {
  const assignments = new Map<string, string>()
  const exhausted: { service: ServiceSpec; family: Family }[] = []
  const pools = buildPools(networks, services)
  const open: { service: ServiceSpec; family: Family; pool: Pool }[] = []
  const wanted = new Set<string>()
  for (const service of services) {
    for (const of of service.autoVips) {
      const pool = pools.get(`${service.network}/${of}`)
      if (pool === undefined) {
        if (networks.has(service.network)) exhausted.push({ service, family: of })
        continue
      }
      const key = assignmentKey(service, of)
      wanted.add(key)
      const before = previous.get(key)
      if (before !== undefined && pool.take(before)) assignments.set(key, before)
      else open.push({ service, family: of, pool })
    }
  }
  if (keepAbsent) {
    for (const [key, address] of previous) {
      if (wanted.has(key)) continue
      assignments.set(key, address)
      const [network = '', , of = ''] = key.split('/')
      pools.get(`${network}/${of}`)?.take(address)
    }
  }
  for (const { service, family: of, pool } of open) {
    const key = assignmentKey(service, of)
    const address = pool.place(key)
    if (address === undefined) exhausted.push({ service, family: of })
    else assignments.set(key, address)
  }
  return { assignments, exhausted }
}

/** Pools by `network/family`, of the networks and families that some service asks for. */
function buildPools(
  networks: ReadonlyMap<string, Network>,
  services: readonly ServiceSpec[],
): Map<string, Pool> {
  const pools = new Map<string, Pool>()
  const claimed = new Map<string, Set<string>>()
  for (const { network: name, autoVips } of services) {
    const network = networks.get(name)
    if (network === undefined || autoVips.length === 0) continue
    const taken = claimed.get(name) ?? neverGiven(network)
    claimed.set(name, taken)
    for (const of of autoVips) {
      const key = `${name}/${of}`
      if (pools.has(key)) continue
      const ranges = network.pools.map((text) => Cidr.parse(text)).filter((r) => r.family === of)
      if (ranges.length > 0) pools.set(key, new Pool(ranges, taken))
    }
  }
  for (const { network, vips, backends } of services) {
    const taken = claimed.get(network)
    if (taken === undefined) continue
    for (const vip of vips) taken.add(vip)
    for (const { address } of backends) taken.add(address)
  }
  return pools
}

/** Reserved addresses, and those with a meaning of their own in a subnet. */
function neverGiven(network: Network): Set<string> {
  const never = new Set(network.reserved)
  for (const text of network.subnets) {
    const subnet = Cidr.parse(text)
    const hostBits = (subnet.family === 4 ? 32 : 128) - subnet.prefix
    // RFC 3021 and RFC 6164: a range of one or two addresses has no network or anycast address.
    if (hostBits < 2) continue
    never.add(fromNumber(subnet.first, subnet.family))
    if (subnet.family === 4) never.add(fromNumber(subnet.last, subnet.family))
  }
  return never
}

/** Free addresses of some ranges of one family, as offsets into their concatenation. */
class Pool {
  private readonly family: Family
  private readonly ranges: readonly Cidr[]
  private readonly size: bigint
  /** Taken offset → some offset after it before which nothing is free (union-find). */
  private readonly skip = new Map<bigint, bigint>()

  /**
   * @param excluded addresses never given; they enter `skip` only when a search meets them, since
   *                 there may be far more backends than VIPs
   */
  constructor(
    ranges: readonly Cidr[],
    private readonly excluded: ReadonlySet<string>,
  ) {
    this.ranges = disjoint(ranges)
    this.family = this.ranges[0]?.family ?? 4
    this.size = this.ranges.reduce((sum, range) => sum + range.size, 0n)
  }

  /** Marks the address; false when it is outside, excluded or taken. */
  take(address: string): boolean {
    const offset = this.excluded.has(address) ? undefined : this.offsetOf(address)
    if (offset === undefined || this.skip.has(offset)) return false
    this.skip.set(offset, offset + 1n)
    return true
  }

  /** Takes the first free address from the key's own place on, around the end. */
  place(key: string): string | undefined {
    return (
      this.placeBetween(placeOf(key) % this.size, this.size) ?? this.placeBetween(0n, this.size)
    )
  }

  private placeBetween(from: bigint, to: bigint): string | undefined {
    for (let at = this.nextFree(from); at < to; at = this.nextFree(at)) {
      this.skip.set(at, at + 1n)
      const address = this.addressAt(at)
      if (!this.excluded.has(address)) return address
    }
    return undefined
  }

  private nextFree(from: bigint): bigint {
    const passed: bigint[] = []
    let at = from
    for (let next = this.skip.get(at); next !== undefined; next = this.skip.get(at)) {
      passed.push(at)
      at = next
    }
    for (const offset of passed) this.skip.set(offset, at)
    return at
  }

  private offsetOf(address: string): bigint | undefined {
    if (family(address) !== this.family) return undefined
    const value = toNumber(address)
    let base = 0n
    for (const range of this.ranges) {
      if (value >= range.first && value <= range.last) return base + value - range.first
      base += range.size
    }
    return undefined
  }

  private addressAt(offset: bigint): string {
    let base = 0n
    for (const range of this.ranges) {
      if (offset < base + range.size) return fromNumber(range.first + offset - base, this.family)
      base += range.size
    }
    throw new RangeError(`offset ${offset} is outside the pool`)
  }
}

/** Sorted, without those inside another one: prefixes nest or are apart, never in between. */
function disjoint(ranges: readonly Cidr[]): Cidr[] {
  const kept: Cidr[] = []
  const sorted = [...ranges].sort((a, b) => compare(a.first, b.first) || a.prefix - b.prefix)
  for (const range of sorted) if (!kept.some((other) => other.includes(range))) kept.push(range)
  return kept
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** 128 bits, so that a /64 pool's places are uniform. */
function placeOf(key: string): bigint {
  return BigInt(`0x${createHash('sha256').update(key).digest('hex').slice(0, 32)}`)
}
