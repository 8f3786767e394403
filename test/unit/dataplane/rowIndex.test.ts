import t from 'tap'
import { RowIndex } from '../../../src/dataplane/rowIndex.js'

t.test('rows are found by key, beside a Map, whatever the order of adding and removing', (t) => {
  const index = new RowIndex(8, 4)
  const expected = new Map<string, number>()
  let seed = 4711
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return (seed >>> 8) % below
  }
  for (let step = 0; step < 20_000; step++) {
    // The words before it are another's.
    const key = Uint32Array.of(99, random(3), random(200))
    const name = key.join(' ')
    const row = expected.get(name)
    if (index.find(key, 1) !== (row ?? -1)) return t.fail(`step ${step}: ${name}`)
    if (row === undefined) {
      const added = index.add(key, 1)
      if ([...expected.values()].includes(added)) return t.fail(`row ${added} was given twice`)
      expected.set(name, added)
    } else if (random(2) === 0) {
      index.remove(row)
      expected.delete(name)
    }
  }
  t.equal(index.size, expected.size)
  t.ok(index.size > 100 && index.capacity >= 512, `${index.size} rows, it has grown`)
  for (const [name, row] of expected) {
    const words = new Uint32Array(index.keys(row).slice().buffer)
    if (`99 ${words.join(' ')}` !== name) return t.fail(`key of row ${row}`)
  }
  t.throws(() => new RowIndex(6, 4), RangeError)
  t.end()
})
