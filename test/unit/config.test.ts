import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { checkFile } from '../../src/checkFile.js'
import { loadConfig, nameservers, type Config } from '../../src/config.js'

const pages = ['docs/reference/configuration.md', 'README.md'].map(
  (page) => new URL(`../../../${page}`, import.meta.url),
)

function fileWith(t: Test, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'fl-config-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'fairlead.yaml')
  writeFileSync(path, text)
  return path
}

function configOf(t: Test, agent: string): Config {
  return loadConfig(fileWith(t, `version: 1\nagent: ${agent}\n`))
}

t.test('defaults', (t) => {
  const path = fileWith(t, 'version: 1\n')
  const { dns, ...config } = loadConfig(path)
  t.strictSame(config, {
    file: path,
    nodeName: hostname().split('.')[0]?.toLowerCase(),
    socketPath: '/run/fairlead/fairlead.sock',
    statePath: '/var/lib/fairlead/state.json',
    pinPath: '/sys/fs/bpf/fairlead',
    sweepMs: 30_000,
    limits: {
      ...{ services: 16384, backends: 65536, slots: 1_048_576 },
      ...{ vips: 32768, ports: 65536, flows: 262144 },
    },
    log: { level: 'info', format: 'json' },
  })
  t.match(dns, { listen: [], timeoutMs: 2000, maxInFlight: 1024 })
  t.ok(dns.upstreams.length <= 3)
  t.end()
})

t.test('everything set, and overridden', (t) => {
  const text = `version: 1
agent:
  node: Node1
  socket: /s
  metrics: "[::1]:9753"
  http: {listen: "[::1]:80", token: /t, names: [Node1.Example]}
  state: /st
  pins: /p
  cgroup: /c
  dns:
    listen: [127.0.0.153]
    networks: [Net]
    upstreams: [1.1.1.1, "[2606:4700::1111]:5353"]
    timeout: 500ms
    maxInFlight: 5
    domain: Cluster.Internal
  limits: {flows: 1000}
  log: {level: debug, format: pretty}
`
  const path = fileWith(t, text)
  const config = loadConfig(path)
  t.match(config, {
    nodeName: 'node1',
    socketPath: '/s',
    metricsListen: { host: '::1', port: 9753 },
    http: { listen: { host: '::1', port: 80 }, tokenPath: '/t', names: ['node1.example'] },
    statePath: '/st',
    pinPath: '/p',
    cgroupPath: '/c',
    limits: { flows: 1000, services: 16384 },
    log: { level: 'debug', format: 'pretty' },
  })
  t.strictSame(config.dns, {
    listen: [{ host: '127.0.0.153', port: 53 }],
    networks: ['net'],
    upstreams: [
      { host: '1.1.1.1', port: 53 },
      { host: '2606:4700::1111', port: 5353 },
    ],
    timeoutMs: 500,
    maxInFlight: 5,
    domain: 'cluster.internal',
  })
  t.match(loadConfig(path, { socketPath: '/other' }), { socketPath: '/other', statePath: '/st' })
  t.match(loadConfig(path, { logFormat: 'json' }), { log: { level: 'debug', format: 'json' } })
  const short = loadConfig(fileWith(t, 'version: 1\nagent: {http: {token: /t}}\n'))
  t.match(short, { http: { listen: { host: '127.0.0.1', port: 9752 }, names: [] } })
  t.throws(() => Object.assign(config, { file: 'x' }), TypeError, 'immutable')
  t.end()
})

t.test('mistakes name their place', (t) => {
  const cases: [string, RegExp][] = [
    ['{metrics: 9753}', /fairlead\.yaml:2:18 agent\.metrics: must be address:port/],
    ['{metrics: 127.0.0.1}', /needs a port/],
    ['{http: {}}', /agent\.http\.token: is missing/],
    ['{http: {token: t}}', /agent\.http\.token: must be an absolute path/],
    ['{sockets: /x}', /agent\.sockets: is an unknown field; did you mean socket\?/],
    ['{socket: x}', /must be an absolute path/],
    ['{limits: {flows: 1}}', /must be an integer 16\.\.16777216, got 1/],
    ['{dns: {upstreams: [1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4]}}', /at most 3/],
    ['{dns: {timeout: 1}, log: {level: loud}}', /one of debug, info, warn, error/],
    ['{dns: {domain: internal.}}', /without a trailing dot/],
    ['7', /agent: must be a mapping, got 7/],
  ]
  for (const [agent, message] of cases) {
    t.throws(() => configOf(t, agent), { code: 'CONFIG', message }, agent)
  }
  t.throws(() => loadConfig('/nonexistent/fairlead.yaml'), { code: 'FILE', message: /ENOENT/ })
  t.throws(() => loadConfig(fileWith(t, '[')), { code: 'FILE' })
  t.end()
})

t.test('a bad service is no reason to refuse the settings', (t) => {
  t.ok(loadConfig(fileWith(t, 'version: 1\nservices: [{name: x}]\n')))
  t.end()
})

t.test('resolv.conf', (t) => {
  const text = `# nameserver 9.9.9.9
nameserver 10.0.0.1
  nameserver\tFD00::1 trailing
nameserver fe80::1%eth0
nameserver 10.0.0.1
search example
nameserver nonsense
`
  t.same(nameservers(text), ['10.0.0.1', 'fd00::1'])
  t.same(nameservers(''), [])
  t.end()
})

t.test('check tells all there is, across items and sections', (t) => {
  const path = fileWith(
    t,
    `version: 1
agent: {nod: x}
networks: [{name: tiny, subnets: [10.0.0.0/30]}]
services:
  - {name: a, network: tiny}
  - {name: b, network: tiny}
  - {name: c, network: tiny}
  - {name: d, network: tiny, ttl: x}
  - {name: e, network: tiny, vip: 10.9.9.9}
  - {name: f, network: tiny, vip: 10.9.9.9}
`,
  )
  const result = checkFile(path)
  t.equal(result.config, undefined)
  t.same([...result.state.services.keys()], ['tiny/a', 'tiny/b', 'tiny/c', 'tiny/e'])
  t.match(
    result.problems.map(({ item, code }) => `${item} ${code}`),
    ['agent CONFIG', 'service d VALUE', 'service f DUPLICATE', 'service tiny/c POOL_EXHAUSTED'],
  )
  t.equal(result.problems.at(-1)?.place, `${path}:7:5 services[2].vip`)
  t.match(checkFile('/nonexistent').problems, [{ code: 'FILE' }])
  t.match(checkFile(fileWith(t, 'version: 9')).problems, [
    { code: 'VALUE', place: /:1:10 version/ },
  ])
  t.end()
})

t.test("the pages' examples have no mistake", (t) => {
  const blocks = pages.flatMap((page) => {
    const found = [...readFileSync(page, 'utf8').matchAll(/```yaml\n(.*?)```/gs)]
    t.ok(found.length > 0, page.pathname)
    return found
  })
  for (const [, text = ''] of blocks) {
    const { problems, config, state } = checkFile(fileWith(t, text))
    t.same(problems, [])
    t.ok(config)
    t.ok(state.services.size > 0)
  }
  t.end()
})

t.test('source ports for snat are a range, not of privileged ports, and no small one', (t) => {
  const edge = (ports: string) =>
    configOf(t, `{edge: {interfaces: [eth0], snatPorts: ${ports}}}`).edge
  t.same(edge('20000-30000')?.snatPorts, { first: 20_000, last: 30_000 })
  t.same(edge('1024-1039')?.snatPorts, { first: 1024, last: 1039 })
  t.equal(configOf(t, '{edge: {interfaces: [eth0]}}').edge?.snatPorts, undefined)
  for (const bad of ['20000', '1023-2000', '30000-20000', '2000-2014', '60000-65536', '0x400-2000'])
    t.throws(
      () => edge(bad),
      { code: 'CONFIG', message: /snatPorts.*first-last, 16 ports or more/ },
      bad,
    )
  t.end()
})

t.test('the rate above which DSR connections get no row', (t) => {
  const edge = (rate: string) =>
    configOf(t, `{edge: {interfaces: [eth0], statelessAbove: ${rate}}}`).edge
  t.equal(edge('0')?.statelessAbove, 0)
  t.equal(edge('1000')?.statelessAbove, 1000)
  t.equal(configOf(t, '{edge: {interfaces: [eth0]}}').edge?.statelessAbove, undefined)
  for (const bad of ['-1', '1.5', 'many', '100000001'])
    t.throws(() => edge(bad), { code: 'CONFIG', message: /statelessAbove/ }, bad)
  t.end()
})

t.test('the engine of the node', (t) => {
  t.equal(configOf(t, '{}').docker, undefined)
  t.same(configOf(t, '{docker: {}}').docker, {
    ...{ socketPath: '/var/run/docker.sock', services: 'all', dns: false, resolver: 'labelled' },
    ...{ labelled: [], exchange: 9754 },
  })
  t.equal(configOf(t, '{docker: {exchange: 0}}').docker?.exchange, 0)
  t.same(
    configOf(t, '{docker: {socket: /s, services: labelled, dns: true, resolver: all}}').docker,
    {
      ...{ socketPath: '/s', services: 'labelled', dns: true, resolver: 'all' },
      ...{ labelled: [], exchange: 9754 },
    },
  )
  const { docker } = configOf(t, '{docker: {takeover: none, labelled: [Net1/Web, vote]}}')
  t.equal(docker?.takeover, 'none')
  t.same(docker?.labelled, ['net1/web', 'vote'])
  for (const bad of [
    '{socket: s}',
    '{services: some}',
    '{dns: 1}',
    '{resolver: some}',
    '{exchange: 70000}',
    '{sockets: /s}',
    'true',
    '{takeover: some}',
    '{labelled: [a/b/c]}',
    '{labelled: web}',
  ])
    t.throws(() => configOf(t, `{docker: ${bad}}`), { code: 'CONFIG', message: /docker/ }, bad)
  t.end()
})
