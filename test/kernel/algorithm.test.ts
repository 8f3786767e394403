/** Algorithms that look at loads and at clients, each against a calculation of its own. */
import t from 'tap'
import { toWords } from '../../src/model/address.js'
import { hashAddress, hashFlow, hashPlace, HASH_START } from '../../src/model/hash.js'
import { buildMaglev } from '../../src/model/maglev.js'
import { ALGORITHMS } from '../../src/model/types.js'
import { chiSquare, CRITICAL, dialFrom, tally } from '../lib/dial.js'
import { seeded } from '../lib/seeded.js'
import { kernelTest, type Datapath, type Options } from '../lib/kernel.js'
import { tcp, tupleOf } from '../lib/packet.js'

const FAMILIES = [
  {
    name: 'IPv4',
    client: (n: number) => `10.${1 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`,
    vip: '10.200.0.1',
    backend: (n: number) => `10.201.0.${n}`,
  },
  {
    name: 'IPv6',
    client: (n: number) => `fd01::${(n + 1).toString(16)}`,
    vip: 'fd09::1',
    backend: (n: number) => `fd0a::${n.toString(16)}`,
  },
] as const

const ROOM: Options = {
  rodata: { random_seed: 7n },
  sizes: { slots: 65536, flows4: 32768, flows6: 32768, embryonic4: 32768, embryonic6: 32768 },
}

function load(dp: Datapath, loads: readonly number[]): void {
  loads.forEach((count, i) => {
    dp.map('actives').set(i + 1, BigInt(count))
  })
}

for (const { name, client, vip, backend } of FAMILIES) {
  const addresses = (count: number) => Array.from({ length: count }, (_, n) => backend(n + 1))
  const ringOf = (ids: readonly number[]) => ({
    4: name === 'IPv4' ? ids : [],
    6: name === 'IPv6' ? ids : [],
  })
  const maglevIds = (backends: readonly string[], size: number) =>
    buildMaglev(
      backends.map((one, i) => ({ id: i + 1, address: toWords(one), weight: 1 })),
      size,
    )

  for (const count of [1, 7, 64]) {
    kernelTest(
      t,
      `${name}: lc takes one of the least loaded of ${count}, always`,
      (t, dp) => {
        const backends = addresses(count)
        dp.addService({ vips: [vip], ports: ['80/tcp'], backends, algorithm: 'lc' })
        const random = seeded(count)
        for (let round = 0; round < 200; round++) {
          const loads = backends.map(() => Math.floor(random() * 10))
          load(dp, loads)
          const chosen = backends.indexOf(dialFrom(dp, client(0), vip, 2000 + round))
          const least = Math.min(...loads)
          if (loads[chosen] !== least)
            t.fail(`round ${round}: ${chosen} has ${loads[chosen]}, the least is ${least}`)
        }
        t.same(dp.counted(), {})
      },
      ROOM,
    )
  }

  kernelTest(
    t,
    `${name}: lc lets those that are equal take turns`,
    (t, dp) => {
      const backends = addresses(5)
      dp.addService({ vips: [vip], ports: ['80/tcp'], backends, algorithm: 'lc' })
      const chosen = Array.from({ length: 50 }, (_, i) => {
        load(dp, [0, 0, 0, 0, 0])
        return dialFrom(dp, client(0), vip, 2000 + i)
      })
      t.same([...tally(chosen).values()], [10, 10, 10, 10, 10])
    },
    ROOM,
  )

  kernelTest(
    t,
    `${name}: wlc takes the least load for its weight, always`,
    (t, dp) => {
      const backends = addresses(9)
      const weights = [1, 2, 3, 5, 8, 13, 21, 34, 65535]
      dp.addService({ vips: [vip], ports: ['80/tcp'], backends, weights, algorithm: 'wlc' })
      const random = seeded(9)
      for (let round = 0; round < 200; round++) {
        const loads = weights.map((weight) => Math.floor(random() * weight * 4))
        load(dp, loads)
        const chosen = backends.indexOf(dialFrom(dp, client(0), vip, 2000 + round))
        const relative = loads.map((value, i) => value / (weights[i] ?? 1))
        if (relative[chosen] !== Math.min(...relative)) t.fail(`round ${round}: ${chosen}`)
      }
      t.same(dp.counted(), {})
    },
    ROOM,
  )

  kernelTest(
    t,
    `${name}: of more than 64, lc draws two and takes the less loaded`,
    (t, dp) => {
      const count = 100
      const backends = addresses(count)
      dp.addService({ vips: [vip], ports: ['80/tcp'], backends, algorithm: 'lc' })
      const loads = backends.map((_, i) => i)
      load(dp, loads)
      const bins = Array<number>(10).fill(0)
      const draws = 5000
      for (let i = 0; i < draws; i++) {
        const chosen = backends.indexOf(dialFrom(dp, client(0), vip, 2000 + i))
        dp.map('actives').set(chosen + 1, BigInt(chosen))
        const bin = Math.floor(chosen / 10)
        bins[bin] = (bins[bin] ?? 0) + 1
      }
      // The lesser of two different ones is i in 2 (n - 1 - i) of n (n - 1) draws.
      const expected = bins.map((_, bin) =>
        Array.from({ length: 10 }, (_, i) => count - 1 - (bin * 10 + i)).reduce(
          (sum, above) => sum + (draws * 2 * above) / (count * (count - 1)),
          0,
        ),
      )
      const value = chiSquare(bins, expected)
      t.ok(value < CRITICAL[9], `chi-square ${value.toFixed(2)}`)
    },
    ROOM,
  )

  kernelTest(
    t,
    `${name}: sh goes by the client's address as calculated, and spreads 10,000 clients`,
    (t, dp) => {
      const backends = addresses(10)
      const { id } = dp.addService({ vips: [vip], ports: ['80/tcp'], backends })
      const table = maglevIds(backends, 4093)
      dp.setRing(id, ringOf(table), 'sh')
      const chosen = Array.from({ length: 10_000 }, (_, n) => {
        const hash = hashAddress(HASH_START, toWords(client(n)))
        const wanted = backends[(table[hashPlace(hash, table.length)] ?? 0) - 1]
        const got = dialFrom(dp, client(n), vip, 2000 + n)
        if (got !== wanted) t.fail(`${client(n)}: ${got}, not ${wanted}`)
        return got
      })
      const share = backends.map((_, i) => table.filter((one) => one === i + 1).length)
      const counts = tally(chosen)
      const value = chiSquare(
        backends.map((one) => counts.get(one) ?? 0),
        share.map((slots) => (slots / table.length) * 10_000),
      )
      t.ok(value < CRITICAL[9], `chi-square ${value.toFixed(2)}`)
      for (let sport = 20_000; sport < 20_050; sport++)
        t.equal(dialFrom(dp, client(5), vip, sport), chosen[5])
    },
    ROOM,
  )

  kernelTest(
    t,
    `${name}: maglev goes by the 5-tuple as calculated, and spreads 10,000 flows`,
    (t, dp) => {
      const backends = addresses(10)
      const { id } = dp.addService({ vips: [vip], ports: ['80/tcp'], backends })
      const table = maglevIds(backends, 16_381)
      dp.setRing(id, ringOf(table), 'maglev')
      const chosen = Array.from({ length: 10_000 }, (_, n) => {
        const fromPort = 2000 + n
        const from = client(n & 3)
        const hash = hashFlow({
          ...{ from: toWords(from), fromPort, to: toWords(vip), toPort: 80, protocol: 6 },
        })
        const wanted = backends[(table[hashPlace(hash, table.length)] ?? 0) - 1]
        const got = dialFrom(dp, from, vip, fromPort)
        if (got !== wanted) t.fail(`port ${fromPort}: ${got}, not ${wanted}`)
        return got
      })
      const counts = tally(chosen)
      const share = backends.map((_, i) => table.filter((one) => one === i + 1).length)
      const value = chiSquare(
        backends.map((one) => counts.get(one) ?? 0),
        share.map((slots) => (slots / table.length) * 10_000),
      )
      t.ok(value < CRITICAL[9], `chi-square ${value.toFixed(2)}`)
    },
    ROOM,
  )

  kernelTest(
    t,
    `${name}: a change of algorithm moves no flow`,
    (t, dp) => {
      const backends = addresses(5)
      const service = dp.addService({ vips: [vip], ports: ['80/tcp'], backends })
      const ids = [...service.backends.values()]
      const flows = new Map<number, string>()
      ALGORITHMS.forEach((algorithm, turn) => {
        const table = algorithm === 'sh' || algorithm === 'maglev'
        dp.setRing(service.id, ringOf(table ? maglevIds(backends, 251) : ids), algorithm)
        for (let i = 0; i < 50; i++) {
          const sport = 2000 + turn * 100 + i
          flows.set(sport, dialFrom(dp, client(1), vip, sport))
        }
        for (const [sport, chosen] of flows) {
          const packet = tcp({ src: client(1), sport, dst: vip, dport: 80, flags: 'A' })
          const got = tupleOf(dp.fromContainer(packet).packet).dst
          if (got !== chosen) t.fail(`${algorithm}: port ${sport} moved from ${chosen} to ${got}`)
        }
      })
      t.same(dp.counted(), {})
      t.equal(flows.size, 50 * ALGORITHMS.length)
    },
    ROOM,
  )
}
