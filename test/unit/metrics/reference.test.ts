import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { metricsTable } from '../../../src/metrics/reference.js'

t.test('the reference page has the table as it is now', (t) => {
  const page = join(import.meta.dirname, '../../../../docs/reference/metrics.md')
  const hint = 'print it anew with: node dist/src/metrics/reference.js'
  t.ok(readFileSync(page, 'utf8').includes(metricsTable()), hint)
  t.end()
})
