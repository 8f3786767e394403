import t from 'tap'
import { SlotAllocator, type SlotRange } from '../../../src/dataplane/slots.js'

t.test('ranges come first fit and are free only in the next cycle', (t) => {
  const slots = new SlotAllocator(10)
  const a = slots.take(4)
  t.same(a, { start: 0, length: 4 })
  t.same(slots.take(6), { start: 4, length: 6 })
  if (a !== undefined) slots.release(a)
  t.equal(slots.take(1), undefined, 'still read by somebody')
  t.equal(slots.used, 10)
  slots.nextCycle()
  t.same(slots.take(3), { start: 0, length: 3 })
  t.equal(slots.take(2), undefined)
  t.same(slots.take(0), { start: 0, length: 0 }, 'nothing always fits')
  t.end()
})

t.test('a range that is not free cannot be adopted', (t) => {
  const slots = new SlotAllocator(100)
  t.equal(slots.adopt({ start: 10, length: 10 }), true)
  t.equal(slots.adopt({ start: 19, length: 2 }), false)
  t.equal(slots.adopt({ start: 95, length: 6 }), false)
  t.same(slots.take(10), { start: 0, length: 10 })
  t.same(slots.take(10), { start: 20, length: 10 })
  t.end()
})

t.test('whatever the order, ranges never overlap and all of it comes back', (t) => {
  const size = 500
  const slots = new SlotAllocator(size)
  const owner = new Array<number>(size).fill(0)
  const held = new Map<number, SlotRange>()
  let seed = 12345
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return (seed >>> 8) % below
  }
  for (let step = 1; step <= 3000; step++) {
    const range = random(3) > 0 ? slots.take(1 + random(20)) : undefined
    if (range !== undefined) {
      for (let i = range.start; i < range.start + range.length; i++) {
        if (owner[i] !== 0) return t.fail(`slot ${i} was given twice`)
        owner[i] = step
      }
      held.set(step, range)
    } else {
      const [key, old] = [...held][random(Math.max(1, held.size))] ?? []
      if (key === undefined || old === undefined) continue
      held.delete(key)
      owner.fill(0, old.start, old.start + old.length)
      slots.release(old)
      slots.nextCycle()
    }
  }
  for (const range of held.values()) slots.release(range)
  slots.nextCycle()
  t.equal(slots.used, 0)
  t.same(slots.take(size), { start: 0, length: size }, 'gaps were joined')
  t.end()
})
