import t from 'tap'
import { replacements, SharedMap } from '../../../src/model/sharedMap.js'

const COUNT = 1000
const key = (at: number): string => `key${at}`
const many = (): SharedMap<number> =>
  SharedMap.of(Array.from({ length: COUNT }, (_, at) => [key(at), at] as const))

t.test('it reads as the Map of the same entries does', (t) => {
  const entries = Array.from({ length: COUNT }, (_, at) => [key(at), at] as [string, number])
  const plain = new Map(entries)
  const map = SharedMap.of(entries)
  t.equal(map.size, COUNT)
  t.same([...map], [...plain])
  t.same([...map.entries()], [...plain.entries()])
  t.same([...map.keys()], [...plain.keys()])
  t.same([...map.values()], [...plain.values()])
  const seen: [string, number][] = []
  map.forEach((value, key) => seen.push([key, value]))
  t.same(seen, entries)
  for (const at of [0, 127, 128, 129, COUNT - 1]) {
    t.equal(map.get(key(at)), at)
    t.equal(map.placeOf(key(at)), at)
  }
  t.equal(map.get('other'), undefined)
  t.equal(map.has('other'), false)
  t.equal(map.placeOf('other'), -1)
  t.same([...SharedMap.of([])], [])
  t.end()
})

t.test('a copy has other values and leaves the first as it was', (t) => {
  const first = many()
  const second = first.with([
    [key(127), -1],
    [key(128), -2],
    [key(128), -3],
  ])
  t.same([second?.get(key(126)), second?.get(key(127)), second?.get(key(128))], [126, -1, -3])
  t.same([...first.values()], [...many().values()])
  t.equal(first.with([[key(5), 5]]), first, 'nothing differs')
  t.equal(first.with([['other', 5]]), undefined, 'a key that is not there')
  t.end()
})

t.test('what differs is found, over several copies too', (t) => {
  const first = many()
  const third = first.with([[key(3), -1]])?.with([[key(900), -2]])
  t.ok(third)
  t.same(replacements(first, third ?? first), [
    { key: key(3), before: 3, after: -1 },
    { key: key(900), before: 900, after: -2 },
  ])
  t.same(replacements(first, first), [])
  t.equal(replacements(first, many()), undefined, 'equal, but made apart')
  t.equal(replacements(undefined, first), undefined)
  const plain = new Map([['a', 1]])
  t.same(replacements(plain, plain), [])
  t.equal(replacements(plain, new Map(plain)), undefined)
  t.end()
})
