/**
 * Some hundred wrong calls. Each must throw or reject with BpfError, TypeError or RangeError; that
 * the process is still there at the end is half of the test.
 */
import t, { type Test } from 'tap'
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  BpfMap,
  BpfObject,
  Link,
  netnsCookie,
  netnsInode,
  openSocket,
  Program,
  RingBuffer,
} from '../index.js'
import { addon } from '../addon.js'
import { loadBasic, makeNetns, OBJECT, openBasic, skip } from './fixture.js'

const JUNK: readonly unknown[] = [
  undefined,
  null,
  true,
  0,
  -1,
  0.5,
  NaN,
  2 ** 53,
  5n,
  '',
  'nothing',
  'a\0b',
  Symbol('junk'),
  {},
  [],
  () => undefined,
  new Uint8Array(0),
  new Uint8Array(3),
  new Uint16Array(12),
  new DataView(new ArrayBuffer(4)),
  new ArrayBuffer(4),
]

function isExpected(error: unknown): boolean {
  return error instanceof Error && ['BpfError', 'TypeError', 'RangeError'].includes(error.name)
}

/** @returns what was wrong, or undefined */
async function outcome(work: () => unknown): Promise<string | undefined> {
  try {
    const result = await work()
    return `returned ${typeof result}`
  } catch (error) {
    return isExpected(error) ? undefined : `threw ${String(error)}`
  }
}

type Calls = readonly (readonly [string, () => unknown])[]

async function refuses(t: Test, calls: Calls): Promise<void> {
  const wrong: string[] = []
  for (const [name, work] of calls) {
    const found = await outcome(work)
    if (found !== undefined) wrong.push(`${name}: ${found}`)
  }
  t.same(wrong, [], `${calls.length} calls`)
}
/** The call with each piece of junk, apart from what is legal there. */
function each(name: string, call: (junk: never) => unknown, legal: readonly unknown[] = []): Calls {
  return JUNK.filter((junk) => !legal.includes(junk)).map(
    (junk, index) => [`${name} #${index} ${typeof junk}`, () => call(junk as never)] as const,
  )
}

t.test('junk for arguments', { skip }, async (t) => {
  const object = loadBasic(t)
  const fresh = openBasic(t)
  const smalls = object.map('smalls')
  const { raw } = smalls
  const numbers = object.map('numbers')
  const pass = object.program('pass')
  const four = new Uint8Array(4)
  const eight = new Uint8Array(8)
  const small = { a: 1, b: 2 }
  const [empty, three] = [JUNK[16], JUNK[17]]
  await refuses(t, [
    ...each('open', (x) => BpfObject.open(x)),
    ...each(
      'open options',
      (x) => BpfObject.open(OBJECT, x),
      JUNK.filter((x) => (typeof x === 'object' && x !== null) || x === undefined),
    ),
    ...each('open name', (x) => BpfObject.open(OBJECT, { name: x }), [
      undefined,
      'nothing',
      true,
      NaN,
      0,
      2 ** 53,
      5n,
      null,
    ]),
    ...each(
      'setRodata',
      (x) => fresh.setRodata(x),
      JUNK.filter((x) => typeof x === 'object' && x !== null),
    ),
    ...each('setRodata answer', (x) => fresh.setRodata({ answer: x }), [0]),
    ...each('setRodata mac', (x) => fresh.setRodata({ mac: x })),
    ...each('getRodata', (x) => fresh.getRodata(x)),
    ...each('resize', (x) => fresh.resize('records', x)),
    ...each('resize map', (x) => fresh.resize(x, 1)),
    ...each('reuse', (x) => fresh.reuse('records', x)),
    ...each('autoload', (x) => fresh.autoload('pass', x), [true]),
    ...each('attach type', (x) => fresh.setAttachType('pass', x)),
    ...each('map', (x) => object.map(x)),
    ...each('program', (x) => object.program(x)),
    ...each('struct', (x) => object.types.struct(x)),
    ...each('enum', (x) => object.types.enum(x)),
    ...each('get', (x) => smalls.get(x), [0]),
    ...each('has', (x) => smalls.has(x), [0]),
    ...each('delete', (x) => smalls.delete(x), [0]),
    ...each('set key', (x) => smalls.set(x, small), [0]),
    ...each('set value', (x) => smalls.set(1, x)),
    ...each('set mode', (x) => smalls.set(1, small, x), [undefined]),
    ...each('set u64', (x) => numbers.set(1, x), [0, 5n]),
    ...each('setMany', (x) => smalls.setMany(x), ['', empty, JUNK[14]]),
    ...each('setMany element', (x) => smalls.setMany([x])),
    ...each('deleteMany', (x) => smalls.deleteMany(x), ['', empty, three, JUNK[14], JUNK[18]]),
    ...each('deleteMany key', (x) => smalls.deleteMany([x]), [0]),
    ...each('setPerCpu', (x) => object.map('spread').setPerCpu(1, x)),
    ...each('raw get', (x) => raw.get(x)),
    ...each('raw set', (x) => raw.set(x, eight)),
    ...each('raw set value', (x) => raw.set(four, x)),
    ...each('raw set flags', (x) => raw.set(four, eight, x), [undefined, 0]),
    ...each('raw delete', (x) => raw.delete(x)),
    ...each('raw cursor', (x) => raw.lookupBatch(x, 10), [undefined]),
    ...each('raw max', (x) => raw.lookupBatch(undefined, x)),
    ...each('raw setMany', (x) => raw.setMany(x, eight, 1)),
    ...each('raw setMany values', (x) => raw.setMany(four, x, 1)),
    ...each('raw setMany count', (x) => raw.setMany(four, eight, x)),
    ...each('raw deleteMany', (x) => raw.deleteMany(x, 1)),
    ...each('pin map', (x) => smalls.pin(x)),
    ...each('unpin map', (x) => smalls.unpin(x)),
    ...each('openPinned', (x) => BpfMap.openPinned(x)),
    ...each('create', (x) => BpfMap.create(x)),
    ...each('test data', (x) => pass.testRun({ data: x }), [undefined]),
    ...each('test ctx', (x) => pass.testRun({ data: new Uint8Array(64), ctx: x }), [
      undefined,
      empty,
    ]),
    ...each('test repeat', (x) => pass.testRun({ data: new Uint8Array(64), repeat: x }), [
      undefined,
      null,
    ]),
    ...each('test out', (x) => pass.testRun({ data: new Uint8Array(64), dataOutSize: x }), [
      undefined,
      null,
      0,
    ]),
    ...each('pin program', (x) => pass.pin(x)),
    ...each('unpin program', (x) => pass.unpin(x)),
    ...each('openPinned program', (x) => Program.openPinned(x)),
    ...each('openPinned link', (x) => Link.openPinned(x)),
    ...each('ring map', (x) => new RingBuffer(x, () => undefined)),
    ...each('ring callback', (x) => new RingBuffer(object.map('ring'), x), [JUNK[15]]),
    ...each('cookie', (x) => netnsCookie(x), [undefined]),
    ...each('inode', (x) => netnsInode(x), [undefined]),
    ...each('socket', (x) => openSocket(x)),
  ])
})

t.test('junk for attachments', { skip }, async (t) => {
  const object = loadBasic(t)
  const netns = makeNetns(t)
  const [pass, classify] = [object.program('pass'), object.program('classify')]
  const tc = { interface: 'a0', direction: 'ingress', netns } as const
  const link = await pass.attachXdp({ interface: 'a0', netns })
  t.teardown(() => link.close())
  await refuses(t, [
    ...each('xdp', (x) => pass.attachXdp(x)),
    ...each('xdp interface', (x) => pass.attachXdp({ interface: x, netns })),
    ...each('xdp netns', (x) => pass.attachXdp({ interface: 'nothing', netns: x })),
    ...each('xdp mode', (x) => pass.attachXdp({ interface: 'b0', netns, mode: x }), [
      undefined,
      null,
    ]),
    ...each('tcx', (x) => classify.attachTcx(x)),
    ...each('tcx interface', (x) => classify.attachTcx({ ...tc, interface: x })),
    ...each('tcx direction', (x) => classify.attachTcx({ ...tc, direction: x })),
    ...each('tcx fallback', (x) => classify.attachTcx({ ...tc, fallback: x }), [
      undefined,
      null,
      true,
    ]),
    ...each('tcx position', (x) => classify.attachTcx({ ...tc, position: x }), [undefined, null]),
    ...each('clsact', (x) => classify.attachClsact(x)),
    ...each('clsact handle', (x) => classify.attachClsact({ ...tc, handle: x }), [
      undefined,
      null,
      0,
    ]),
    ...each('clsact find', (x) => Link.openClsact(x)),
    ...each('cgroup', (x) => object.program('connect4').attachCgroup(x)),
    ...each('cgroup path', (x) =>
      object.program('connect4').attachCgroup({ path: x, type: 'connect4' }),
    ),
    ...each('cgroup type', (x) =>
      object.program('connect4').attachCgroup({ path: '/tmp', type: x }),
    ),
    ...each('netns type', (x) => object.program('find_socket').attachNetns({ netns, type: x })),
    ...each('update', (x) => link.update(x)),
    ...each('update fd', (x) => link.update({ fd: x })),
    ...each('read', (x) => link.read(x)),
    ...each('pin', (x) => link.pin(x)),
    ['iterator of another type', () => pass.attachIter()],
  ])
})

t.test('closed handles', { skip }, async (t) => {
  const object = loadBasic(t)
  const [map, spread] = [object.map('smalls'), object.map('spread')]
  const pass = object.program('pass')
  const netns = makeNetns(t)
  const link = await pass.attachXdp({ interface: 'a0', netns })
  const { raw } = map
  const four = new Uint8Array(4)
  object.close()
  link.close()
  await refuses(t, [
    ['id', () => map.id],
    ['fd', () => map.fd],
    ['raw', () => raw.get(four)],
    ['raw set', () => raw.set(four, new Uint8Array(8))],
    ['raw batch', () => raw.lookupBatch(undefined, 1)],
    ['get', () => map.get(1)],
    ['has', () => map.has(1)],
    ['set', () => map.set(1, { a: 1, b: 1 })],
    ['delete', () => map.delete(1)],
    ['walk', () => [...map]],
    ['keys', () => [...map.keys()]],
    ['per CPU', () => spread.getPerCpu(1)],
    ['per CPU walk', () => [...spread.entriesPerCpu()]],
    ['setMany', () => map.setMany([])],
    ['deleteMany', () => map.deleteMany([])],
    ['count', () => map.count()],
    ['freeze', () => map.freeze()],
    ['pin', () => map.pin('/sys/fs/bpf/x')],
    ['unpin', () => map.unpin('/sys/fs/bpf/x')],
    ['program', () => pass.id],
    ['run', () => pass.testRun({ data: new Uint8Array(64) })],
    ['xdp', () => pass.attachXdp({ interface: 'a0', netns })],
    ['tcx', () => pass.attachTcx({ interface: 'a0', netns, direction: 'ingress' })],
    ['clsact', () => pass.attachClsact({ interface: 'a0', netns, direction: 'ingress' })],
    ['cgroup', () => pass.attachCgroup({ path: '/', type: 'connect4' })],
    ['netns', () => pass.attachNetns({ type: 'sk_lookup' })],
    ['iter', () => pass.attachIter()],
    ['program pin', () => pass.pin('/sys/fs/bpf/x')],
    ['link', () => link.info()],
    ['link update', () => link.update(pass)],
    ['link detach', () => link.detach()],
    ['link read', () => link.read()],
    ['link pin', () => link.pin('/sys/fs/bpf/x')],
    ['load', () => object.load()],
    ['load async', () => object.loadAsync()],
    ['rodata', () => object.setRodata({ answer: 1 })],
    ['resize', () => object.resize('smalls', 1)],
    ['autoload', () => object.autoload('pass', true)],
  ])
})

t.test('methods on foreign receivers', { skip }, async (t) => {
  const object = loadBasic(t)
  const map = object.map('smalls')
  const foreign: object[] = [{}, [], new Uint8Array(4), object, (): void => undefined]
  const methods: [object, string[]][] = [
    [map, ['get', 'set', 'delete', 'count', 'setMany', 'pin', 'has']],
    [object.program('pass'), ['testRun', 'attachXdp', 'pin', 'info']],
    [object, ['load', 'map', 'setRodata', 'resize']],
  ]
  const calls: [string, () => unknown][] = []
  for (const [owner, names] of methods) {
    for (const name of names) {
      for (const receiver of foreign) {
        if (receiver === owner) continue
        const method = Reflect.get(owner, name) as (...args: unknown[]) => unknown
        calls.push([name, () => Reflect.apply(method, receiver, [1, 2])])
      }
    }
  }
  await refuses(t, calls)
})

t.test('the native side checks for itself', { skip }, async (t) => {
  const object = loadBasic(t)
  const native = new addon.Map(object.map('smalls').fd)
  const program = new addon.Program(object.program('pass').fd)
  const lookup = Reflect.get(native, 'lookup') as (...args: unknown[]) => unknown
  const ring = object.map('ring').fd
  const keys = new Uint8Array(40)
  await refuses(t, [
    ...each('fd', (x) => new addon.Map(x)),
    ...each('program', (x) => new addon.Program(x)),
    ...each('link', (x) => new addon.Link(x)),
    ...each('object', (x) => new addon.BpfObject(x)),
    ...each('ring', (x) => new addon.RingBuffer(x, () => undefined)),
    ...each('ring callback', (x) => new addon.RingBuffer(ring, x), [JUNK[15]]),
    ...each('lookup', (x) => native.lookup(x, keys.subarray(0, 8))),
    ...each('lookup into', (x) => native.lookup(keys.subarray(0, 4), x)),
    ...each('update', (x) => native.update(x, x, 0)),
    ...each('nextKey', (x) => native.nextKey(undefined, x)),
    ...each('batch', (x) => native.lookupBatch(x, x, x, x, x)),
    ...each('many', (x) => native.updateMany(x, x, 1, 0)),
    ...each('xdp', (x) => addon.attachXdp(x, 'lo', '/nowhere', 'auto')),
    ...each('tcx', (x) => addon.attachTcx(0, 'lo', '/nowhere', x, 0)),
    ...each('btf', (x) => addon.kernelBtf(x)),
    ...each('error class', (x) => addon.setErrorClass(x), [JUNK[15]]),
    ['a map for a program', () => new addon.Program(object.map('smalls').fd)],
    ['a program for a map', () => new addon.Map(object.program('pass').fd)],
    ['a map for a link', () => new addon.Link(object.map('smalls').fd)],
    ['stdin for a map', () => new addon.Map(0)],
    ['a map for a ring', () => new addon.RingBuffer(object.map('smalls').fd, () => undefined)],
    ['count beyond', () => native.updateMany(keys, keys, 1 << 25, 0)],
    ['max beyond', () => native.lookupBatch(undefined, keys, keys, keys, 1 << 25)],
    ['called without new', () => (addon.Map as unknown as (fd: number) => unknown)(0)],
    ['no receiver', (): unknown => Reflect.apply(lookup, {}, [keys, keys])],
    ['foreign receiver', (): unknown => Reflect.apply(lookup, program, [keys, keys])],
  ])
  native.close()
})

// Damage inside the sections is another matter: libbpf trusts what BTF says (see README.md).
t.test('object files with a wrong frame are refused or loaded, never followed', { skip }, (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'libbpf-ts-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const good = readFileSync(OBJECT)
  const headers = { from: 0, size: 64 }
  const sectionTable = { from: Number(good.readBigUInt64LE(40)), size: 64 * good.readUInt16LE(60) }
  const file = join(directory, 'damaged.bpf.o')
  const wrong: string[] = []
  let seed = 12345
  const draw = (limit: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return (seed >>> 8) % limit
  }
  let refused = 0
  for (let round = 0; round < 300; round++) {
    const bytes = Buffer.from(good)
    const { from, size } = round % 2 === 0 ? headers : sectionTable
    for (let i = 0; i < 4; i++) bytes[from + draw(size)] = draw(256)
    writeFileSync(file, round % 3 === 0 ? good.subarray(0, draw(good.length)) : bytes)
    try {
      BpfObject.open(file).close()
    } catch (error) {
      refused++
      if (!isExpected(error)) wrong.push(String(error))
    }
  }
  t.same(wrong, [])
  t.ok(refused > 100)
  t.end()
})

t.test('a user without capabilities is told so', { skip }, (t) => {
  if (process.getuid?.() !== 0) return t.end()
  const directory = mkdtempSync(join(tmpdir(), 'libbpf-ts-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  chmodSync(directory, 0o755)
  const file = join(directory, 'basic.bpf.o')
  copyFileSync(OBJECT, file)
  chmodSync(file, 0o644)
  const index = fileURLToPath(new URL('../index.js', import.meta.url))
  // Capabilities go after the modules are there: their directory may be closed to others.
  const code = `
    import(${JSON.stringify(index)}).then((bpf) => {
      process.setgroups([])
      process.setgid(65534)
      process.setuid(65534)
      const codes = []
      const note = (work) => { try { work(); codes.push('nothing') } catch (e) { codes.push(e.name + ' ' + e.code) } }
      const object = bpf.BpfObject.open(${JSON.stringify(file)})
      note(() => object.load())
      note(() => bpf.BpfMap.openPinned('/sys/fs/bpf/nothing'))
      note(() => bpf.netnsCookie('/proc/self/ns/net'))
      console.log(JSON.stringify({ codes, capabilities: bpf.capabilities().size, tcx: bpf.probe().tcx }))
    })`
  const child = spawnSync(process.execPath, ['-e', code], {
    encoding: 'utf8',
    timeout: 20_000,
  })
  // Not empty: a test runner that wraps child processes may complain there.
  t.notMatch(child.stderr, /libbpf:/, 'nothing of libbpf is printed')
  const seen = JSON.parse(child.stdout) as { codes: string[] }
  t.match(seen, { capabilities: 0, tcx: false })
  t.equal(seen.codes[0], 'BpfError EPERM')
  t.match(seen.codes[1], /^BpfError E(PERM|ACCES|NOENT)$/)
  t.equal(seen.codes[2], 'BpfError EPERM')
  t.end()
})
