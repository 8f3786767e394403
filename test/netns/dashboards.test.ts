/**
 * Every query of every dashboard, on a real Prometheus that has scraped two real agents under
 * traffic: one of containers, sockets, DNS and checks, one of the node's edge.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { panelsOf, substituted, type Dashboard } from '../lib/dashboards.js'
import { EDGE, EdgeStage } from '../lib/edgeStage.js'
import { sleep, until } from '../lib/netns.js'
import { hasNumbers, legendGaps, Prometheus } from '../lib/prometheus.js'
import { NODE4, Stage, VIP4, VIP6 } from '../lib/stage.js'

const deploy = join(import.meta.dirname, '../../../deploy')
const UPSTREAM = '127.0.0.1:5300'
const PORT = 9753

const read = (name: string): Dashboard =>
  JSON.parse(readFileSync(join(deploy, 'grafana/dashboards', name), 'utf8')) as Dashboard
const dashboards = readdirSync(join(deploy, 'grafana/dashboards')).map(read)

/** What Grafana puts in. */
const values = {
  __rate_interval: '15s',
  __range: '5m',
  job: 'fairlead',
  instance: '.*',
  network: 'net1',
  service: 'web',
}

/** Requests on all paths, and names of all kinds, over and over. */
const traffic = `
import socket, subprocess, sys, time
names = ['web', 'tasks.web', 'nothing.example', 'upstream.example']
vips, server, end = sys.argv[2:], sys.argv[1], time.monotonic() + 60
while time.monotonic() < end:
    for vip in vips:
        try:
            with socket.create_connection((vip, 80), timeout=2) as s:
                s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
                while s.recv(4096):
                    pass
        except OSError:
            pass
    if server != '-':
        for more in ([], ['+tcp'], ['-t', 'AAAA']):
            subprocess.run(['dig', '@' + server, '+tries=1', '+time=1', *more, *names],
                           stdout=subprocess.DEVNULL)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b'nonsense', (server, 53))
    time.sleep(0.3)
`

t.test('every query of every panel returns numbers', async (t) => {
  const stage = await Stage.build(t, 2)
  const edge = await EdgeStage.build(t, 2)
  const space = await stage.lab.namespace('prom')
  const wires = [
    [stage.node, '198.51.100.1/30', '198.51.100.2/30'],
    [edge.node, '198.51.100.5/30', '198.51.100.6/30'],
  ] as const
  for (const [at, [node, here, there]] of wires.entries())
    await stage.lab.wire(
      { space, link: `p${at}`, addresses: [here] },
      { space: node, link: 'mon0', addresses: [there] },
    )
  const upstream = stage.node.spawn('dnsmasq', [
    ...['--keep-in-foreground', '--conf-file=/dev/null', '--no-resolv', '--no-hosts'],
    ...['--port=5300', '--listen-address=127.0.0.1', '--bind-interfaces', '--pid-file='],
    ...['--user=root', '--address=/upstream.example/192.0.2.77', '--local=/example/'],
  ])

  const health = { type: 'tcp', port: 80, interval: '1s', timeout: '500ms' }
  const more = (at: number): object => stage.service({ name: `more${at}`, vip: 'auto' })
  const inside = (sockets: boolean, ...others: object[]) => ({
    ...stage.definition(sockets, stage.service({ health }), ...others),
    agent: { metrics: `198.51.100.2:${PORT}`, dns: { upstreams: [UPSTREAM] } },
  })
  const outside = (...others: object[]) => {
    const definition = edge.definition('generic', { health })
    const agent = { ...definition.agent, metrics: `198.51.100.6:${PORT}` }
    return { ...definition, agent, services: [...definition.services, ...others] }
  }
  await Promise.all([stage.start(inside(true)), edge.start(outside())])
  const prometheus = Prometheus.start(
    stage.lab,
    space,
    [`198.51.100.2:${PORT}`, `198.51.100.6:${PORT}`],
    join(deploy, 'prometheus/fairlead.rules.yml'),
  )
  t.ok(upstream.running)
  stage.client.spawn('python3', ['-c', traffic, NODE4, VIP4, VIP6])
  // By tc, because this one's sockets are nobody's.
  stage.backends[1]?.space.spawn('python3', ['-c', traffic, '-', VIP4, VIP6])
  edge.client.spawn('python3', ['-c', traffic, '-', EDGE.near4, EDGE.far6])
  await until('Prometheus to have scraped both', async () => {
    const [up] = await prometheus.query(['sum(up{job="fairlead"})'])
    return up?.data.result[0]?.value[1] === '2'
  })
  // Changes, with scrapes between them.
  for (let at = 0; at < 3; at++) {
    await sleep(1_200)
    await Promise.all([
      stage.agent.apply(inside(true, more(at))),
      edge.agent.apply(outside({ name: `more${at}`, network: 'net1', vip: 'auto', ports: [80] })),
    ])
  }

  const wanted = dashboards.flatMap((dashboard) =>
    panelsOf(dashboard).flatMap(({ title, targets }) =>
      targets.map(({ expr, legendFormat }) => ({
        where: `${dashboard.title}: ${title}: ${legendFormat}`,
        legend: legendFormat,
        query: substituted(expr, values),
      })),
    ),
  )
  t.ok(wanted.length > 70, `${wanted.length} queries`)
  let missing = wanted
  await until(
    'all queries to return numbers',
    async () => {
      const answers = await prometheus.query(missing.map(({ query }) => query))
      for (const [at, { status, error }] of answers.entries())
        if (status !== 'success') throw new Error(`${missing[at]?.where ?? ''}: ${error ?? ''}`)
      missing = missing.filter(({ legend, where }, at) => {
        const answer = answers[at]
        if (answer === undefined || !hasNumbers(answer)) return true
        t.same(legendGaps(answer, legend), [], `${where}: the legend's labels are there`)
        return false
      })
      if (missing.length > 0) await sleep(1000)
      return missing.length === 0
    },
    25_000,
  ).catch((error: unknown) => t.comment(String(error)))
  t.same(missing, [], 'each returned numbers at some time')
  const [some] = await prometheus.query(['sum by (path) (fairlead_connections_total)'])
  t.same(some && legendGaps(some, '{{path}} {{backend}}'), ['backend'], 'a gap would be seen')

  const variables = dashboards.flatMap(({ templating }) =>
    templating.list.flatMap(({ query }) => (typeof query === 'object' ? [query.query] : [])),
  )
  t.ok(variables.length >= 10)
  const series = variables.map((text) => {
    const [, selector = '', label = ''] = /^label_values\((.+), (\w+)\)$/.exec(text) ?? []
    return `count by (${label}) (${substituted(selector, values)})`
  })
  for (const [at, answer] of (await prometheus.query(series)).entries())
    t.ok(answer.data.result.length > 0, variables[at] ?? '')

  interface Rules {
    data: {
      groups: { rules: { name: string; health: string; lastError?: string; state?: string }[] }[]
    }
  }
  const [rules] = await prometheus.ask<Rules>(['/api/v1/rules'])
  const all = rules?.data.groups.flatMap((group) => group.rules) ?? []
  t.ok(all.length > 15)
  for (const rule of all) {
    t.equal(rule.health, 'ok', `${rule.name}: ${rule.lastError ?? ''}`)
    t.not(rule.state, 'firing', rule.name)
  }

  // The totals of the node outlive a service.
  await edge.agent.apply({ ...outside(), services: [] })
  const gone = 'fairlead_connections_total{instance="198.51.100.6:9753"}'
  await until('the service to be gone', async () => {
    const [left] = await prometheus.query([`count(${gone})`])
    return left?.data.result.length === 0
  })
  const [resets, total] = await prometheus.query([
    'sum(resets(fairlead_node_connections_total[5m]))',
    'sum(fairlead_node_connections_total{instance="198.51.100.6:9753"})',
  ])
  t.equal(resets?.data.result[0]?.value[1], '0', 'no counter fell')
  t.ok(Number(total?.data.result[0]?.value[1]) > 0)
})
