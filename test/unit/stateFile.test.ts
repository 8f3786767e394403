import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { StateFile } from '../../src/stateFile.js'

const VIPS = new Map([
  ['net/vote/4', '10.0.0.9'],
  ['net/vote/6', 'fd00::9'],
])

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'fl-state-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

t.test('what is saved is there after a restart', async (t) => {
  const path = join(folder(t), 'deeper', 'state.json')
  const file = await StateFile.open(path)
  t.same([...file.vips], [])
  t.equal(file.problem, undefined)
  await file.save(VIPS)
  const again = await StateFile.open(path)
  t.same([...again.vips], [...VIPS])
  t.same(readdirSync(join(path, '..')), ['state.json'], 'nothing is left beside it')
  await again.save(new Map())
  t.same([...(await StateFile.open(path)).vips], [])
})

t.test('what is there already is not written; many saves end with the last', async (t) => {
  const path = join(folder(t), 'state.json')
  const file = await StateFile.open(path)
  await file.save(VIPS)
  rmSync(path)
  await file.save(new Map(VIPS))
  t.throws(() => readFileSync(path), { code: 'ENOENT' })
  const saves = Array.from({ length: 50 }, (_, i) => file.save(new Map([['n/s/4', `10.0.0.${i}`]])))
  await Promise.all(saves)
  t.same([...(await StateFile.open(path)).vips], [['n/s/4', '10.0.0.49']])
})

t.test('what cannot be understood is moved aside', async (t) => {
  const path = join(folder(t), 'state.json')
  for (const text of [
    ...[
      '',
      '{',
      '[]',
      'null',
      '{"version":2,"vips":{}}',
      '{"version":1}',
      '{"version":1,"vips":[]}',
    ],
    ...['{"version":1,"vips":{"a":7}}', '{"version":1,"vips":{"a":"10.0.0.300"}}'],
  ]) {
    writeFileSync(path, text)
    const file = await StateFile.open(path)
    t.same([...file.vips], [], text)
    t.match(file.problem, { code: 'FILE', place: path, reason: /moved to .*\.corrupt/ })
    t.equal(readFileSync(`${path}.corrupt`, 'utf8'), text)
    await file.save(VIPS)
    t.equal((await StateFile.open(path)).vips.size, 2)
  }
})

t.test('keys of Object.prototype are keys', async (t) => {
  const path = join(folder(t), 'state.json')
  writeFileSync(path, '{"version":1,"vips":{"__proto__":"10.0.0.1","constructor":"10.0.0.2"}}')
  const file = await StateFile.open(path)
  t.same([...file.vips.keys()], ['__proto__', 'constructor'])
})

t.test('a failed save leaves the old file whole, and the next one makes it good', async (t) => {
  const path = join(folder(t), 'state.json')
  const file = await StateFile.open(path)
  await file.save(VIPS)
  const before = readFileSync(path, 'utf8')
  // Root passes permissions; a folder in the way of the temporary file does not.
  mkdirSync(`${path}.${process.pid}.tmp`)
  chmodSync(path, 0o600)
  await t.rejects(file.save(new Map()), { code: /^EISDIR$/ })
  t.equal(readFileSync(path, 'utf8'), before)
  rmSync(`${path}.${process.pid}.tmp`, { recursive: true, force: true })
  await file.save(new Map())
  t.equal((await StateFile.open(path)).vips.size, 0)
})

t.test('an unreadable path is a problem, not an end', async (t) => {
  const path = folder(t)
  const file = await StateFile.open(path)
  t.match(file.problem, { reason: /cannot be read: EISDIR/ })
})
