import t from 'tap'
import { Cidr } from '../../../src/model/address.js'
import { assignmentKey, placeVips } from '../../../src/model/ipam.js'
import type { Network, ServiceSpec } from '../../../src/model/types.js'
import { backend, network, service } from './fixtures.js'

const NONE: ReadonlyMap<string, string> = new Map()

function place(
  net: Network,
  services: readonly ServiceSpec[],
  previous = NONE,
  keepAbsent = false,
): ReturnType<typeof placeVips> {
  return placeVips(new Map([[net.name, net]]), services, previous, keepAbsent)
}

function names(count: number, given: Partial<ServiceSpec> = {}): ServiceSpec[] {
  return Array.from({ length: count }, (_, i) => service(`s${i}`, given))
}

t.test('the same input gives the same distinct VIPs of both families', (t) => {
  const services = names(100, { autoVips: [4, 6] })
  const { assignments, exhausted } = place(network(), services)
  t.same([...place(network(), services).assignments], [...assignments])
  t.same(exhausted, [])
  t.equal(assignments.size, 200)
  t.equal(new Set(assignments.values()).size, 200)
  for (const one of services) {
    t.ok(Cidr.parse('10.0.0.0/24').contains(assignments.get(assignmentKey(one, 4)) ?? '1.1.1.1'))
    t.ok(Cidr.parse('fd00:a::/64').contains(assignments.get(assignmentKey(one, 6)) ?? '::'))
  }
  t.end()
})

t.test('appending never moves another service, with or without history', (t) => {
  const before = place(network(), names(150)).assignments
  const fresh = place(network(), names(200)).assignments
  const grown = place(network(), names(200), before).assignments
  for (const [key, vip] of before) t.equal(fresh.get(key), vip)
  t.same([...grown].sort(), [...fresh].sort())
  t.end()
})

t.test('with history, neither order nor removals move a service', (t) => {
  const before = place(network(), names(200)).assignments
  const fewer = names(200)
    .filter((_, i) => i % 3 !== 0)
    .reverse()
  const after = place(network(), [service('new'), ...fewer], before).assignments
  for (const one of fewer) {
    const key = assignmentKey(one, 4)
    t.equal(after.get(key), before.get(key))
  }
  t.equal(after.size, fewer.length + 1, 'what has left is forgotten')
  t.end()
})

t.test('what must not be given is not given', (t) => {
  const subnet = Cidr.parse('10.0.0.0/28')
  const net = network('net', { subnets: ['10.0.0.0/28'], reserved: ['10.0.0.1'] })
  const others = [
    service('explicit', { vips: ['10.0.0.2'] }),
    service('backends', { mode: 'dnsrr', autoVips: [], backends: [backend('10.0.0.3')] }),
  ]
  const { assignments, exhausted } = place(net, [...others, ...names(20)])
  const free = [...subnet.addresses()].slice(4, -1)
  t.same([...assignments.values()].sort(), free.sort(), 'all that is free, and nothing else')
  t.same(
    exhausted.map(({ service: { name } }) => name),
    names(20)
      .slice(free.length)
      .map(({ name }) => name),
    'the later ones go without',
  )
  t.end()
})

t.test("a /64's anycast address is spared; ranges of one or two addresses are used whole", (t) => {
  const six = network('net', { subnets: ['fd00::/126'] })
  t.same([...place(six, names(9, { autoVips: [6] })).assignments.values()].sort(), [
    ...['fd00::1', 'fd00::2', 'fd00::3'],
  ])
  const two = network('net', { subnets: ['10.0.0.4/31'] })
  t.same([...place(two, names(3)).assignments.values()].sort(), ['10.0.0.4', '10.0.0.5'])
  t.end()
})

t.test('an address that somebody claims outright is given up', (t) => {
  const before = place(network(), [service('a')]).assignments
  const vip = before.get('net/a/4') ?? ''
  for (const claim of [
    service('b', { vips: [vip] }),
    service('b', { mode: 'dnsrr', autoVips: [], backends: [backend(vip)] }),
  ]) {
    const after = place(network(), [service('a'), claim], before).assignments.get('net/a/4')
    t.type(after, 'string')
    t.not(after, vip)
  }
  const moved = network('net', { pools: ['10.0.0.128/25'] })
  const inside = place(moved, [service('a')], new Map([['net/a/4', '10.0.0.7']])).assignments
  t.ok(Cidr.parse('10.0.0.128/25').contains(inside.get('net/a/4') ?? ''), 'the pool has changed')
  t.end()
})

t.test('assignments of services whose source is silent stay reserved', (t) => {
  const net = network('net', { subnets: ['10.0.0.0/30'] })
  const previous = new Map([['net/later/4', '10.0.0.1']])
  const early = place(net, names(2), previous, true)
  t.equal(early.assignments.get('net/later/4'), '10.0.0.1')
  t.equal(early.assignments.get('net/s0/4'), '10.0.0.2')
  t.equal(early.exhausted.length, 1)
  const late = place(net, names(2), previous, false)
  t.notOk(late.assignments.has('net/later/4'))
  t.equal(late.exhausted.length, 0)
  t.end()
})

t.test('pools that overlap or lie apart are one set of addresses', (t) => {
  const net = network('net', {
    pools: ['10.0.0.16/30', '10.0.0.0/29', '10.0.0.4/30', '10.0.0.16/30'],
  })
  const got = [...place(net, names(30)).assignments.values()]
  t.equal(got.length, 11, '8 + 4 without the network address')
  t.equal(new Set(got).size, 11)
  t.end()
})

t.test('a history that makes no sense does no harm', (t) => {
  const previous = new Map([
    ...([
      ['net/s0/4', 'fd00:a::1'],
      ['net/s1/4', '10.0.0.0'],
      ['nowhere/x/4', '10.0.0.9'],
      ['', '10.0.0.8'],
      ['net/s2/4', '10.0.0.7'],
      ['net/s3/4', '10.0.0.7'],
    ] as const),
  ])
  const { assignments } = place(network(), names(4), previous)
  t.equal(assignments.get('net/s2/4'), '10.0.0.7')
  t.equal(new Set(assignments.values()).size, 4)
  t.end()
})

t.test('10,000 services, in full and overfull pools', (t) => {
  const wide = network('net', { subnets: ['10.0.0.0/16', 'fd00:a::/64'] })
  t.equal(place(wide, names(10_000, { autoVips: [4, 6] })).assignments.size, 20_000)
  const tight = network('net', { subnets: ['10.0.0.0/19'] })
  const { assignments, exhausted } = place(tight, names(10_000))
  t.equal(assignments.size, 8190)
  t.equal(exhausted.length, 1810)
  t.equal(new Set(assignments.values()).size, 8190)
  t.end()
})

t.test('places are spread evenly', (t) => {
  const net = network('net', { subnets: ['10.0.0.0/16'] })
  const buckets = new Array<number>(16).fill(0)
  for (const vip of place(net, names(1600)).assignments.values()) {
    const bucket = Number(vip.split('.')[2]) >> 4
    buckets[bucket] = (buckets[bucket] ?? 0) + 1
  }
  const chiSquare = buckets.reduce((sum, n) => sum + (n - 100) ** 2 / 100, 0)
  t.ok(chiSquare < 37.7, `chi-square ${chiSquare}, p > 0.001 with 15 degrees of freedom`)
  t.end()
})
