/** What a table does between its flushes, and while a sweep over it is under way. */
import t from 'tap'
import type { HashTable } from '../../../src/dataplane/hashTable.js'
import { Bench, kernelTest } from './bench.js'

const key = (i: number) => ({ network: 1, addr: i })
const value = (flags: number) => ({ flags, service: 0 })

function fill(table: HashTable, from: number, to: number): void {
  for (let i = from; i < to; i++) table.put(key(i), value(1))
}

kernelTest(t, 'rows that change during a sweep are not taken for drift', async (t, pinPath) => {
  const bench = await Bench.open(pinPath)
  t.teardown(async () => bench.close())
  const table = bench.installer.tables.vips[4]
  const map = bench.maps.get('vips4')
  fill(table, 0, 9000)
  table.flushWrites()
  map.set(key(1), value(7))
  map.delete(key(2))
  map.set(key(999_999), value(7))
  let repaired = 0
  let steps = 0
  for (const step of table.sweep()) {
    repaired += step
    // Another cycle, and rows that are not flushed yet.
    fill(table, 10_000 + steps * 100, 10_050 + steps * 100)
    for (let i = 0; i < 50; i++) table.delete(table.find(key(5000 + steps * 100 + i)))
    table.flushWrites()
    table.flushDeletes()
    table.put(key(20_000 + steps), value(1))
    table.delete(table.find(key(8000 + steps)))
    steps++
  }
  t.ok(steps >= 3, `${steps} steps`)
  t.equal(repaired, 3, 'what was changed by hand, and nothing else')
  table.flushWrites()
  table.flushDeletes()
  t.equal(map.count(), table.size)
  t.same(map.get(key(1)), value(1))
  t.same(map.get(key(2)), value(1))
  t.equal(map.has(key(999_999)), false)
  t.equal(
    [...table.sweep()].reduce((sum, step) => sum + step, 0),
    0,
  )
})

kernelTest(t, 'a row put, deleted and put again is written once', async (t, pinPath) => {
  const bench = await Bench.open(pinPath)
  t.teardown(async () => bench.close())
  const table = bench.installer.tables.vips[4]
  const map = bench.maps.get('vips4')
  table.delete(table.put(key(1), value(1)))
  t.equal(table.find(key(1)), -1)
  table.flushWrites()
  table.flushDeletes()
  t.equal(table.writes, 0, 'what came and went is never written')
  const row = table.put(key(1), value(1))
  table.flushWrites()
  table.delete(row)
  t.equal(table.put(key(1), value(2)), row, 'its number stays until the deletion is flushed')
  table.flushWrites()
  table.flushDeletes()
  t.same(map.get(key(1)), value(2))
  t.equal(table.writes, 2)
  table.delete(row)
  t.equal(table.put(key(2), value(1)) === row, false, 'nor is it another row before')
  table.flushWrites()
  table.flushDeletes()
  t.equal(map.count(), 1)
  t.equal(table.writes, 4)
})

kernelTest(t, 'a batch that the kernel refuses is tried again, by name', async (t, pinPath) => {
  const bench = await Bench.open(pinPath, { limits: { vips: 64 } })
  t.teardown(async () => bench.close())
  const table = bench.installer.tables.vips[4]
  const map = bench.maps.get('vips4')
  for (let i = 0; i < 8; i++) map.set(key(1000 + i), value(7))
  fill(table, 0, 60)
  t.throws(() => table.flushWrites(), { code: 'MAP_FULL', message: /vips4 is full/ })
  for (let i = 0; i < 8; i++) map.delete(key(1000 + i))
  table.flushWrites()
  t.equal(map.count(), 60)
  t.throws(() => fill(table, 100, 110), { code: 'MAP_FULL' }, 'known before it is written')
})
