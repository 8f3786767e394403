import t from 'tap'
import { cpus } from 'node:os'
import { BpfMap } from '../index.js'
import { codeOf, failsWith, loadBasic, makePinDirectory, present, skip } from './fixture.js'

interface Small {
  a: number
  b: number
}

t.test('one element at a time', { skip }, (t) => {
  const map = loadBasic(t).map<number, Small>('smalls')
  t.equal(map.get(1), undefined)
  t.equal(map.set(1, { a: 2, b: 3 }), map)
  t.same(map.get(1), { a: 2, b: 3 })
  t.ok(map.has(1))
  t.notOk(map.has(2))
  t.throws(() => map.set(1, { a: 0, b: 0 }, 'noexist'), failsWith('EEXIST'))
  t.throws(() => map.set(2, { a: 0, b: 0 }, 'exist'), failsWith('ENOENT'))
  t.same(map.get(1), { a: 2, b: 3 }, 'a refused write changes nothing')
  t.ok(map.delete(1))
  t.notOk(map.delete(1), 'was absent')
  t.end()
})

t.test('what a map is', { skip }, (t) => {
  const map = loadBasic(t).map('records')
  t.match(map, { name: 'records', type: 'hash', keySize: 24, valueSize: 96, flags: 0 })
  t.equal(map.maxEntries, 4096)
  t.equal(map.perCpu, false)
  t.ok(map.id > 0)
  t.ok(map.fd > 2)
  t.end()
})

t.test('many at once: every element, once', { skip }, (t) => {
  const map = loadBasic(t).map<number, Small>('smalls')
  for (const count of [0, 1, 999, 1000, 1001, 2500]) {
    const all = Array.from({ length: count }, (_, i): [number, Small] => [i, { a: i, b: -i >>> 0 }])
    t.equal(map.setMany(all), count)
    t.equal(map.count(), count)
    t.same(
      [...map].sort(([a], [b]) => a - b),
      all,
    )
    t.same(
      [...map.keys()].sort((a, b) => a - b),
      all.map(([key]) => key),
    )
    t.equal([...map.values()].length, count)
    const odd = Array.from({ length: count + 10 }, (_, i) => i).filter((i) => i % 2 === 1)
    t.equal(map.deleteMany(odd), Math.floor(count / 2), 'absent keys are skipped')
    t.equal(map.deleteMany(map.keys()), Math.ceil(count / 2))
    t.equal(map.count(), 0)
  }
  t.end()
})

t.test('setMany stops at the first refusal and keeps what came before', { skip }, (t) => {
  const map = loadBasic(t).map<number, Small>('smalls')
  map.set(1500, { a: 0, b: 0 })
  const all = Array.from({ length: 2000 }, (_, i): [number, Small] => [i, { a: 1, b: 1 }])
  t.throws(() => map.setMany(all, 'noexist'), failsWith('EEXIST'))
  t.equal(map.count(), 1501)
  t.same(map.get(1499), { a: 1, b: 1 })
  t.end()
})

t.test('a full map says so', { skip }, (t) => {
  const map = BpfMap.create<Uint8Array, Uint8Array>({
    name: 'tiny',
    type: 'hash',
    keySize: 4,
    valueSize: 4,
    maxEntries: 2,
  })
  t.teardown(() => map.close())
  const key = (n: number): Uint8Array => Uint8Array.of(n, 0, 0, 0)
  map.set(key(1), key(1)).set(key(2), key(2))
  t.throws(() => map.set(key(3), key(3)), failsWith('E2BIG'))
  t.throws(() => map.setMany([[key(3), key(3)]]), failsWith('E2BIG'))
  t.same(map.get(key(2)), key(2))
  t.end()
})

t.test('arrays: all elements exist, none goes away', { skip }, (t) => {
  const map = loadBasic(t).map<number, bigint>('numbers')
  t.equal(
    map.setMany(Array.from({ length: 3000 }, (_, i): [number, bigint] => [i, BigInt(i)])),
    3000,
  )
  t.equal(map.count(), 3000)
  t.equal([...map].length, 3000)
  t.ok([...map].every(([key, value]) => BigInt(key) === value))
  t.equal(map.get(3000), undefined, 'beyond the end')
  t.throws(() => map.set(3000, 1n), failsWith('E2BIG'))
  t.throws(() => map.delete(1), failsWith('EINVAL'))
  t.throws(() => map.deleteMany([1]), failsWith('EINVAL'))
  t.end()
})

t.test('per-CPU maps keep a value for each CPU', { skip }, (t) => {
  const object = loadBasic(t)
  const map = object.map<number, number>('spread')
  t.ok(map.perCpu)
  const first = present(map.getPerCpu(1))
  t.ok(first.length >= cpus().length)
  for (let i = 0; i < 5; i++) object.program('classify').testRun({ data: new Uint8Array(64) })
  const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0)
  t.equal(sum(present(map.getPerCpu(1))), 5)
  const values = first.map((_, cpu) => cpu + 1)
  map.setPerCpu(2, values)
  t.same(map.getPerCpu(2), values)
  t.equal([...map.entriesPerCpu()].length, 8)
  t.equal(map.getPerCpu(8), undefined)
  t.throws(() => map.setPerCpu(2, [...values, 1]), RangeError)
  for (const work of [
    () => map.get(1),
    () => map.set(1, 1),
    () => [...map],
    () => [...map.values()],
    () => map.setMany([[1, 1]]),
  ]) {
    t.throws(work, TypeError)
  }
  t.throws(() => object.map('smalls').getPerCpu(1), TypeError)
  t.throws(() => [...object.map('smalls').entriesPerCpu()], TypeError)
  const hash = object.map<bigint, Small>('spread_hash')
  hash.setPerCpu(
    7n,
    first.map((_, a) => ({ a, b: 1 })),
  )
  t.same([...hash.entriesPerCpu()], [[7n, first.map((_, a) => ({ a, b: 1 }))]])
  t.same([...hash.keys()], [7n])
  t.equal(hash.count(), 1)
  t.end()
})

t.test('types of map that batch operations may not know', { skip }, (t) => {
  const object = loadBasic(t)
  const routes = object.map('routes')
  const key = (prefixlen: number, last: number): { prefixlen: number; addr: Uint8Array } => ({
    prefixlen,
    addr: Uint8Array.of(10, 0, 0, last),
  })
  t.equal(
    routes.setMany([
      [key(32, 1), 1],
      [key(24, 0), 2],
      [key(8, 0), 3],
    ]),
    3,
  )
  t.equal(routes.get(key(32, 9)), 2, 'the longest prefix')
  t.equal(routes.count(), 3)
  t.equal([...routes].length, 3)
  t.equal(routes.deleteMany([key(32, 1), key(32, 2), key(24, 0)]), 2)
  const queue = object.map<Uint8Array, Uint8Array>('queue')
  const none = new Uint8Array(0)
  queue.set(none, Uint8Array.of(1, 2, 3, 4))
  t.same(queue.get(none), Uint8Array.of(1, 2, 3, 4), 'peek')
  t.ok(codeOf(() => [...queue]) !== 'nothing', 'a queue cannot be walked')
  t.ok(codeOf(() => queue.count()) !== 'nothing')
  const jumps = object.map<number, number>('jumps')
  t.equal(jumps.get(0), object.program('jumped').id, 'a statically initialised slot')
  t.equal(jumps.get(1), undefined)
  jumps.set(1, object.program('second').fd)
  t.equal(jumps.get(1), object.program('second').id)
  t.throws(() => jumps.set(1, 0), failsWith('EINVAL'))
  t.end()
})

t.test('a walk through a map that changes ends, and sees what stays', { skip }, (t) => {
  const map = loadBasic(t).map<number, Small>('smalls')
  map.setMany(Array.from({ length: 5000 }, (_, i): [number, Small] => [i, { a: i, b: 0 }]))
  const seen = new Set<number>()
  let fresh = 5000
  for (const [key] of map) {
    seen.add(key)
    if (key < 5000 && key % 2 === 1) map.delete(key)
    if (fresh < 20_000) map.set(fresh, { a: fresh++, b: 0 })
  }
  for (let i = 0; i < 5000; i += 2) if (!seen.has(i)) t.fail(`${i} stayed, and was not seen`)
  t.pass('ended')
  t.end()
})

t.test('raw elements', { skip }, (t) => {
  const map = loadBasic(t).map<number, Small>('smalls')
  const key = Uint8Array.of(5, 0, 0, 0)
  map.raw.set(key, Uint8Array.of(1, 0, 0, 0, 2, 0, 0, 0))
  t.same(map.get(5), { a: 1, b: 2 })
  t.same(map.raw.get(key), Uint8Array.of(1, 0, 0, 0, 2, 0, 0, 0))
  t.equal(map.raw.elementSize, 8)
  t.throws(() => map.raw.set(key, new Uint8Array(7)), RangeError)
  t.throws(() => map.raw.set(new Uint8Array(5), new Uint8Array(8)), RangeError)
  t.throws(() => map.raw.set(key, new Uint8Array(8), 1), failsWith('EEXIST'))
  t.ok(map.raw.delete(key))
  t.equal(map.raw.get(key), undefined)
  const keys = new Uint8Array(Uint32Array.of(1, 2, 3).buffer)
  t.equal(map.raw.setMany(keys, new Uint8Array(24), 3), 3)
  t.throws(() => map.raw.setMany(keys, new Uint8Array(23), 3), RangeError)
  const chunk = map.raw.lookupBatch(undefined, 100)
  t.equal(chunk.count, 3)
  t.equal(chunk.keys.length, 12)
  t.equal(chunk.values.length, 24)
  t.equal(chunk.next, undefined)
  t.throws(() => map.raw.deleteMany(keys, 2), RangeError)
  t.equal(map.raw.deleteMany(keys.subarray(0, 8), 2), 2)
  t.end()
})

t.test('pins: kept, found again with their layout, removed', { skip }, (t) => {
  const directory = makePinDirectory(t)
  const object = loadBasic(t)
  const map = object.map('records')
  const path = `${directory}/records`
  map.pin(path)
  t.throws(() => map.pin(path), failsWith('EEXIST'))
  t.throws(() => map.pin('/tmp/not-a-bpffs'), failsWith('EPERM'))
  const again = BpfMap.openPinned(path)
  t.equal(again.id, map.id)
  t.equal(again.valueCodec.describe(), map.valueCodec.describe(), 'from the kernel')
  t.equal(again.keyCodec.describe(), map.keyCodec.describe())
  t.throws(() => object.map('smalls').unpin(path), failsWith('EINVAL'), "another map's pin stays")
  again.unpin(path)
  t.throws(() => again.unpin(path), failsWith('ENOENT'))
  t.throws(() => BpfMap.openPinned(path), failsWith('ENOENT'))
  again.close()
  object.program('pass').pin(path)
  t.throws(() => BpfMap.openPinned(path), failsWith('EINVAL'), 'a program is not a map')
  object.program('pass').unpin(path)
  t.end()
})

t.test('a map outlives its object by a pin, and a codec may be given', { skip }, (t) => {
  const path = `${makePinDirectory(t)}/smalls`
  const object = loadBasic(t)
  object.map<number, Small>('smalls').set(1, { a: 2, b: 3 })
  object.map('smalls').pin(path)
  const codecs = { value: object.types.struct<Small>('small') }
  object.close()
  const map = BpfMap.openPinned<number, Small>(path, codecs)
  t.teardown(() => map.close())
  t.same(map.get(1), { a: 2, b: 3 })
  const wrong = { value: object.types.struct<Small>('record') }
  t.throws(() => BpfMap.openPinned(path, wrong), RangeError)
  t.end()
})

t.test('a frozen map takes no more writes', { skip }, (t) => {
  const map = loadBasic(t).map<number, Small>('smalls')
  map.set(1, { a: 1, b: 1 }).freeze()
  t.throws(() => map.set(1, { a: 2, b: 2 }), failsWith('EPERM'))
  t.same(map.get(1), { a: 1, b: 1 })
  t.end()
})
