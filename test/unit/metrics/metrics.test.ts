import { spawnSync } from 'node:child_process'
import t, { type Test } from 'tap'
import { definitions } from '../../../src/metrics/definitions.js'
import { Metrics } from '../../../src/metrics/metrics.js'
import type { State } from '../../../src/model/types.js'
import { type Family, parseExposition } from './exposition.js'
import { FixtureReadback, report, service, stateOf } from './fixture.js'

function subject(state: State = stateOf([service({})]), maxBackends?: number) {
  const readback = new FixtureReadback(report())
  const at = { state }
  const metrics = new Metrics({
    readback,
    state: () => at.state,
    ...(maxBackends !== undefined && { maxBackends }),
    version: '1.2.3',
    kernel: '6.18.0',
  })
  return { readback, at, metrics }
}

async function scrape(metrics: Metrics): Promise<Map<string, Family>> {
  return parseExposition((await metrics.render()).toString())
}

function value(families: Map<string, Family>, name: string, labels = ''): number | undefined {
  return families.get(name)?.samples.get(`${name}{${labels}}`)
}

const five = 'backend="10.0.0.5"'
const vote = 'network="overlay1"'

t.test('totals of the kernel are reported as they are, by service, backend and path', async (t) => {
  const families = await scrape(subject().metrics)
  const at = (name: string, labels: string) => value(families, name, labels)
  const rest = `path="tc",service="vote"`
  t.equal(at('fairlead_packets_total', `${five},direction="in",${vote},${rest}`), 10)
  t.equal(at('fairlead_packets_total', `${five},direction="out",${vote},${rest}`), 8)
  t.equal(at('fairlead_bytes_total', `${five},direction="in",${vote},${rest}`), 1000)
  t.equal(at('fairlead_bytes_total', `${five},direction="out",${vote},${rest}`), 8000)
  t.equal(at('fairlead_connections_total', `${five},${vote},${rest}`), 2)
  t.equal(at('fairlead_connections_total', `${five},${vote},path="sock",service="vote"`), 4)
  t.equal(at('fairlead_connections_total', `backend="retired",${vote},${rest}`), 8)
  t.equal(families.get('fairlead_packets_total')?.type, 'counter')
  t.equal(families.get('fairlead_packets_total')?.samples.size, 8)
})

t.test('a second scrape does not add to the first', async (t) => {
  const { metrics, readback } = subject()
  await metrics.render()
  const row = readback.report.counters[0]
  if (row) readback.report.counters[0] = { ...row, connections: 5 }
  const families = await scrape(metrics)
  const labels = `${five},${vote},path="tc",service="vote"`
  t.equal(value(families, 'fairlead_connections_total', labels), 5)
})

t.test('series of what has gone are gone', async (t) => {
  const { metrics, readback, at } = subject()
  await metrics.render()
  readback.report.counters = []
  readback.report.attachments = []
  at.state = stateOf([])
  const families = await scrape(metrics)
  const gone = [
    ...['fairlead_packets_total', 'fairlead_bytes_total', 'fairlead_connections_total'],
    ...['fairlead_service_info', 'fairlead_backend_weight', 'fairlead_backend_state'],
    'fairlead_attachments',
  ]
  for (const name of gone) t.equal(families.get(name)?.samples.size, 0, name)
  t.equal(value(families, 'fairlead_services'), 0)
})

t.test('the desired state is told', async (t) => {
  const problem = { source: 'file', item: 'service a/b', code: 'VALUE', reason: 'no' }
  const draining = { address: 'fd00:a::5', weight: 3, state: 'draining' as const }
  const state = stateOf(
    [service({ vips: ['10.0.0.9', 'fd00:a::9'], algorithm: 'wrr', backends: [draining] })],
    [problem, problem, { ...problem, code: 'SCHEMA' }],
  )
  const families = await scrape(subject(state).metrics)
  const key = `${vote},service="vote"`
  const info = `algorithm="wrr",mode="vip",${vote},prefers="",service="vote",vips="10.0.0.9,fd00:a::9"`
  t.equal(value(families, 'fairlead_service_info', info), 1)
  const backend = `backend="fd00:a::5",${key}`
  t.equal(value(families, 'fairlead_backend_weight', backend), 3)
  t.equal(value(families, 'fairlead_backend_state', `${backend},state="draining"`), 1)
  t.equal(families.get('fairlead_backend_state')?.samples.size, 1)
  t.equal(value(families, 'fairlead_state_revision'), 7)
  t.equal(value(families, 'fairlead_problems', 'code="VALUE",source="file"'), 2)
  t.equal(value(families, 'fairlead_problems', 'code="SCHEMA",source="file"'), 1)
})

t.test('drops, events, maps, reconciling, attachments, features and the build', async (t) => {
  const families = await scrape(subject().metrics)
  const at = (name: string, labels = '') => value(families, `fairlead_${name}`, labels)
  t.equal(at('drops_total', 'path="tc",reason="no_backend"'), 3)
  t.equal(at('drops_total', 'path="tc",reason="fragment"'), 0, 'a reason that never came is 0')
  t.equal(at('events_total', 'event="arp",path="tc"'), 5)
  t.equal(at('map_entries', 'map="vips4"'), 31_000)
  t.equal(at('map_capacity_entries', 'map="vips4"'), 32_768)
  t.equal(at('reconcile_applied_revision'), 6)
  t.equal(at('reconcile_cycles_total'), 40)
  t.equal(at('reconcile_failures_total'), 1)
  t.equal(at('reconcile_repaired_rows_total'), 2)
  t.equal(at('reconcile_last_duration_seconds'), 0.0125)
  t.equal(at('attachments', 'hook="tcx",mode="",network="overlay1",program="from_container"'), 2)
  t.equal(at('kernel_feature', 'feature="tcx"'), 1)
  t.equal(at('kernel_feature', 'feature="csumIpv6Flag"'), 0)
  t.equal(at('build_info', `kernel="6.18.0",node="${process.version}",version="1.2.3"`), 1)
  t.ok((at('process_resident_memory_bytes') ?? 0) > 1e6, 'the process is told of too')
})

t.test('totals of the node have what services that are gone had counted', async (t) => {
  const families = await scrape(subject().metrics)
  const at = (name: string, path: string) =>
    value(families, `fairlead_node_${name}_total`, `path="${path}"`)
  t.equal(at('connections', 'tc'), 2 + 6 + 8 + 20)
  t.equal(at('connections', 'sock'), 4)
  t.equal(at('incoming_packets', 'tc'), 10 + 30 + 40 + 100)
  t.equal(at('outgoing_packets', 'tc'), 8 + 24 + 32 + 80)
  t.equal(at('incoming_bytes', 'tc'), 1000 + 3000 + 4000 + 10_000)
  t.equal(at('outgoing_bytes', 'tc'), 8000 + 24_000 + 32_000 + 8000)
})

t.test('the pressure of maps, ended connections, and how the edge is attached', async (t) => {
  const { metrics, readback } = subject()
  readback.report.attachments.push({
    ...{ network: '', target: 'eth1', hook: 'xdp', program: 'edge', mode: 'generic' },
  })
  const families = await scrape(metrics)
  t.equal(value(families, 'fairlead_map_pressure_ratio', 'map="vips4"'), 31_000 / 32_768)
  const labels = `${five},${vote},path="tc",service="vote"`
  t.equal(value(families, 'fairlead_connections_inactive', labels), 2)
  t.same(
    [...(families.get('fairlead_interface_mode')?.samples ?? [])],
    [['fairlead_interface_mode{hook="xdp",interface="eth1",mode="generic",program="edge"}', 1]],
    'containers have no series each',
  )
})

t.test('what makes backends get more than their weight is told', async (t) => {
  const affinity = { timeoutSeconds: 300, prefix4: 32, prefix6: 128 }
  const backend = { weight: 1, state: 'active' as const }
  const backends = [
    { ...backend, address: '10.0.0.5', priority: 0 },
    { ...backend, address: '10.0.0.6', priority: 1 },
  ]
  const state = stateOf([service({ affinity, locality: 'prefer-local', backends })])
  const families = await scrape(subject(state).metrics)
  const [info = ''] = families.get('fairlead_service_info')?.samples.keys() ?? []
  t.match(info, 'prefers="affinity,locality,priority"')
})

t.test('a change is timed from being seen to the kernel and to names', async (t) => {
  const { metrics } = subject()
  const { changes } = metrics
  const ago = (ms: number) => performance.now() - ms
  changes.during('file', ago(2000), () => changes.stated(3))
  changes.during('health', ago(20), () => changes.stated(4))
  changes.during('file', ago(0), () => undefined)
  changes.stated(5)
  changes.reached('kernel', 4)
  changes.reached('dns', 3)
  const families = await scrape(metrics)
  const lag = (suffix: string, labels: string) =>
    families
      .get('fairlead_change_lag_seconds')
      ?.samples.get(`fairlead_change_lag_seconds_${suffix}{${labels}}`)
  const at = (reached: string, source: string) => `reached="${reached}",source="${source}"`
  t.equal(lag('count', at('kernel', 'file')), 1, 'one that was overtaken is there with the next')
  t.ok((lag('sum', at('kernel', 'file')) ?? 0) >= 2)
  t.equal(lag('count', at('kernel', 'health')), 1)
  t.equal(lag('count', at('dns', 'file')), 1)
  t.equal(lag('count', at('dns', 'health')), undefined, 'not there yet')
  changes.reached('dns', 9)
  const later = await scrape(metrics)
  const name = `fairlead_change_lag_seconds_count{${at('dns', 'health')}}`
  t.equal(later.get('fairlead_change_lag_seconds')?.samples.get(name), 1, 'each is counted once')
})

t.test('sources: what they say, and whether it is in force', async (t) => {
  const { metrics } = subject()
  metrics.changes.published('file', false)
  metrics.changes.published('file', true)
  metrics.changes.current('docker', true)
  const families = await scrape(metrics)
  t.equal(value(families, 'fairlead_source_current', 'source="file"'), 0)
  t.equal(value(families, 'fairlead_source_current', 'source="docker"'), 1)
  t.equal(value(families, 'fairlead_source_snapshots_total', 'source="file"'), 1)
  const when = value(families, 'fairlead_source_last_snapshot_timestamp_seconds', 'source="file"')
  t.ok(Math.abs((when ?? 0) - Date.now() / 1000) < 60)
})

t.test('sweeps and reconcile cycles are timed', async (t) => {
  const { metrics } = subject()
  metrics.work.reconciled(0.25)
  metrics.work.swept({ kept: 10, deleted: 3, mended: 1, seconds: 0.5 })
  metrics.work.swept({ kept: 8, deleted: 2, mended: 0, seconds: 0.5 })
  const families = await scrape(metrics)
  const of = (name: string, suffix: string) =>
    families.get(name)?.samples.get(`${name}_${suffix}{}`)
  t.equal(of('fairlead_reconcile_duration_seconds', 'sum'), 0.25)
  t.equal(of('fairlead_flow_sweep_duration_seconds', 'count'), 2)
  t.equal(value(families, 'fairlead_flow_sweep_kept_rows'), 8)
  t.equal(value(families, 'fairlead_flow_sweep_deleted_rows_total'), 5)
  t.equal(value(families, 'fairlead_flow_sweep_mended_connections_total'), 1)
})

t.test('an upstream answers, or does not', async (t) => {
  const { metrics } = subject()
  const told = { upstream: '10.0.0.3:53', seconds: 0.001 }
  const answering = async () =>
    value(await scrape(metrics), 'fairlead_dns_upstream_answering', 'upstream="10.0.0.3:53"')
  metrics.dns.forwarded({ ...told, outcome: 'timeout' })
  t.equal(await answering(), 0)
  metrics.dns.forwarded({ ...told, outcome: 'SERVFAIL' })
  t.equal(await answering(), 1)
})

t.test('a kernel that cannot be read leaves its series out and is counted', async (t) => {
  const { metrics, readback } = subject()
  await metrics.render()
  readback.failure = new Error('maps are gone')
  const families = await scrape(metrics)
  t.equal(families.get('fairlead_packets_total')?.samples.size, 0)
  t.equal(value(families, 'fairlead_reconcile_applied_revision'), undefined, 'not a 0 that lies')
  t.equal(value(families, 'fairlead_readback_failures_total'), 1)
  t.equal(value(families, 'fairlead_services'), 1, 'what is known without it is told')
  readback.failure = undefined
  t.equal(value(await scrape(metrics), 'fairlead_reconcile_applied_revision'), 6, 'and it recovers')
})

t.test('scrapes at the same time share one reading', async (t) => {
  const { metrics, readback } = subject()
  const texts = await Promise.all([metrics.render(), metrics.render(), metrics.render()])
  t.equal(readback.reads, 1)
  t.equal(new Set(texts.map(String)).size, 1)
  await metrics.render()
  t.equal(readback.reads, 2, 'a later one reads anew')
})

t.test('others get their turn while a large state is rendered', async (t) => {
  const many = Array.from({ length: 3000 }, (_, at) => service({ name: `s${at}` }))
  const { metrics } = subject(stateOf(many))
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  const families = await scrape(metrics)
  clearInterval(timer)
  t.equal(families.get('fairlead_service_info')?.samples.size, 3000)
  t.equal(families.get('fairlead_backend_weight')?.samples.size, 6000)
  t.ok(turns > 1, `${turns} turns`)
})

/** Beyond the limit histograms have powers of ten alone, and the same in each. */
function histogramsAgree(
  t: Test,
  each: ReadonlyMap<string, Family>,
  whole: ReadonlyMap<string, Family>,
): void {
  for (const name of ['handshake_seconds', 'client_handshake_seconds']) {
    const sums = new Map<string, number>()
    for (const [series, value] of each.get(`fairlead_${name}`)?.samples ?? []) {
      const key = series.replace(/backend="[^"]*",/, '')
      sums.set(key, (sums.get(key) ?? 0) + value)
    }
    const found = whole.get(`fairlead_${name}`)?.samples ?? new Map<string, number>()
    const bounds = [...found.keys()].flatMap((series) => /le="([^"]*)"/.exec(series)?.[1] ?? [])
    t.same(bounds, ['0.0001', '0.001', '0.01', '0.1', '1', '+Inf'], name)
    t.equal(found.size, bounds.length + 2, 'with sum and count')
    for (const [series, value] of found) t.equal(value, sums.get(series), series)
  }
}

t.test('with more backends than the limit, series are of services as a whole', async (t) => {
  const names = ['packets_total', 'bytes_total', 'connections_total', 'connections_active']
  const sumsOf = (families: Map<string, Family>): Map<string, number> => {
    const sums = new Map<string, number>()
    for (const name of names)
      for (const [series, value] of families.get(`fairlead_${name}`)?.samples ?? []) {
        const whole = series.replace(/backend="[^"]*",/, '')
        sums.set(whole, (sums.get(whole) ?? 0) + value)
      }
    return sums
  }
  const each = await scrape(subject(undefined, 2).metrics)
  const whole = await scrape(subject(undefined, 1).metrics)
  t.equal(value(each, 'fairlead_backend_series'), 1)
  t.equal(value(whole, 'fairlead_backend_series'), 0)
  t.same(sumsOf(whole), sumsOf(each), 'the same sums, those of backends that have left included')
  for (const name of names)
    t.notMatch([...(whole.get(`fairlead_${name}`)?.samples.keys() ?? [])].join(), /backend=/)
  t.ok((whole.get('fairlead_packets_total')?.samples.size ?? 0) > 0)
  histogramsAgree(t, each, whole)
  for (const name of ['backend_weight', 'backend_state', 'backend_healthy'])
    t.equal(whole.get(`fairlead_${name}`)?.samples.size, 0, name)
  t.equal(value(whole, 'fairlead_backends'), 2)
})

t.test('backends of a service are counted by state', async (t) => {
  const backends = (['active', 'down', 'active'] as const).map((state, i) => ({
    ...{ address: `10.0.0.${i + 5}`, weight: 1, state },
  }))
  const families = await scrape(subject(stateOf([service({ backends })])).metrics)
  const at = (state: string) =>
    value(families, 'fairlead_service_backends', `${vote},service="vote",state="${state}"`)
  t.same([at('active'), at('draining'), at('down')], [2, 0, 1])
})

t.test('DNS is counted by what was asked and how it went', async (t) => {
  const { metrics } = subject()
  const { dns } = metrics
  const answer = { network: 'overlay1', transport: 'udp', type: 'A', rcode: 'NOERROR' } as const
  dns.answered({ ...answer, source: 'local', seconds: 0.00007 })
  dns.answered({ ...answer, source: 'local', seconds: 0.3 })
  dns.dropped('malformed')
  dns.forwarded({ upstream: '192.0.2.1:53', outcome: 'timeout', seconds: 4 })
  dns.inFlight(3)
  const families = await scrape(metrics)
  const at = (name: string, labels = '') =>
    families.get(name.replace(/_(bucket|count|sum)$/, ''))?.samples.get(`${name}{${labels}}`)
  const labels = `${vote},rcode="NOERROR",source="local",transport="udp",type="A"`
  t.equal(at('fairlead_dns_answers_total', labels), 2)
  const local = 'source="local",transport="udp"'
  const histogram = 'fairlead_dns_answer_duration_seconds'
  t.equal(at(`${histogram}_bucket`, `le="0.0001",${local}`), 1)
  t.equal(at(`${histogram}_bucket`, `le="+Inf",${local}`), 2)
  t.equal(at(`${histogram}_sum`, local), 0.30007)
  t.equal(at('fairlead_dns_dropped_total', 'reason="malformed"'), 1)
  t.equal(at('fairlead_dns_forwarded_total', 'outcome="timeout",upstream="192.0.2.1:53"'), 1)
  t.equal(at('fairlead_dns_forward_duration_seconds_count', 'upstream="192.0.2.1:53"'), 1)
  t.equal(at('fairlead_dns_forward_in_flight'), 3)
})

t.test('clients cannot make any number of series', async (t) => {
  const { metrics } = subject()
  for (let type = 0; type < 1000; type++) {
    metrics.dns.answered({
      network: 'overlay1',
      transport: 'udp',
      type: `UNKNOWN_${type}`,
      rcode: `RCODE_${type}`,
      source: 'refused',
      seconds: 0,
    })
    metrics.dns.dropped(`reason${type}`)
  }
  const families = await scrape(metrics)
  t.ok((families.get('fairlead_dns_answers_total')?.samples.size ?? 0) <= 33)
  t.ok((families.get('fairlead_dns_dropped_total')?.samples.size ?? 0) <= 65)
  t.equal(value(families, 'fairlead_dns_dropped_total', 'reason="other"'), 1000 - 64)
})

t.test('labels are escaped', async (t) => {
  const { metrics } = subject(stateOf([service({ name: 'a"b\\c\nd' })]))
  metrics.dns.dropped('"\\\n\r\u0000')
  const families = await scrape(metrics)
  t.equal(families.get('fairlead_service_info')?.samples.size, 1)
  t.equal(value(families, 'fairlead_dns_dropped_total', 'reason="\\"\\\\???"'), 1)
})

t.test('every metric of the table is exposed with its type and help, and no other', async (t) => {
  const families = await scrape(subject().metrics)
  for (const { name, type, help } of Object.values(definitions)) {
    t.equal(families.get(name)?.type, type, name)
    t.equal(families.get(name)?.help, help, name)
  }
  const known = new Set<string>(Object.values(definitions).map(({ name }) => name))
  const others = [...families.keys()].filter((name) => !known.has(name))
  t.same(
    others.filter((name) => !/^fairlead_(process|nodejs)_/.test(name)),
    [],
  )
})

t.test('names follow the conventions', (t) => {
  for (const { name, type, labels } of Object.values(definitions)) {
    t.match(name, /^fairlead_[a-z0-9_]+$/)
    t.equal(name.endsWith('_total'), type === 'counter', `${name} ends in _total if it counts`)
    for (const label of labels) t.match(label, /^[a-z_]+$/)
  }
  t.end()
})

t.test('promtool has no complaint', async (t) => {
  const { metrics } = subject()
  metrics.dns.forwarded({ upstream: '[fd00::1]:53', outcome: 'NOERROR', seconds: 0.001 })
  const { status, stderr } = spawnSync('promtool', ['check', 'metrics'], {
    input: await metrics.render(),
    encoding: 'utf8',
  })
  t.equal(stderr, '')
  t.equal(status, 0)
})
