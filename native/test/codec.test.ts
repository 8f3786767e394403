import t from 'tap'
import { Btf } from '../btf.js'
import { codecOf, type Codec, type Value } from '../codec.js'
import { BpfObject } from '../index.js'
import { OBJECT, present } from './fixture.js'

const inner = (a: number, port: number): Value => ({ a, port })

const record = {
  packets: 2n ** 64n - 1n,
  balance: -5n,
  cookie: 0x0102030405060708n,
  count: 4294967295,
  delta: -2147483648,
  addr: 0x0a000001,
  colour: -3,
  name: 'grün',
  mac: Uint8Array.of(1, 2, 3, 4, 5, 6),
  level: -128,
  up: true,
  inner: inner(1, 443),
  list: [inner(2, 80), inner(3, 53)],
  low: 5,
  mid: 1023,
  high: 2,
  either: { halves: [1, 2] },
  two: 513,
  three: 3,
  flat: 9,
}

function types(): BpfObject['types'] {
  const object = BpfObject.open(OBJECT)
  try {
    return object.types
  } finally {
    object.close()
  }
}

t.test('a record goes to the bytes that C would have written', (t) => {
  const codec = types().struct<Record<string, Value>>('record')
  const bytes = new Uint8Array(codec.size)
  codec.encode(record, bytes)
  const hex = (from: number, to: number): string =>
    Buffer.from(bytes.slice(from, to)).toString('hex')
  t.equal(codec.size, 96)
  t.equal(hex(0, 8), 'ffffffffffffffff')
  t.equal(hex(8, 16), 'fbffffffffffffff')
  t.equal(hex(16, 24), '0102030405060708', '__be64')
  t.equal(hex(24, 36), 'ffffffff' + '00000080' + '0a000001', 'u32, s32, __be32')
  t.equal(hex(36, 40), 'fdffffff', 'enum')
  t.equal(hex(40, 52), '6772c3bc6e' + '00'.repeat(7), 'text')
  t.equal(hex(52, 60), '010203040506' + '80' + '01')
  t.equal(hex(60, 72), '010001bb' + '02000050' + '03000035', 'nested, __be16 inside')
  t.equal(Buffer.from(bytes).readUInt16LE(72), 5 | (1023 << 3) | (2 << 13), 'bitfields')
  t.equal(hex(76, 80), '00010002', 'a union member')
  t.equal(hex(80, 84), '01020300', 'an anonymous struct in an anonymous union')
  t.equal(hex(84, 88), '09000000')
  t.end()
})

t.test('what was encoded comes back, at any offset', (t) => {
  const codec = types().struct<Record<string, Value>>('record')
  const bytes = new Uint8Array(codec.size + 7).fill(0xaa)
  codec.encode(record, bytes, 5)
  t.match(codec.decode(bytes, 5), {
    ...record,
    either: { word: 0x02000100, halves: [1, 2] },
    one: 0x00030201,
    pad: 0,
    pad2: 0,
  })
  t.same(bytes.subarray(0, 5), new Uint8Array(5).fill(0xaa), 'nothing before it is touched')
  t.same(bytes.subarray(codec.size + 5), new Uint8Array(2).fill(0xaa), 'nor behind it')
  const names = Object.keys(codec.decode(bytes, 5))
  t.equal(names.indexOf('low'), names.indexOf('list') + 1, 'fields keep the order of C')
  t.end()
})

t.test('a value that does not fit names the field', (t) => {
  const codec = types().struct<unknown>('record')
  const into = new Uint8Array(codec.size)
  const bad: [object, string, RegExp][] = [
    [{ count: 4294967296 }, 'RangeError', /^count: 4294967296 is not/],
    [{ count: -1 }, 'RangeError', /^count: /],
    [{ count: 1.5 }, 'RangeError', /^count: /],
    [{ count: NaN }, 'RangeError', /^count: /],
    [{ count: '1' }, 'TypeError', /^count: a string, not a number/],
    [{ count: undefined }, 'TypeError', /^count: missing/],
    [{ count: null }, 'TypeError', /^count: null, not a number/],
    [{ count: 1n }, 'TypeError', /^count: a bigint/],
    [{ packets: -1n }, 'RangeError', /^packets: /],
    [{ packets: 2n ** 64n }, 'RangeError', /^packets: /],
    [{ packets: 2 ** 53 }, 'RangeError', /^packets: /],
    [{ packets: '1' }, 'TypeError', /^packets: /],
    [{ balance: 2n ** 63n }, 'RangeError', /^balance: /],
    [{ name: 'twelve bytes' }, 'RangeError', /^name: 12 bytes of text, and room for 11/],
    [{ name: 'a\0b' }, 'RangeError', /^name: contains NUL/],
    [{ name: 5 }, 'TypeError', /^name: /],
    [{ mac: new Uint8Array(5) }, 'RangeError', /^mac: 5 bytes, not 6/],
    [{ mac: [1, 2, 3, 4, 5, 6] }, 'TypeError', /^mac: an array, not a Uint8Array/],
    [{ up: 1 }, 'TypeError', /^up: /],
    [{ level: 128 }, 'RangeError', /^level: /],
    [{ inner: { a: 1 } }, 'TypeError', /^inner\.port: missing/],
    [{ inner: { a: 1, port: 1, extra: 1 } }, 'TypeError', /^inner\.extra: no such field/],
    [{ inner: 7 }, 'TypeError', /^inner: a number, not an object/],
    [{ inner: new Uint8Array(4) }, 'TypeError', /^inner: a Uint8Array/],
    [{ list: [inner(1, 1)] }, 'RangeError', /^list: 1 elements, not 2/],
    [{ list: [inner(1, 1), inner(65536, 1)] }, 'RangeError', /^list\[1\]\.a: 65536/],
    [{ list: {} }, 'TypeError', /^list: /],
    [{ mid: 1024 }, 'RangeError', /^mid: 1024 is not an integer from 0 to 1023/],
    [{ mid: 0.5 }, 'RangeError', /^mid: /],
    [{ mid: 'x' }, 'TypeError', /^mid: /],
    [{ either: {} }, 'TypeError', /^either: exactly one of word, halves/],
    [{ either: { word: 1, halves: [1, 1] } }, 'TypeError', /^either: exactly one/],
    [{ one: 1 }, 'TypeError', /exactly one of one, two, three/],
    [{ two: undefined }, 'TypeError', /^two: missing/],
    [{ two: undefined, three: undefined }, 'TypeError', /exactly one of/],
    [{ unknown: 1 }, 'TypeError', /^unknown: no such field/],
  ]
  for (const [change, name, message] of bad) {
    t.throws(() => codec.encode({ ...record, ...change }, into), { name, message })
  }
  for (const value of [undefined, null, 7, 'x', into]) {
    t.throws(() => codec.encode(value, into), { name: 'TypeError', message: /^record: / })
  }
  t.end()
})

t.test('a buffer that is too short is refused', (t) => {
  const codec = types().struct('inner')
  const value = inner(1, 2)
  t.throws(() => codec.encode(value, new Uint8Array(3)), RangeError)
  t.throws(() => codec.encode(value, new Uint8Array(8), 5), RangeError)
  t.throws(() => codec.encode(value, new Uint8Array(8), -1), RangeError)
  t.throws(() => codec.encode(value, new Uint8Array(8), 0.5), RangeError)
  t.throws(() => codec.decode(new Uint8Array(3)), RangeError)
  t.throws(() => codec.decode(new Uint8Array(4), 1), RangeError)
  t.throws(() => codec.decode('abcd' as unknown as Uint8Array), TypeError)
  t.end()
})

t.test('types by name', (t) => {
  const table = types()
  t.same(table.enum('colour'), { RED: 0, GREEN: 5, BLUE: -3 })
  t.same(table.enum('wide'), { WIDE_ONE: 1, WIDE_LARGE: 4294967296 })
  t.ok(Object.isFrozen(table.enum('colour')))
  t.ok(table.has('record'))
  t.notOk(table.has('nothing'))
  t.ok(table.names().includes('key'))
  t.equal(table.struct('__be32').describe(), 'be32')
  t.equal(table.struct('event').describe(), '{sequence:u32@0,addr:be32@4,text:char[8]@8}16')
  t.throws(() => table.struct('nothing'), RangeError)
  t.throws(() => table.enum('nothing'), RangeError)
  t.throws(() => table.enum('record'), RangeError)
  t.throws(() => table.struct(undefined as unknown as string), RangeError)
  t.end()
})

t.test('numbers, structs and arrays survive a round trip at their limits', (t) => {
  const codec: Codec = types().struct('key')
  const bytes = new Uint8Array(codec.size)
  for (let i = 0; i < 1000; i++) {
    const draw = (limit: number): number => Math.floor(Math.random() * limit)
    const key = {
      id: draw(2 ** 32),
      addr: [draw(2 ** 32), draw(2 ** 32), 0, 2 ** 32 - 1],
      port: draw(65536),
      protocol: draw(256),
      pad: 0,
    }
    codec.encode(key, bytes)
    t.strictSame(codec.decode(bytes), key)
  }
  t.end()
})

t.test('damaged type data is refused, never followed', (t) => {
  const seen = new Set<string>()
  const good = sample()
  for (let i = 0; i < good.length; i++) {
    for (const flip of [0xff, 0x01, 0x80]) {
      const bytes = Uint8Array.from(good)
      bytes[i] = present(bytes[i]) ^ flip
      try {
        const btf = new Btf(bytes)
        for (const name of btf.names()) codecOf(btf, present(btf.find(name))).describe()
        seen.add('fine')
      } catch (error) {
        seen.add((error as Error).name)
      }
    }
  }
  t.same(
    [...seen].filter((name) => !['fine', 'RangeError', 'TypeError'].includes(name)),
    [],
  )
  t.ok(seen.has('RangeError'))
  for (let length = 0; length < good.length; length++) {
    t.throws(() => new Btf(good.slice(0, length)), RangeError)
  }
  t.end()
})

/** BTF of: int x; struct s { int a; int b[4]; }; typedef struct s alias; enum e { A, B = -1 } */
function sample(): Uint8Array {
  const strings = '\0int\0s\0a\0b\0alias\0e\0A\0B\0'
  const at = (name: string): number => (name === '' ? 0 : strings.indexOf(`\0${name}\0`) + 1)
  const kind = (number: number, count = 0, flag = 0): number =>
    ((flag << 31) | (number << 24) | count) >>> 0
  const types = [
    [at('int'), kind(1), 4, (1 << 24) | 32],
    [0, kind(3), 0, 1, 1, 4],
    [at('s'), kind(4, 2), 20, at('a'), 1, 0, at('b'), 2, 32],
    [at('alias'), kind(8), 3],
    [at('e'), kind(6, 2, 1), 4, at('A'), 0, at('B'), 0xffffffff],
  ].flat()
  const bytes = new Uint8Array(24 + types.length * 4 + strings.length)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, 0xeb9f, true)
  view.setUint8(2, 1)
  const header = [24, 0, types.length * 4, types.length * 4, strings.length]
  for (const [index, word] of [...header, ...types].entries()) {
    view.setUint32(4 + index * 4, word, true)
  }
  bytes.set(Buffer.from(strings), 24 + types.length * 4)
  return bytes
}

t.test('type data made by hand', (t) => {
  const btf = new Btf(sample())
  t.equal(codecOf(btf, present(btf.find('s'))).describe(), '{a:s32@0,b:s32[4]@4}20')
  t.equal(codecOf(btf, present(btf.find('alias'))).describe(), '{a:s32@0,b:s32[4]@4}20')
  const e = btf.resolve(present(btf.find('e'))).type
  t.same(e.kind === 'enum' && e.values, [
    ['A', 0n],
    ['B', -1n],
  ])
  t.end()
})
