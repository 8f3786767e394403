import { execFileSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readFile, readInPlace } from '../../../../src/sources/file/reading.js'
import { FileSource } from '../../../../src/sources/file/source.js'
import type { Problem, Snapshot } from '../../../../src/model/types.js'

const HEAD = 'version: 1\nnetworks: [{name: net, subnets: [10.0.0.0/24]}]\nservices:\n'

function text(...services: string[]): string {
  return HEAD + services.map((fields) => `  - {network: net, ${fields}}\n`).join('')
}

/** A source over a file in a folder of its own, and what it has published. */
class Stage {
  readonly folder = mkdtempSync(join(tmpdir(), 'fl-file-'))
  readonly path: string
  readonly snapshots: Snapshot[] = []
  readonly problems: Problem[] = []
  readonly source: FileSource

  /** @param pollMs long enough by default that only the watch can be what noticed */
  constructor(t: Test, name = 'fairlead.yaml', pollMs = 60_000) {
    this.path = join(this.folder, name)
    this.source = new FileSource(this.path, {
      onSnapshot: (snapshot) => this.snapshots.push(snapshot),
      onProblem: (problem) => this.problems.push(problem),
      debounceMs: 20,
      pollMs,
    })
    t.teardown(async () => {
      await this.source.close()
      rmSync(this.folder, { recursive: true, force: true })
    })
  }

  /** Names and TTLs in force: `a:5 b:5`. */
  get now(): string {
    const services = this.snapshots.at(-1)?.services ?? []
    return services.map(({ name, ttlSeconds }) => `${name}:${ttlSeconds}`).join(' ')
  }

  get reasons(): string[] {
    return (this.snapshots.at(-1)?.problems ?? []).map(({ reason }) => reason)
  }

  async until(what: string, holds: () => boolean, t: Test): Promise<void> {
    const deadline = performance.now() + 60_000
    while (!holds() && performance.now() < deadline) await sleep(10)
    t.ok(holds(), `${what} (now: ${this.now || 'nothing'})`)
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms))
}

t.test('the first snapshot is there when start resolves', async (t) => {
  const stage = new Stage(t)
  writeFileSync(stage.path, text('name: a', 'name: b, ttl: x'))
  await stage.source.start()
  t.equal(stage.now, 'a:5')
  t.match(stage.problems, [{ source: 'file', item: 'service b', code: 'VALUE' }])
  t.match(stage.problems[0]?.place, `${stage.path}:5:`)
})

t.test('an unusable file refuses the start', async (t) => {
  const stage = new Stage(t)
  await t.rejects(stage.source.start(), { code: 'FILE', message: /ENOENT/ }, 'absent')
  const cases: [string | Uint8Array, string, RegExp][] = [
    ['a: [', 'FILE', /fairlead\.yaml:\d+:\d+: is not valid YAML/],
    ['version: 3\n', 'VALUE', /fairlead\.yaml:1:10 version: must be 1, got 3/],
    ['- 1\n', 'SCHEMA', /must be a mapping, got a list/],
    ['', 'SCHEMA', /must be a mapping/],
    [new Uint8Array([0x76, 0xff, 0xfe]), 'FILE', /is not UTF-8/],
  ]
  for (const [content, code, message] of cases) {
    writeFileSync(stage.path, content)
    await t.rejects(stage.source.start(), { code, message })
  }
  truncateSync(stage.path, 17 * 1024 * 1024)
  await t.rejects(stage.source.start(), { code: 'FILE', message: /at most 16777216/ })
  rmSync(stage.path)
  execFileSync('mkfifo', [stage.path])
  await t.rejects(stage.source.start(), { code: 'FILE', message: /not a regular file/ })
  rmSync(stage.path)
  mkdirSync(stage.path)
  await t.rejects(stage.source.start(), { code: 'FILE' }, 'a folder')
  t.same(stage.snapshots, [])
})

t.test('writes in place, renames over and deletions are seen', async (t) => {
  const stage = new Stage(t)
  writeFileSync(stage.path, text('name: a'))
  await stage.source.start()
  writeFileSync(stage.path, text('name: a', 'name: b'))
  await stage.until('written in place', () => stage.now === 'a:5 b:5', t)
  for (const ttl of [1, 2, 3]) {
    writeFileSync(`${stage.path}.new`, text(`name: a, ttl: ${ttl}`))
    renameSync(`${stage.path}.new`, stage.path)
    await stage.until('renamed over', () => stage.now === `a:${ttl}`, t)
  }
  renameSync(stage.path, `${stage.path}~`)
  await stage.until('gone', () => stage.reasons.length === 1, t)
  t.equal(stage.now, 'a:3', 'the last good state stays')
  t.match(stage.reasons, [/cannot be read: .*ENOENT.*; the last good state stays in force/])
  writeFileSync(stage.path, text('name: c'))
  await stage.until('created again', () => stage.now === 'c:5', t)
  t.same(stage.reasons, [])
  unlinkSync(stage.path)
  await stage.until('gone again', () => stage.reasons.length === 1, t)
  writeFileSync(stage.path, text('name: c'))
  await stage.until('the same again', () => stage.reasons.length === 0, t)
})

t.test("a ConfigMap's symlinks are followed when they are swapped", async (t) => {
  const stage = new Stage(t)
  const version = (n: number, content: string): void => {
    mkdirSync(join(stage.folder, `..v${n}`))
    writeFileSync(join(stage.folder, `..v${n}`, 'fairlead.yaml'), content)
    symlinkSync(`..v${n}`, join(stage.folder, '..data_tmp'))
    renameSync(join(stage.folder, '..data_tmp'), join(stage.folder, '..data'))
  }
  version(1, text('name: a'))
  symlinkSync('..data/fairlead.yaml', stage.path)
  await stage.source.start()
  t.equal(stage.now, 'a:5')
  version(2, text('name: b'))
  await stage.until('swapped', () => stage.now === 'b:5', t)
  rmSync(join(stage.folder, '..v1'), { recursive: true })
  version(3, text('name: c'))
  await stage.until('swapped again', () => stage.now === 'c:5', t)
  writeFileSync(join(stage.folder, '..v3', 'fairlead.yaml'), text('name: d'))
  await stage.until('written behind the links', () => stage.now === 'd:5', t)
})

t.test('a folder that was replaced is found by the poll', async (t) => {
  const stage = new Stage(t, 'sub/fairlead.yaml', 50)
  mkdirSync(join(stage.folder, 'sub'))
  writeFileSync(stage.path, text('name: a'))
  await stage.source.start()
  rmSync(join(stage.folder, 'sub'), { recursive: true })
  await stage.until('gone', () => stage.reasons.length === 1, t)
  mkdirSync(join(stage.folder, 'sub'))
  writeFileSync(stage.path, text('name: b'))
  await stage.until('back', () => stage.now === 'b:5', t)
  writeFileSync(stage.path, text('name: c'))
  await stage.until('changed', () => stage.now === 'c:5', t)
})

t.test('a mistake keeps the last good state until it is mended', async (t) => {
  const stage = new Stage(t)
  writeFileSync(stage.path, text('name: a', 'name: b'))
  await stage.source.start()
  writeFileSync(stage.path, `${text('name: a')}  - {name: [\n`)
  await stage.until('a syntax error', () => stage.reasons.length > 0, t)
  t.equal(stage.now, 'a:5 b:5')
  t.match(stage.reasons[0], /is not valid YAML: .*; the last good state stays in force/)
  writeFileSync(stage.path, text('name: a, ttl: 9', 'name: b, ttl: many', 'name: c'))
  await stage.until('a bad service', () => stage.now === 'a:9 b:5 c:5', t)
  t.match(stage.reasons, [/must be a duration .*; the last good definition stays in force/])
  const known = stage.problems.length
  writeFileSync(stage.path, text('name: a, ttl: 8', 'name: b, ttl: many', 'name: c'))
  await stage.until('another change', () => stage.now === 'a:8 b:5 c:5', t)
  t.equal(stage.problems.length, known, 'a problem that is known is not told twice')
  writeFileSync(stage.path, text('name: a', 'name: b, ttl: 7'))
  await stage.until('mended', () => stage.now === 'a:5 b:7', t)
  t.same(stage.reasons, [])
})

t.test('a change of the agent section is told, not taken', async (t) => {
  const stage = new Stage(t)
  writeFileSync(stage.path, `${text('name: a')}agent: {node: x}\n`)
  await stage.source.start()
  writeFileSync(stage.path, `${text('name: b')}agent: {node: y}\n`)
  await stage.until('changed', () => stage.now === 'b:5', t)
  t.match(stage.snapshots.at(-1)?.problems, [
    { item: 'agent', code: 'CONFIG', reason: /restarted/ },
  ])
  writeFileSync(stage.path, `${text('name: c')}agent: {node: x}\n`)
  await stage.until('changed back', () => stage.now === 'c:5', t)
  t.same(stage.reasons, [])
})

t.test('reload reads at once; nothing is called after close', async (t) => {
  const stage = new Stage(t)
  writeFileSync(stage.path, text('name: a'))
  await stage.source.start()
  writeFileSync(stage.path, text('name: b'))
  await stage.source.reload()
  t.equal(stage.now, 'b:5')
  for (const [broken, code] of [
    ['services: [', 'FILE'],
    ['version: 1\nservices: 3', 'SCHEMA'],
    ['version: 2', 'VALUE'],
  ] as const) {
    writeFileSync(stage.path, broken)
    await t.rejects(stage.source.reload(), { code, message: /:\d+:\d+/ }, broken)
    t.equal(stage.now, 'b:5', 'the last good state')
  }
  rmSync(stage.path)
  await t.rejects(stage.source.reload(), { code: 'FILE' })
  await stage.source.close()
  await stage.source.close()
  const { length } = stage.snapshots
  writeFileSync(stage.path, text('name: c'))
  await stage.source.reload()
  await sleep(150)
  t.equal(stage.snapshots.length, length)
})

t.test('a file that is written in pieces settles', async (t) => {
  const stage = new Stage(t)
  writeFileSync(stage.path, text('name: a'))
  await stage.source.start()
  const whole = text(...Array.from({ length: 200 }, (_, i) => `name: s${i}`))
  for (let at = 0; at < whole.length; at += 1000) {
    writeFileSync(stage.path, whole.slice(0, at + 1000))
    await sleep(5)
  }
  await stage.until('whole', () => stage.snapshots.at(-1)?.services.length === 200, t)
  t.same(stage.reasons, [])
})

t.test('places follow the lines of the file', async (t) => {
  const stage = new Stage(t)
  writeFileSync(stage.path, text('name: a', 'name: b, vip: 10.0.0.9'))
  await stage.source.start()
  const placeOf = (key: string) => stage.snapshots.at(-1)?.placeOf?.(key)
  t.equal(placeOf('net/a'), `${stage.path}:4:5 services[0].vip`)
  t.equal(placeOf('net/b'), `${stage.path}:5:5 services[1]`)
  writeFileSync(stage.path, text('name: c', 'name: a'))
  await stage.source.reload()
  t.equal(placeOf('net/a'), `${stage.path}:5:5 services[1].vip`)
  t.equal(placeOf('net/b'), undefined)
})

t.test('a large file is read in a thread, and says what it would say here', async (t) => {
  const stage = new Stage(t)
  const fields = Array.from({ length: 800 }, (_, i) => `name: s${i}, backends: [10.0.0.${i % 200}]`)
  const write = () => writeFileSync(stage.path, `${text(...fields)}agent: {node: x}\n`)
  fields[7] = 'name: s7, ttl: x'
  write()
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  await stage.source.start()
  clearInterval(timer)
  t.ok(turns > 10, `others had ${turns} turns`)
  const task = { path: stage.path, networks: [] }
  const reading = await readFile(task, new AbortController().signal)
  t.same(reading, readInPlace(task))
  const [first] = stage.snapshots
  t.equal(first?.services.length, 799)
  t.match(stage.problems, [{ item: 'service s7', place: `${stage.path}:11:35 services[7].ttl` }])
  t.equal(first?.placeOf?.('net/s9'), `${stage.path}:13:5 services[9].vip`)

  fields[7] = 'name: s7'
  fields[9] = 'name: s9, ttl: 9'
  write()
  await stage.until('mended', () => stage.snapshots.at(-1)?.services.length === 800, t)
  const second = stage.snapshots.at(-1)
  const others = (of: Snapshot | undefined) =>
    of?.services.filter(({ name }) => !/^s[79]$/.test(name))
  t.ok(
    others(first)?.every((spec, i) => spec === others(second)?.[i]),
    'what was written the same is the same object',
  )
  t.equal(second?.services[9]?.ttlSeconds, 9)
  fields[9] = 'name: s9, ttl: x'
  write()
  await t.resolves(stage.source.reload())
  t.equal(stage.snapshots.at(-1)?.services[9], second?.services[9], 'the last good definition')
  writeFileSync(stage.path, `${text(...fields)}agent: {node: x\n`)
  await t.rejects(stage.source.reload(), { code: 'FILE', message: /is not valid YAML/ })
  write()
  const asked = [stage.source.reload(), stage.source.reload()]
  await stage.source.close()
  const { length } = stage.snapshots
  await Promise.all(asked)
  t.equal(stage.snapshots.length, length, 'a reading that is under way ends with the source')
})

t.test('a start takes what was read already, unless the file is another one', async (t) => {
  const stage = new Stage(t)
  writeFileSync(stage.path, text('name: a'))
  const reading = readInPlace({ path: stage.path, networks: [] })
  await stage.source.start({ ...reading, services: [] })
  t.equal(stage.now, '', 'not read again')
  const other = new Stage(t)
  writeFileSync(other.path, text('name: b'))
  await other.source.start(reading)
  t.equal(other.now, 'b:5')
})
