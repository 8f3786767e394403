import t from 'tap'
import { BackendIds, Ids } from '../../../src/dataplane/ids.js'

t.test('an id is stable and comes back only after all the others', (t) => {
  const ids = new Ids(4)
  t.equal(ids.take('a'), 1)
  t.equal(ids.take('b'), 2)
  t.equal(ids.take('a'), 1)
  ids.release('a')
  t.equal(ids.take('c'), 3)
  t.equal(ids.take('d'), 4)
  t.equal(ids.take('e'), 1)
  t.equal(ids.keyOf(1), 'e')
  t.end()
})

t.test('when all are taken there is none, until one is given back', (t) => {
  const ids = new Ids(2)
  ids.take('a')
  ids.take('b')
  t.equal(ids.take('c'), undefined)
  ids.release('a')
  t.equal(ids.take('c'), 1)
  t.end()
})

t.test('adopted ids are kept and new ones come after them', (t) => {
  const ids = new Ids(100)
  t.equal(ids.adopt('a', 40), true)
  t.equal(ids.adopt('b', 7), true)
  t.equal(ids.adopt('c', 40), false, 'taken')
  t.equal(ids.adopt('a', 41), false, 'has one')
  t.equal(ids.adopt('d', 101), false, 'out of range')
  t.equal(ids.adopt('d', 0), false, '0 means none')
  t.equal(ids.take('a'), 40)
  t.equal(ids.take('new'), 41)
  t.end()
})

t.test('backends are told apart by service and address', (t) => {
  const ids = new BackendIds(3)
  t.equal(ids.add(7, '10.0.0.1'), 1)
  t.equal(ids.adopt(8, '10.0.0.1', 1), false, 'taken')
  t.equal(ids.adopt(7, '10.0.0.1', 2), false, 'has one')
  t.equal(ids.adopt(8, '10.0.0.1', 3), true)
  t.same(
    [...ids.entries()],
    [
      [1, { service: 7, address: '10.0.0.1' }],
      [3, { service: 8, address: '10.0.0.1' }],
    ],
  )
  ids.release(1)
  ids.release(1)
  t.equal(ids.size, 1)
  t.equal(ids.backendOf(1), undefined)
  t.equal(ids.of(7), undefined)
  t.equal(ids.add(8, '10.0.0.2'), 1)
  t.equal(ids.add(8, '10.0.0.3'), 2)
  t.equal(ids.add(8, '10.0.0.4'), undefined, 'all are taken')
  t.end()
})
