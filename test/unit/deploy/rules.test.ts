/** The alerts, by Prometheus's own tool. */
import { join } from 'node:path'
import t from 'tap'
import { run } from '../../lib/netns.js'

const folder = join(import.meta.dirname, '../../../../deploy/prometheus')
const file = (name: string): string => join(folder, name)

t.test('promtool: the configuration and the rules are valid', async (t) => {
  const done = await run('promtool', ['check', 'config', file('prometheus.yml')])
  t.match(done.stdout, /SUCCESS: .* is valid/)
  t.match(done.stdout, /SUCCESS: \d+ rules found/)
})

t.test('promtool: every alert fires when it should, and only then', async (t) => {
  const done = await run('promtool', ['test', 'rules', file('fairlead.rules.test.yml')], {
    mayFail: true,
  })
  t.equal(done.code, 0, `${done.stdout}${done.stderr}`)
})
