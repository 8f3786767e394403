import t from 'tap'
import { Heap, type Node } from '../../../../src/sources/health/heap.js'

/** Numerical Recipes' generator: the same numbers in every run. */
function numbers(): () => number {
  let state = 1
  return () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0)
}

t.test('takes out in order, whatever was pushed and deleted', (t) => {
  const next = numbers()
  const heap = new Heap<number>()
  const nodes: Node<number>[] = []
  for (let i = 0; i < 5000; i++) nodes.push(heap.push(next() % 1000, i))
  const left = nodes.filter((node, i) => {
    if (i % 3 !== 0) return true
    heap.delete(node)
    heap.delete(node)
    return false
  })
  t.equal(heap.size, left.length)
  const taken: number[] = []
  for (let now = 0; now < 1000; now++) {
    for (let got = heap.takeDue(now); got !== undefined; got = heap.takeDue(now)) {
      if (nodes[got]?.at !== now) t.fail(`${nodes[got]?.at} at ${now}`)
      taken.push(got)
    }
  }
  t.same(
    taken.sort((a, b) => a - b),
    left.map(({ value }) => value),
  )
  t.equal(heap.first, undefined)
  t.end()
})

t.test('nothing is due before its time', (t) => {
  const heap = new Heap<string>()
  heap.push(10, 'later')
  heap.push(5, 'sooner')
  t.equal(heap.takeDue(4.9), undefined)
  t.equal(heap.takeDue(5), 'sooner')
  t.equal(heap.takeDue(9), undefined)
  t.equal(heap.takeDue(100), 'later')
  t.equal(heap.takeDue(100), undefined)
  t.end()
})
