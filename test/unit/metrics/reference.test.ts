import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { definitions } from '../../../src/metrics/definitions.js'
import { Metrics } from '../../../src/metrics/metrics.js'
import { metricsTable, withTable } from '../../../src/metrics/reference.js'
import { run } from '../../lib/netns.js'
import { FixtureReadback, report, stateOf } from './fixture.js'

const page = join(import.meta.dirname, '../../../../docs/reference/metrics.md')

t.test('the reference page has the table as it is now', (t) => {
  const text = readFileSync(page, 'utf8')
  t.ok(text.includes(metricsTable()), 'node dist/src/metrics/reference.js --update')
  t.equal(withTable(text), text)
  const stale = text.replace(/^\| `fairlead_packets_total`.*\n/m, '')
  t.not(stale, text)
  t.equal(withTable(stale), text, 'a row that is missing comes back')
  t.end()
})

t.test('a build with a table that is stale fails', async (t) => {
  // The page is found from where the program is.
  const folder = t.testdir({ 'package.json': '{"type":"module"}' })
  const dist = join(import.meta.dirname, '../../..')
  cpSync(join(dist, 'src/metrics'), join(folder, 'dist/src/metrics'), { recursive: true })
  for (const shared of ['model', 'pace.js', 'errors.js', 'reason.js'])
    cpSync(join(dist, 'src', shared), join(folder, 'dist/src', shared), { recursive: true })
  mkdirSync(join(folder, 'docs/reference'), { recursive: true })
  const check = async (text: string): Promise<number> => {
    writeFileSync(join(folder, 'docs/reference/metrics.md'), text)
    const program = join(folder, 'dist/src/metrics/reference.js')
    return (await run(process.execPath, [program, '--check'], { mayFail: true })).code
  }
  const text = readFileSync(page, 'utf8')
  t.equal(await check(text), 0)
  t.equal(await check(text.replace('Packets carried;', 'Packages carried;')), 1)
})

t.test('every metric that the page names is rendered', async (t) => {
  const metrics = new Metrics({
    readback: new FixtureReadback(report()),
    state: () => stateOf([]),
    ...{ version: '1.2.3', kernel: '6.18.0' },
  })
  const text = (await metrics.render()).toString()
  const rendered = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name))
  for (const { name } of Object.values(definitions)) t.ok(rendered.has(name), name)
  const rows = [...metricsTable().matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name)
  t.same(rows.toSorted(), [...rendered].toSorted(), 'the table has each, and no other')
  const named = readFileSync(page, 'utf8').matchAll(/fairlead_[a-z0-9_]+[a-z0-9](?![a-z0-9_*])/g)
  t.same(
    [...new Set([...named].map(([name]) => name))].filter((name) => !rendered.has(name)),
    [],
  )
})

t.test('the page has every reason of drops and every event, and no other', (t) => {
  const enums = readFileSync(join(page, '../../../bpf/maps.h'), 'utf8')
  const enumerated = (name: string, prefix: string): string[] => {
    const [, body = ''] = new RegExp(`^enum ${name} \\{([^}]*)`, 'm').exec(enums) ?? []
    return [...body.matchAll(new RegExp(`^\\s${prefix}_(\\w+)`, 'gm'))]
      .map(([, each = '']) => each.toLowerCase())
      .filter((each) => !['none', 'count'].includes(each))
      .toSorted()
  }
  const text = readFileSync(page, 'utf8')
  const told = (title: string): string[] => {
    const [, rows = ''] = new RegExp(`^\\| ${title} .*\n.*\n((?:\\|.*\n)+)`, 'm').exec(text) ?? []
    return [...rows.matchAll(/^\| `(\w+)`/gm)].map(([, each = '']) => each).toSorted()
  }
  const reasons = enumerated('drop_reason', 'DROP')
  t.ok(reasons.length > 15)
  t.same(told('reason'), reasons)
  t.same(told('event'), enumerated('event', 'EVENT'))
  t.end()
})

t.test('names end in their unit, and counters in _total', (t) => {
  for (const { name, type, unit, labels } of Object.values(definitions)) {
    t.match(name, /^fairlead_[a-z]+(_[a-z]+)*$/)
    t.equal(name.endsWith('_total'), type === 'counter', name)
    if (unit === 'seconds') t.match(name, /_seconds$/)
    if (unit === 'bytes') t.match(name, /_bytes(_total)?$/)
    t.equal(new Set(labels).size, labels.length, name)
  }
  t.end()
})
