import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { definitions } from '../../../src/metrics/definitions.js'
import { Metrics } from '../../../src/metrics/metrics.js'
import { metricsTable } from '../../../src/metrics/reference.js'
import { FixtureReadback, report, stateOf } from './fixture.js'

const page = join(import.meta.dirname, '../../../../docs/reference/metrics.md')

t.test('the reference page has the table as it is now', (t) => {
  const hint = 'print it anew with: node dist/src/metrics/reference.js'
  t.ok(readFileSync(page, 'utf8').includes(metricsTable()), hint)
  t.end()
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
  const named = readFileSync(page, 'utf8').matchAll(/fairlead_[a-z0-9_]+[a-z0-9](?![a-z0-9_*])/g)
  t.same(
    [...new Set([...named].map(([name]) => name))].filter((name) => !rendered.has(name)),
    [],
  )
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
