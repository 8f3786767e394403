/** What checks have found, in the exposition and in what `show` prints. */
import t from 'tap'
import { Metrics } from '../../../src/metrics/metrics.js'
import type { HealthReport, ServiceHealth } from '../../../src/model/observe.js'
import { agentWith } from '../cli/stage.js'
import { parseExposition } from './exposition.js'
import { FixtureReadback, report, service, stateOf } from './fixture.js'

const found: ServiceHealth = {
  service: 'overlay1/vote',
  failOpen: [4],
  belowQuorum: [],
  results: new Map([
    ['ok', 7],
    ['status', 2],
  ]),
  backends: new Map([
    [
      '10.0.0.5',
      {
        ...{ healthy: false, consecutive: 4, sinceSeconds: 75, ageSeconds: 1.4 },
        ...{ result: 'status', error: 'status 503' },
      },
    ],
    ['10.0.0.6', { consecutive: 0 }],
  ]),
}
const health: HealthReport = {
  all: () => [found],
  of: (key) => (key === found.service ? found : undefined),
}
const state = stateOf([
  service({
    health: {
      ...{ type: 'http', port: 8080, path: '/up', statuses: [[200, 399]], verify: false },
      ...{ intervalMs: 2000, timeoutMs: 500, rise: 2, fall: 3 },
    },
  }),
  service({ name: 'unchecked', vips: ['10.0.0.7'] }),
])

t.test('metrics', async (t) => {
  const metrics = new Metrics({
    readback: new FixtureReadback(report()),
    state: () => state,
    health: () => health,
    version: '1.2.3',
    kernel: '6.18.0',
  })
  metrics.health.checked({ type: 'http', result: 'status', seconds: 0.003 })
  const families = parseExposition((await metrics.render()).toString())
  const samples = (name: string) => [...(families.get(name)?.samples ?? [])]
  const vote = 'network="overlay1"'
  t.same(samples('fairlead_health_checks_total'), [
    [`fairlead_health_checks_total{${vote},result="ok",service="vote"}`, 7],
    [`fairlead_health_checks_total{${vote},result="status",service="vote"}`, 2],
  ])
  t.same(
    samples('fairlead_backend_healthy'),
    [[`fairlead_backend_healthy{backend="10.0.0.5",${vote},service="vote"}`, 0]],
    'none before the first result',
  )
  const family = `{family="ipv4",${vote},service="vote"}`
  t.same(samples('fairlead_health_fail_open'), [[`fairlead_health_fail_open${family}`, 1]])
  t.same(samples('fairlead_health_below_quorum'), [[`fairlead_health_below_quorum${family}`, 0]])
  const took = 'fairlead_health_check_duration_seconds'
  t.equal(
    families.get(took)?.samples.get(`${took}_count{result="status",type="http"}`),
    1,
    'durations by type and result',
  )
})

t.test('show', async (t) => {
  const { ask } = await agentWith(t, state, report(), { health })
  const { stdout } = await ask('show', 'vote')
  t.match(stdout, /^check +http :8080\/up, every 2 s, timeout 0.5 s, rise 2, fall 3$/m)
  t.match(stdout, /^fail open +IPv4$/m)
  const table = stdout.trimEnd().split('\n').slice(-3)
  t.same(table, [
    'ADDRESS   HEALTH   SINCE   RESULT  IN A ROW  AGO  ERROR',
    '10.0.0.5  failing  1m 15s  status         4  1s   status 503',
    '10.0.0.6  unknown  -       -              0  -    -',
  ])
  const json = JSON.parse((await ask('show', 'vote', '--json')).stdout) as unknown
  t.match(json, {
    health: { type: 'http', intervalSeconds: 2, failOpen: [4], checks: { ok: 7, status: 2 } },
    backends: [{ health: { healthy: false, consecutive: 4 } }, { health: { consecutive: 0 } }],
  })
  const other = (await ask('show', 'unchecked')).stdout
  t.notMatch(other, /rise|HEALTH/)
})
