/** How long backends take to answer is a histogram of each, on every path. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { sumOf } from '../lib/agent.js'
import { until } from '../lib/netns.js'
import { Way, type WayName } from '../lib/ways.js'

t.setTimeout(120_000)

const PORT = 8000
const DELAY_SECONDS = 0.3
const CONNECTIONS = 8
const LATE = join(import.meta.dirname, '../../../test/lib/late_answer.py')

/** Connects and leaves: the slow backend would not answer a FIN. */
const dial = `
import socket, struct, sys
for at in range(int(sys.argv[3])):
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    s.close()
`

const listen = `
import socket, sys
s = socket.create_server(('', int(sys.argv[1])))
print('ready', flush=True)
while True:
    s.accept()[0].close()
`

async function answersLate(t: Test, name: WayName): Promise<void> {
  const way = await Way.build(t, name)
  const [slow, fast] = way.backends
  if (slow === undefined || fast === undefined) throw new Error('there are two')
  const rules =
    'table inet late { chain out { type filter hook output priority 0; tcp flags & rst == rst drop; }; }'
  await slow.space.run('nft', [rules])
  const late = ['eth0', String(PORT), String(DELAY_SECONDS)]
  await slow.space.spawn('python3', [LATE, ...late]).printed(/ready/)
  await fast.space.spawn('python3', ['-c', listen, String(PORT)]).printed(/ready/)
  await way.start({ ports: [PORT], backends: way.rows(0, 1) })
  const [v4] = way.hosts
  await way.client.run('python3', ['-c', dial, v4, String(PORT), String(CONNECTIONS)])

  const metric = 'fairlead_handshake_seconds'
  const text = await until('all of them to be counted', async () => {
    const found = await way.agent.metrics()
    return sumOf(found, `${metric}_count`) >= CONNECTIONS && found
  })
  const upTo = (of: { v4: string }, bound: string) =>
    sumOf(text, `${metric}_bucket`, `backend="${of.v4}"`, `path="${name}"`, `le="${bound}"`)
  const each = CONNECTIONS / 2
  for (const one of [slow, fast]) t.equal(upTo(one, '+Inf'), each, 'every handshake')
  t.equal(upTo(slow, '0.25'), 0, 'none of the slow one is quicker than its answers')
  t.ok(upTo(slow, '0.5') > 0, 'and some are no slower')
  t.ok(upTo(fast, '0.25') > 0, 'those of the other are not slowed down')
  const sum = sumOf(text, `${metric}_sum`, `backend="${slow.v4}"`)
  t.ok(sum >= DELAY_SECONDS * each, `${sum} s in all`)
  const clients = sumOf(text, 'fairlead_client_handshake_seconds_count', 'service="web"')
  t.equal(clients, name === 'sock' ? 0 : CONNECTIONS)

  const closed = (of: { v4: string }, reason: string) =>
    sumOf(text, 'fairlead_connections_closed_total', `backend="${of.v4}"`, `reason="${reason}"`)
  t.equal(closed(slow, 'reset') + closed(slow, 'fin'), each)
  t.equal(closed(slow, 'reset'), each)

  // What a backend had counted goes to its service when it leaves.
  await way.apply({ ports: [PORT], backends: way.rows(1) })
  const retired = await until('it to leave', async () => {
    const found = await way.agent.metrics()
    return sumOf(found, `${metric}_count`, 'backend="retired"') > 0 && found
  })
  t.equal(sumOf(retired, `${metric}_count`), CONNECTIONS, 'no handshake is forgotten')
  t.equal(sumOf(retired, `${metric}_count`, `backend="${slow.v4}"`), 0)
  t.equal(
    sumOf(retired, 'fairlead_connections_closed_total', 'backend="retired"', 'reason="reset"'),
    each,
  )
}

for (const name of ['tc', 'xdp', 'sock'] as const)
  t.test(`${name}: a slow backend is seen, and another is not blamed`, (t) => answersLate(t, name))

t.test('none is timed if that is not wanted', async (t) => {
  const way = await Way.build(t, 'tc', 1)
  await way.start({}, { handshakes: 0 })
  const [v4] = way.hosts
  await way.client.run('curl', ['-sS', '-m', '10', `http://${v4}/`])
  const text = await way.agent.metrics()
  t.ok(sumOf(text, 'fairlead_connections_total') > 0)
  t.equal(sumOf(text, 'fairlead_handshake_seconds_count'), 0)
})

t.test('beyond the limit of backends they are of the service, in fewer buckets', async (t) => {
  const way = await Way.build(t, 'tc')
  await way.start({}, { metricsBackends: 1 })
  for (const host of way.hosts) {
    const url = host.includes(':') ? `http://[${host}]/` : `http://${host}/`
    for (let at = 0; at < 2; at++) await way.client.run('curl', ['-gsS', '-m', '10', url])
  }
  const text = await way.agent.metrics()
  const own = 'service="web"'
  t.equal(sumOf(text, 'fairlead_handshake_seconds_count', own), 4, 'of both families')
  t.equal(sumOf(text, 'fairlead_handshake_seconds_bucket', own, 'le="+Inf"'), 4)
  const series = text.split('\n').filter((line) => line.startsWith('fairlead_handshake_seconds_'))
  t.equal(series.length, 8, series.join('\n'))
  for (const line of series) t.notMatch(line, 'backend=')
})
