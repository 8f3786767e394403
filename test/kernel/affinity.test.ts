/** Affinity, thresholds and source ranges: asked by new flows alone. */
import t from 'tap'
import { fromWords } from '../../src/model/address.js'
import { policyOf, sourcePlans } from '../../src/dataplane/policy.js'
import type { Service } from '../../src/model/types.js'
import { dialFrom } from '../lib/dial.js'
import { kernelTest, TC, type Datapath, type Policy } from '../lib/kernel.js'
import { tcp, tupleOf } from '../lib/packet.js'

const CLOSED = 2
const SERVICE_FLAGS = { sources: 1, listedOnly: 2 }
const RULES = { allow: 1, deny: 2 }

const FAMILIES = [
  {
    name: 'IPv4',
    vip: '10.200.0.1',
    backends: ['10.201.0.1', '10.201.0.2', '10.201.0.3'],
    client: '10.1.2.3',
    near: '10.1.2.200',
    far: '10.1.3.3',
    mask: { affinity_prefix4: 24, affinity_prefix6: 128 },
    whole: '10.1.0.0/16',
    part: '10.1.2.0/24',
    stranger: '10.2.0.1',
  },
  {
    name: 'IPv6',
    vip: 'fd09::1',
    backends: ['fd0a::1', 'fd0a::2', 'fd0a::3'],
    client: 'fd01:0:0:1::3',
    near: 'fd01:0:0:1::c8',
    far: 'fd01:0:0:2::3',
    mask: { affinity_prefix4: 32, affinity_prefix6: 64 },
    whole: 'fd01::/16',
    part: 'fd01:0:0:1::/64',
    stranger: 'fd02::1',
  },
] as const

interface AffinityRow {
  readonly backend: number
  readonly incarnation: number
  readonly last_seen_ns: bigint
}

/** The only row; a test has one client. */
function onlyRow(dp: Datapath): { key: { client: number[] }; row: AffinityRow } {
  const [entry] = [...dp.map('affinities').entries()]
  if (entry === undefined) throw new Error('there is no row')
  return { key: entry[0] as { client: number[] }, row: entry[1] as unknown as AffinityRow }
}

function close(dp: Datapath, id: number): void {
  const row = dp.map('backends').get(id) as Record<string, number>
  dp.map('backends').set(id, { ...row, flags: (row['flags'] ?? 0) | CLOSED })
}

for (const family of FAMILIES) {
  const { name, vip, backends, client, near, far, mask, stranger } = family
  const serve = (dp: Datapath, policy: Partial<Policy>) =>
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends, policy })
  const refused = (dp: Datapath, src: string, sport: number) => {
    const result = dp.fromContainer(tcp({ src, sport, dst: vip, dport: 80, flags: 'S' }))
    return { verdict: result.verdict, source: tupleOf(result.packet).src }
  }

  kernelTest(
    t,
    `${name}: a client keeps its backend, and so does who shares its prefix`,
    (t, dp) => {
      serve(dp, { ...mask, affinity_seconds: 60 })
      const first = dialFrom(dp, client, vip, 2000)
      for (let i = 1; i < 20; i++) t.equal(dialFrom(dp, client, vip, 2000 + i), first)
      t.equal(dialFrom(dp, near, vip, 3000), first)
      t.not(dialFrom(dp, far, vip, 3000), first, 'the next in turn')
      t.same(dp.counted(), {})
    },
  )

  kernelTest(t, `${name}: it has no other when it has been away for too long`, (t, dp) => {
    serve(dp, { ...mask, affinity_seconds: 60 })
    const first = dialFrom(dp, client, vip, 2000)
    const { key, row } = onlyRow(dp)
    t.equal(fromWords(key.client), name === 'IPv4' ? '10.1.2.0' : 'fd01:0:0:1::')
    const before = (seconds: bigint) => ({
      ...row,
      last_seen_ns: row.last_seen_ns - seconds * 1_000_000_000n,
    })
    dp.map('affinities').set(key, before(58n))
    t.equal(dialFrom(dp, client, vip, 2001), first, 'and the time begins anew')
    t.ok(onlyRow(dp).row.last_seen_ns > row.last_seen_ns)
    dp.map('affinities').set(key, before(61n))
    const second = dialFrom(dp, client, vip, 2002)
    t.not(second, first)
    t.equal(dialFrom(dp, client, vip, 2003), second)
    dp.map('affinities').set(key, { ...onlyRow(dp).row, last_seen_ns: row.last_seen_ns << 1n })
    t.equal(dialFrom(dp, client, vip, 2004), second, 'another CPU saw it later')
  })

  for (const [how, end] of [
    ['is gone', (dp: Datapath, id: number) => dp.removeBackend(id)],
    ['takes no new flows', close],
  ] as const) {
    kernelTest(t, `${name}: when its backend ${how} it moves once, then stays`, (t, dp) => {
      const { id, backends: ids } = serve(dp, { ...mask, affinity_seconds: 60 })
      const first = dialFrom(dp, client, vip, 2000)
      const lost = ids.get(first) ?? 0
      end(dp, lost)
      const left = [...ids.values()].filter((one) => one !== lost)
      dp.setRing(id, { 4: name === 'IPv4' ? left : [], 6: name === 'IPv6' ? left : [] }, 'rr', {
        ...mask,
        affinity_seconds: 60,
      })
      const second = dialFrom(dp, client, vip, 2001)
      t.not(second, first)
      for (let i = 2; i < 20; i++) t.equal(dialFrom(dp, client, vip, 2000 + i), second)
      t.equal(dp.counted()['EVENT_AFFINITY_MOVED'], 1)
    })
  }

  kernelTest(
    t,
    `${name}: a backend that reached the upper threshold waits for the lower`,
    (t, dp) => {
      const { backends: ids } = serve(dp, { upper: 4, lower: 2 })
      const load = (address: string, count: number) =>
        dp.map('actives').set(ids.get(address) ?? 0, BigInt(count))
      const [one, two, three] = backends
      const dialled = (sport: number) => {
        const chosen = Array.from({ length: 6 }, (_, i) => {
          const to = dialFrom(dp, client, vip, sport + i)
          load(to, 0)
          return to
        })
        return [...new Set(chosen)].sort()
      }
      t.same(dialled(2000), [one, two, three])
      load(one, 4)
      t.same(dialled(2010), [two, three], 'full')
      load(one, 2)
      t.same(dialled(2020), [two, three], 'not yet below')
      load(one, 1)
      t.same(dialled(2030), [one, two, three])
      t.same(dp.counted(), {})
    },
  )

  kernelTest(t, `${name}: the flow that fills a backend is its last`, (t, dp) => {
    const { backends: ids } = serve(dp, { upper: 4, lower: 2 })
    const [one, two, three] = backends
    for (const [address, count] of [
      [one, 3],
      [two, 4],
      [three, 4],
    ] as const)
      dp.map('actives').set(ids.get(address) ?? 0, BigInt(count))
    t.equal(dialFrom(dp, client, vip, 2000), one)
    dp.map('actives').set(ids.get(one) ?? 0, 3n)
    t.same(refused(dp, client, 2001), { verdict: TC.REDIRECT, source: vip }, 'a reset of the VIP')
    t.same(dp.counted(), { DROP_OVERLOADED: 1, EVENT_REFUSED: 1 })
  })

  kernelTest(t, `${name}: the longest source range decides`, (t, dp) => {
    const sourceRanges = { allow: [family.whole], deny: [family.part] }
    const service = { sourceRanges } as unknown as Service
    const { id } = serve(dp, { ...policyOf(service, SERVICE_FLAGS) })
    for (const { key, value } of sourcePlans(service, id, RULES)) dp.map('sources').set(key, value)
    t.ok(backends.includes(dialFrom(dp, far, vip, 2000) as never), 'allowed')
    t.equal(refused(dp, client, 2000).verdict, TC.DROP, 'denied')
    t.equal(refused(dp, stranger, 2000).verdict, TC.DROP, 'of no range')
    t.same(dp.counted(), { DROP_SOURCE_DENIED: 2 })
  })

  kernelTest(t, `${name}: who is of no range may, if none names who may`, (t, dp) => {
    const service = {
      sourceRanges: { allow: [], deny: [family.part] },
    } as unknown as Service
    const { id } = serve(dp, { ...policyOf(service, SERVICE_FLAGS) })
    for (const { key, value } of sourcePlans(service, id, RULES)) dp.map('sources').set(key, value)
    t.ok(backends.includes(dialFrom(dp, stranger, vip, 2000) as never))
    t.equal(refused(dp, client, 2000).verdict, TC.DROP)
  })
}

kernelTest(t, 'a range of one family says nothing of the other', (t, dp) => {
  const backends = ['10.201.0.1', 'fd0a::1']
  const service = { sourceRanges: { allow: ['::/0'], deny: [] } } as unknown as Service
  const policy = policyOf(service, SERVICE_FLAGS)
  const vips = ['10.200.0.1', 'fd09::1']
  const { id } = dp.addService({ vips, ports: ['80/tcp'], backends, policy })
  for (const { key, value } of sourcePlans(service, id, RULES)) dp.map('sources').set(key, value)
  t.equal(dialFrom(dp, 'fd01::1', 'fd09::1', 2000), 'fd0a::1')
  const four = { src: '10.1.0.1', sport: 2000, dst: '10.200.0.1', dport: 80, flags: 'S' }
  t.equal(dp.fromContainer(tcp(four)).verdict, TC.DROP)
})
