/** Every name server of the benchmark answers, and its CPU time is found. */
import t from 'tap'
import { measureDns } from '../../bench/dns/rounds.js'
import { rowsOf } from '../../bench/dns/run.js'
import { NAME_SERVERS } from '../../bench/dns/servers.js'

t.setTimeout(120_000)

t.test('every name server is measured', async (t) => {
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  const { asked, leftOut } = await measureDns({
    ...{ chosen: () => true, rounds: 1, seconds: 1, serverCpu: 0, clientCpu: 0, stop: stop.signal },
    progress: () => undefined,
  })
  t.same(leftOut, [])
  const rows = rowsOf(asked)
  t.same(
    rows.map(({ subject }) => subject),
    NAME_SERVERS.map(({ name }) => name),
  )
  for (const { subject, perCpuSecond, latencyUs } of rows) {
    t.ok(perCpuSecond.median > 100 && Number.isFinite(perCpuSecond.median), subject)
    t.ok(latencyUs > 0, `${subject}: latency`)
  }
})
