import t from 'tap'
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BpfError, BpfMap, BpfObject } from '../index.js'
import {
  codeOf,
  descriptors,
  failsWith,
  loadBasic,
  makePinDirectory,
  OBJECT,
  openBasic,
  present,
  rejectionOf,
  skip,
} from './fixture.js'

const FAULTY = OBJECT.replace('basic', 'faulty')

t.test('read-only data is set by name before load', { skip }, (t) => {
  const object = openBasic(t)
  t.equal(object.getRodata('answer'), 42)
  object.setRodata({
    answer: 7,
    large: 2n ** 40n,
    mac: new Uint8Array(6),
    port: 513,
    enabled: true,
  })
  t.equal(object.getRodata('answer'), 7)
  t.equal(object.getRodata('port'), 513)
  t.equal(object.getRodata('large'), 2n ** 40n)
  t.throws(() => object.setRodata({ nothing: 1 }), RangeError)
  t.throws(() => object.setRodata({ runs: 1n }), RangeError, '.bss is not read-only')
  t.throws(() => object.setRodata({ answer: -1 }), { name: 'RangeError', message: /^answer: / })
  t.throws(() => object.setRodata({ answer: 1, port: 'x' }), {
    name: 'TypeError',
    message: /^port/,
  })
  t.equal(object.getRodata('answer'), 7, 'all or none')
  t.throws(() => object.getRodata('nothing'), RangeError)
  object.load()
  t.equal(object.program('classify').testRun({ data: new Uint8Array(64) }).retval, 513)
  t.throws(() => object.setRodata({ answer: 1 }), failsWith('EBUSY'))
  t.equal(object.getRodata('answer'), 7)
  t.equal(object.map<number, { answer: number }>('.rodata').get(0)?.answer, 7)
  t.end()
})

t.test('global variables are maps', { skip }, (t) => {
  const object = loadBasic(t)
  object.program('classify').testRun({ data: new Uint8Array(64), repeat: 3 })
  t.same(object.map('.bss').get(0), { runs: 3n })
  t.same(object.map('.data').get(0), { seed: 7 })
  t.end()
})

t.test('sizes change before load only', { skip }, (t) => {
  const object = openBasic(t)
  object.resize('records', 17)
  t.equal(object.map('records').maxEntries, 17)
  for (const wrong of [0, -1, 1.5, 2 ** 32, NaN]) {
    t.throws(() => object.resize('records', wrong), RangeError)
  }
  t.throws(() => object.resize('nothing', 1), RangeError)
  object.load()
  t.equal(object.map('records').maxEntries, 17)
  t.throws(() => object.resize('records', 18), failsWith('EBUSY'))
  t.end()
})

t.test('an existing map is used again, if it is the same', { skip }, (t) => {
  const path = `${makePinDirectory(t)}/smalls`
  const first = loadBasic(t)
  first.map('smalls').set(1, { a: 2, b: 3 })
  first.map('smalls').pin(path)
  first.close()
  const pinned = BpfMap.openPinned(path)
  t.teardown(() => pinned.close())
  const second = openBasic(t)
  second.reuse('smalls', pinned)
  try {
    second.reuse('recent', pinned)
    t.fail('took a map of another type')
  } catch (error) {
    t.match(error, { code: 'EINVAL', operation: 'reuse', subject: 'recent' })
    t.match((error as BpfError).log, /type: lru_hash in the object, hash in the map/)
    t.match((error as BpfError).log, /valueSize: 4 .*, 8/)
    t.match((error as BpfError).log, /value: u32 in the object, \{a:u32@0,b:u32@4\}8 in the map/)
  }
  second.load()
  t.equal(second.map('smalls').id, pinned.id)
  t.same(second.map('smalls').get(1), { a: 2, b: 3 })
  t.throws(() => second.reuse('smalls', pinned), failsWith('EBUSY'))
  const third = openBasic(t)
  third.resize('smalls', 5)
  t.throws(() => third.reuse('smalls', pinned), failsWith('EINVAL'), 'another size')
  t.throws(() => third.reuse('smalls', third.map('recent')), failsWith('EBADF'), 'not loaded')
  const nothing: unknown = {}
  t.throws(() => third.reuse('smalls', nothing as BpfMap), TypeError)
  t.end()
})

t.test('a program may stay out', { skip }, (t) => {
  const object = openBasic(t)
  object.autoload('classify', false)
  object.load()
  t.throws(() => object.program('classify').testRun(), failsWith('EBADF'))
  t.equal(object.program('second').testRun({ data: new Uint8Array(64) }).retval, 2)
  t.throws(() => object.autoload('classify', true), failsWith('EBUSY'))
  t.end()
})

t.test('a program that is refused brings the words of the verifier', { skip }, async (t) => {
  for (const together of [true, false]) {
    const object = BpfObject.open(FAULTY)
    try {
      if (together) object.load()
      else await object.loadAsync()
      t.fail('loaded')
    } catch (error) {
      t.ok(error instanceof BpfError)
      t.match(error, { operation: 'load', subject: FAULTY, code: 'EACCES' })
      t.match((error as BpfError).log, /invalid mem access/)
      t.ok(present((error as BpfError).log).length <= 256 * 1024)
    }
    t.throws(() => object.load(), failsWith('EBUSY'), 'an object loads once')
    object.close()
  }
})

t.test('load on another thread', { skip }, async (t) => {
  const object = openBasic(t)
  const loading = object.loadAsync()
  t.throws(() => object.resize('records', 1), failsWith('EBUSY'))
  t.throws(() => object.load(), failsWith('EBUSY'))
  await loading
  t.ok(object.loaded)
  t.equal(object.program('jump').testRun({ data: new Uint8Array(64) }).retval, 77)
  const other = BpfObject.open(OBJECT)
  const cut = other.loadAsync()
  other.close()
  t.equal(await rejectionOf(cut), 'EBADF', 'closed meanwhile')
})

t.test('files that are no objects', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'libbpf-ts-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const bad = join(directory, 'bad.bpf.o')
  t.equal(
    codeOf(() => BpfObject.open(join(directory, 'none'))),
    'ENOENT',
  )
  writeFileSync(bad, '')
  t.not(
    codeOf(() => BpfObject.open(bad)),
    'nothing',
  )
  writeFileSync(bad, 'not an object at all')
  t.equal(
    codeOf(() => BpfObject.open(bad)),
    'LIBBPF_FORMAT',
  )
  t.not(
    codeOf(() => BpfObject.open(directory)),
    'nothing',
  )
  t.not(
    codeOf(() => BpfObject.open(process.execPath)),
    'nothing',
    'an ELF file of another machine',
  )
  t.end()
})

t.test('closing gives every descriptor back, and close() may come twice', { skip }, (t) => {
  const before = descriptors().length
  for (let i = 0; i < 3; i++) {
    const object = BpfObject.open(OBJECT)
    object.load()
    object.close()
    object.close()
    t.throws(() => object.load(), failsWith('EBADF'))
    t.throws(() => object.map('smalls').get(1), failsWith('EBADF'))
    t.throws(() => object.program('pass').testRun(), failsWith('EBADF'))
    t.throws(() => object.getRodata('answer'), failsWith('EBADF'))
  }
  const unloaded = BpfObject.open(OBJECT)
  t.throws(() => unloaded.map('smalls').get(1), failsWith('EBADF'))
  unloaded[Symbol.dispose]()
  t.equal(descriptors().length, before)
  t.end()
})

t.test('names that are not there', (t) => {
  const object = openBasic(t)
  t.throws(() => object.map('nothing'), RangeError)
  t.throws(() => object.program('nothing'), RangeError)
  t.throws(() => object.setAttachType('nothing', 'connect4'), RangeError)
  t.throws(() => object.setAttachType('connect4', 'nothing' as 'connect4'), TypeError)
  object.setAttachType('connect4', 'connect6')
  t.throws(() => BpfObject.open(OBJECT, { name: 'with.dot' }), RangeError)
  const named = BpfObject.open(OBJECT, { name: 'other' })
  t.ok(named.maps.has('.rodata'))
  named.close()
  t.end()
})
