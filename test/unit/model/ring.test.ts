import t from 'tap'
import { layoutRing, MAX_RING_SLOTS, usableBackends } from '../../../src/model/ring.js'

function members(...weights: number[]): { id: number; weight: number }[] {
  return weights.map((weight, index) => ({ id: index + 1, weight }))
}

function shares(ring: readonly number[]): Map<number, number> {
  const counts = new Map<number, number>()
  for (const id of ring) counts.set(id, (counts.get(id) ?? 0) + 1)
  return counts
}

t.test('which backends take new flows', (t) => {
  const of = (...states: ('active' | 'draining' | 'down')[]) => states.map((state) => ({ state }))
  t.same(usableBackends(of('active', 'draining', 'down')), of('active'))
  t.same(usableBackends(of('draining', 'down')), of('draining'))
  t.same(usableBackends(of('down')), [])
  t.same(usableBackends([]), [])
  t.end()
})

t.test('rr has one slot a member, in order, whatever the weights', (t) => {
  t.same(layoutRing(members(3, 1, 200), 'rr'), [1, 2, 3])
  t.same(layoutRing([], 'rr'), [])
  t.end()
})

t.test('weight 0 is left out unless all are 0', (t) => {
  for (const algorithm of ['rr', 'wrr', 'random'] as const) {
    t.same(layoutRing(members(0, 1, 1), algorithm), [2, 3])
    t.same(layoutRing(members(0, 0, 0), algorithm), [1, 2, 3])
    t.same(layoutRing(members(0), algorithm), [1])
  }
  t.end()
})

t.test("wrr is nginx's smooth sequence", (t) => {
  t.same(layoutRing(members(5, 1, 1), 'wrr'), [1, 1, 2, 1, 3, 1, 1], "nginx's own example")
  t.same(layoutRing(members(10, 20), 'wrr'), [2, 1, 2], 'over the greatest common divisor')
  t.same(layoutRing(members(7, 7, 7), 'random'), [1, 2, 3])
  t.end()
})

t.test('shares are exact while the sequence fits', (t) => {
  const weights = [1, 2, 3, 50, 100, 1000]
  const ring = layoutRing(members(...weights), 'wrr')
  t.equal(ring.length, 1156)
  weights.forEach((weight, i) => t.equal(shares(ring).get(i + 1), weight))
  t.end()
})

t.test('no prefix strays from the shares by much', (t) => {
  const weights = [1, 2, 3, 5, 8, 13]
  const total = 32
  const ring = layoutRing(members(...weights), 'wrr')
  weights.forEach((weight, i) => {
    let seen = 0
    ring.forEach((id, at) => {
      if (id === i + 1) seen++
      const due = ((at + 1) * weight) / total
      if (Math.abs(seen - due) > 1.5) t.fail(`after ${at + 1} slots ${seen}, due ${due}`)
    })
    t.equal(seen, weight)
  })
  t.end()
})

t.test('weights that do not fit are scaled: each has a slot, shares within one slot', (t) => {
  const weights = [65535, 65534, 32768, 1, 100]
  const ring = layoutRing(members(...weights), 'wrr')
  t.ok(ring.length <= MAX_RING_SLOTS)
  t.equal(shares(ring).get(4), 1)
  const heavy = 65535 + 65534 + 32768 + 100
  weights.forEach((weight, i) => {
    const due = Math.max(1, (weight * (ring.length - 1)) / heavy)
    const got = shares(ring).get(i + 1) ?? 0
    t.ok(Math.abs(got - due) <= 1, `${weight}: ${got} slots, due ${due}`)
  })
  t.end()
})

t.test('more members than slots have one slot each', (t) => {
  const many = Array.from({ length: 5000 }, (_, i) => ({ id: i + 1, weight: (i % 100) + 1 }))
  const ring = layoutRing(many, 'wrr')
  t.equal(shares(ring).size, 5000)
  t.equal(ring.length, 5000)
  t.ok(layoutRing(many.slice(0, 2000), 'wrr').length <= MAX_RING_SLOTS)
  t.end()
})

t.test('the same members give the same ring', (t) => {
  t.same(layoutRing(members(9, 4, 4), 'wrr'), layoutRing(members(9, 4, 4), 'wrr'))
  t.end()
})
