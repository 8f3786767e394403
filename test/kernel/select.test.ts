/** Which backend gets a new flow: 10,000 flows an algorithm. */
import t from 'tap'
import { chiSquare, tally } from '../lib/dial.js'
import { kernelTest, type Datapath } from '../lib/kernel.js'
import { tcp, tupleOf } from '../lib/packet.js'

const FLOWS = 10_000
const FAMILIES = [
  { name: 'IPv4', client: '10.1.0.2', vip: '10.9.0.1', backend: (n: number) => `10.1.1.${n}` },
  { name: 'IPv6', client: 'fd01::2', vip: 'fd09::1', backend: (n: number) => `fd01::1:${n}` },
] as const

/** Dials `count` times from different ports; the backends that were chosen, in order. */
function dial(dp: Datapath, client: string, vip: string, count = FLOWS): string[] {
  return Array.from({ length: count }, (_, index) => {
    const of = { src: client, sport: 2000 + index, dst: vip, dport: 80 }
    return tupleOf(dp.fromContainer(tcp(of)).packet).dst
  })
}

/** Degrees of freedom → the value that chance exceeds once in a thousand (NIST tables). */
const CRITICAL: Readonly<Record<number, number>> = { 4: 18.467, 6: 22.458, 9: 27.877 }

for (const { name, client, vip, backend } of FAMILIES) {
  const addresses = (count: number) => Array.from({ length: count }, (_, n) => backend(n + 1))

  kernelTest(t, `${name}: rr gives each the same, in turn`, (t, dp) => {
    const backends = addresses(7)
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends })
    const chosen = dial(dp, client, vip)
    chosen.forEach((one, index) => {
      if (one !== backends[index % 7]) t.fail(`flow ${index} went to ${one}`)
    })
    const counts = [...tally(chosen).values()]
    t.equal(Math.max(...counts) - Math.min(...counts), 1, '10,000 is no multiple of 7')
  })

  kernelTest(t, `${name}: wrr gives each its exact share`, (t, dp) => {
    const backends = addresses(3)
    const ring = [5, 4, 1]
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends, ring, algorithm: 'wrr' })
    const counts = tally(dial(dp, client, vip))
    t.same(
      backends.map((one) => counts.get(one)),
      [5000, 4000, 1000],
    )
  })

  for (const seed of [1n, 2n, 0xfeedfacecafebeefn]) {
    kernelTest(
      t,
      `${name}: random is even within chance, seed ${seed}`,
      (t, dp) => {
        for (const [index, count] of [5, 7, 10].entries()) {
          const own = vip.replace(/1$/, `${index + 1}`)
          const backends = addresses(count)
          dp.addService({ vips: [own], ports: ['80/tcp'], backends, algorithm: 'random' })
          const source = client.replace(/2$/, `${index + 10}`)
          const chosen = dial(dp, source, own)
          const counts = tally(chosen)
          const even = chiSquare(
            backends.map((one) => counts.get(one) ?? 0),
            backends.map(() => FLOWS / count),
          )
          const critical = CRITICAL[count - 1] ?? 0
          t.ok(even < critical, `${count} backends: chi-square ${even.toFixed(2)} < ${critical}`)
          // Pairs in a row must be even too, or "random" could be round robin.
          const repeats = chosen.filter((one, at) => one === chosen[at - 1]).length
          const expected = FLOWS / count
          const deviation = Math.sqrt(expected * (1 - 1 / count))
          t.ok(
            Math.abs(repeats - expected) < 3.9 * deviation,
            `${repeats} repeats, about ${expected}`,
          )
        }
      },
      { rodata: { random_seed: seed }, sizes: { flows4: 65536, flows6: 65536 } },
    )
  }

  kernelTest(t, `${name}: random follows the weights of the ring`, (t, dp) => {
    const backends = addresses(2)
    dp.addService({ vips: [vip], ports: ['80/tcp'], backends, ring: [3, 1], algorithm: 'random' })
    const counts = tally(dial(dp, client, vip))
    const [three = 0, one = 0] = backends.map((address) => counts.get(address))
    const value = (three - 7500) ** 2 / 7500 + (one - 2500) ** 2 / 2500
    t.ok(value < 10.828, `chi-square ${value.toFixed(2)}`)
  })
}

kernelTest(
  t,
  'random repeats itself with the same seed',
  (t, dp) => {
    const backends = Array.from({ length: 5 }, (_, n) => `10.1.1.${n + 1}`)
    dp.addService({ vips: ['10.9.0.1'], ports: ['80/tcp'], backends, algorithm: 'random' })
    const first = dial(dp, '10.1.0.2', '10.9.0.1', 50)
    dp.map('cursors').set(1, { placed: [0n, 0n, 0n, 0n] })
    t.same(dial(dp, '10.1.0.4', '10.9.0.1', 50), first)
  },
  { rodata: { random_seed: 42n } },
)

kernelTest(t, 'A and AAAA in turn reach every backend of both', (t, dp) => {
  const backends = ['10.1.1.1', '10.1.1.2', 'fd01::1:1', 'fd01::1:2']
  dp.addService({ vips: ['10.9.0.1', 'fd09::1'], ports: ['80/tcp'], backends })
  const seen = new Set<string>()
  for (let i = 0; i < 4; i++) {
    for (const [src, dst] of [
      ['10.1.0.2', '10.9.0.1'],
      ['fd01::2', 'fd09::1'],
    ] as const)
      seen.add(tupleOf(dp.fromContainer(tcp({ src, sport: 99 + i, dst, dport: 80 })).packet).dst)
  }
  t.same([...seen].sort(), backends.sort())
})
