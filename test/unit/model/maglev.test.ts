/** Maglev's table: against the paper's own example, another implementation, and its promises. */
import t from 'tap'
import { toWords } from '../../../src/model/address.js'
import { hashFlow, hashPlace, splitmix64 } from '../../../src/model/hash.js'
import {
  buildMaglev,
  isPrime,
  MAGLEV_SIZE,
  type MaglevMember,
  populate,
  type Preference,
} from '../../../src/model/maglev.js'

function members(count: number, weightOf: (n: number) => number = () => 1): MaglevMember[] {
  return Array.from({ length: count }, (_, n) => ({
    id: n + 1,
    address: toWords(`10.0.${n >> 8}.${n & 255}`),
    weight: weightOf(n),
  }))
}

function shares(table: readonly number[]): Map<number, number> {
  const counts = new Map<number, number>()
  for (const id of table) counts.set(id, (counts.get(id) ?? 0) + 1)
  return counts
}

/** Slots that belong to another, though their owner is still there. */
function moved(before: readonly number[], after: readonly number[], gone: number): number {
  return before.filter((id, slot) => id !== gone && after[slot] !== id).length
}

/** The procedure of section 3.4 written out: whole permutation lists first, then `Populate`. */
function paper(preferences: readonly Preference[], size: number): number[] {
  const permutation = preferences.map(({ offset, skip }) =>
    Array.from({ length: size }, (_, j) => (offset + j * skip) % size),
  )
  const next = preferences.map(() => 0)
  const entry = Array<number>(size).fill(-1)
  let n = 0
  for (;;) {
    for (let i = 0; i < preferences.length; i++) {
      let c = permutation[i]?.[next[i] ?? 0] ?? 0
      while ((entry[c] ?? 0) >= 0) {
        next[i] = (next[i] ?? 0) + 1
        c = permutation[i]?.[next[i] ?? 0] ?? 0
      }
      entry[c] = i
      next[i] = (next[i] ?? 0) + 1
      n++
      if (n === size) return entry
    }
  }
}

t.test('the example of the paper, table 1, before and after B1 leaves', (t) => {
  const b0 = { offset: 3, skip: 4, weight: 1 }
  const b1 = { offset: 0, skip: 2, weight: 1 }
  const b2 = { offset: 3, skip: 1, weight: 1 }
  t.same([...populate([b0, b1, b2], 7)], [1, 0, 1, 0, 2, 2, 0])
  t.same([...populate([b0, b2], 7)], [0, 0, 0, 0, 1, 1, 1])
  t.end()
})

t.test('the same as the procedure written out', (t) => {
  let state = 1n
  const random = (below: number): number => {
    state = splitmix64(state + 0x9e37_79b9n)
    return hashPlace(state, below)
  }
  for (const size of [7, 251, 1021])
    for (const count of [1, 2, 3, 7]) {
      const preferences = Array.from({ length: count }, () => ({
        offset: random(size),
        skip: random(size - 1) + 1,
        weight: 1,
      }))
      t.same([...populate(preferences, size)], paper(preferences, size), `${count} in ${size}`)
    }
  t.end()
})

t.test('every slot has an owner, and equals have equal shares', (t) => {
  for (const count of [1, 3, 100, 655]) {
    const counts = [...shares(buildMaglev(members(count), MAGLEV_SIZE)).values()]
    t.equal(counts.length, count)
    t.equal(
      counts.reduce((a, b) => a + b, 0),
      MAGLEV_SIZE,
    )
    t.ok(Math.max(...counts) - Math.min(...counts) <= 1, `${count} backends`)
  }
  t.end()
})

t.test('shares follow the weights', (t) => {
  const weights = [1, 2, 3, 10, 100]
  const counts = shares(
    buildMaglev(
      members(5, (n) => weights[n] ?? 1),
      MAGLEV_SIZE,
    ),
  )
  weights.forEach((weight, n) => {
    const wanted = (MAGLEV_SIZE * weight) / 116
    const got = counts.get(n + 1) ?? 0
    t.ok(Math.abs(got - wanted) <= 2, `weight ${weight}: ${got} slots, about ${wanted.toFixed(1)}`)
  })
  const even = buildMaglev(members(7), 251)
  t.same(
    buildMaglev(
      members(7, () => 40),
      251,
    ),
    even,
    'only their proportion matters',
  )
  t.end()
})

t.test('when one of 100 leaves, at most 2 % of the other flows move', (t) => {
  for (const [name, all] of [
    ['equal', members(100)],
    ['weighted', members(100, (n) => 1 + (n % 5))],
  ] as const) {
    const before = buildMaglev(all, MAGLEV_SIZE)
    let worst = 0
    for (const gone of [1, 37, 50, 100]) {
      const after = buildMaglev(
        all.filter(({ id }) => id !== gone),
        MAGLEV_SIZE,
      )
      const others = before.filter((id) => id !== gone).length
      worst = Math.max(worst, moved(before, after, gone) / others)
    }
    t.ok(worst <= 0.02, `${name}: ${(worst * 100).toFixed(2)} % of the slots`)
  }
  const before = buildMaglev(members(100), MAGLEV_SIZE)
  const after = buildMaglev(
    members(100).filter(({ id }) => id !== 50),
    MAGLEV_SIZE,
  )
  let others = 0
  let lost = 0
  for (let n = 0; n < 20_000; n++) {
    const place = hashPlace(
      hashFlow({
        from: toWords(`10.1.${n >> 8}.${n & 255}`),
        fromPort: 1024 + n,
        to: toWords('10.9.0.1'),
        toPort: 80,
        protocol: 6,
      }),
      MAGLEV_SIZE,
    )
    if (before[place] === 50) continue
    others++
    if (before[place] !== after[place]) lost++
  }
  t.ok(lost / others <= 0.02, `${lost} of ${others} flows`)
  t.end()
})

t.test('a node that lists the backends otherwise has the same table', (t) => {
  const all = members(20, (n) => 1 + (n % 3))
  t.same(buildMaglev([...all].reverse(), 1021), buildMaglev(all, 1021))
  t.same(buildMaglev([], 1021), [])
  t.end()
})

t.test('the table of these three is this one, on every node and in every version', (t) => {
  const three = ['10.0.0.1', '10.0.0.2', 'fd00::3'].map((address, n) => ({
    ...{ id: n + 1, address: toWords(address), weight: 1 },
  }))
  t.equal(
    buildMaglev(three, 31).join(' '),
    '1 2 3 1 2 3 3 2 2 1 2 3 3 1 3 2 2 3 1 1 1 3 3 2 2 1 2 1 1 1 3',
  )
  t.end()
})

t.test('primes', (t) => {
  t.same([2, 3, 251, 65_537, 131_071].map(isPrime), [true, true, true, true, true])
  t.same([-7, 0, 1, 4, 65_536, 2.5].map(isPrime), Array(6).fill(false))
  t.end()
})
