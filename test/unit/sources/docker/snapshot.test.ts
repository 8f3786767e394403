import t from 'tap'
import type { Backend, Snapshot } from '../../../../src/model/types.js'
import { snapshotOf, type DockerSettings } from '../../../../src/sources/docker/snapshot.js'
import type { TakeoverMode } from '../../../../src/sources/takeover.js'
import { container, network, view, type ContainerOptions } from './fixtures.js'

const settings: DockerSettings = {
  takeover: { mode: 'all', names: [] },
  ...{ dns: false, resolver: 'labelled', node: 'node1' },
}
const composed = {
  'com.docker.compose.project': 'shop',
  'com.docker.compose.service': 'web',
  'com.docker.compose.container-number': '1',
}

function web(name: string, v4: string, options: ContainerOptions = {}) {
  return container(name, { labels: composed, places: [{ v4 }], ...options })
}

function backends({ services }: Snapshot, name = 'web'): readonly Backend[] {
  return services.find((service) => service.name === name)?.backends ?? []
}

t.test('a compose service on a bridge network', (t) => {
  const places = [{ v4: '10.1.0.2', v6: 'fd00:1::2' }]
  const one = container('shop-web-1', { labels: composed, places })
  const client = container('client', { places: [{ v4: '10.1.0.9' }] })
  const snapshot = snapshotOf(view([one, client]), settings)
  t.same(snapshot.problems, [])
  t.same(snapshot.networks, [
    {
      name: 'net1',
      subnets: ['10.1.0.0/24', 'fd00:1::/64'],
      pools: ['10.1.0.192/26', 'fd00:1:0:0:c000::/66'],
      reserved: [],
      attachment: {
        bridge: 'br-n10000000000',
        interfaces: [],
        sockets: ['/run/docker/netns/client', '/run/docker/netns/shop-web-1'],
      },
      dns: { listen: [] },
    },
  ])
  const common = { weight: 1, state: 'active', slot: '1', hostname: 'shop-web-1', node: 'node1' }
  t.match(snapshot.services, [
    {
      ...{ network: 'net1', name: 'web', mode: 'vip', vips: [], autoVips: [4, 6], ports: [] },
      ...{ algorithm: 'rr', ttlSeconds: 5 },
      backends: [
        { address: '10.1.0.2', ...common },
        { address: 'fd00:1::2', ...common },
      ],
    },
  ])
  t.equal(snapshot.placeOf?.('net1/web'), 'container shop-web-1')
  t.end()
})

t.test('states follow the container', (t) => {
  const cases: [ContainerOptions, string | undefined][] = [
    [{}, 'active'],
    [{ stopping: true }, 'draining'],
    [{ paused: true }, 'draining'],
    [{ health: 'healthy' }, 'active'],
    [{ health: 'none' }, 'active'],
    [{ health: 'starting' }, 'down'],
    [{ health: 'unhealthy' }, 'down'],
    [{ health: 'healthy', stopping: true }, 'draining'],
    [{ running: false }, undefined],
  ]
  for (const [options, state] of cases) {
    const snapshot = snapshotOf(view([web('w', '10.1.0.2', options)]), settings)
    t.equal(backends(snapshot)[0]?.state, state, JSON.stringify(options))
    t.equal(snapshot.services.length, 1, 'the service is there as long as a container is')
  }
  t.end()
})

t.test('who takes part', (t) => {
  const names = (labels: Record<string, string>, mode: TakeoverMode = 'all') =>
    snapshotOf(view([container('c', { labels, places: [{ v4: '10.1.0.2' }] })]), {
      ...settings,
      takeover: { mode, names: ['net1/other'] },
    }).services.map(({ name }) => name)
  t.same(names({}), [], 'a container of no service does not')
  t.same(names(composed), ['web'])
  t.same(names(composed, 'labelled'), [])
  t.same(names({ ...composed, 'fairlead.enable': 'true' }, 'labelled'), ['web'])
  t.same(names({ ...composed, 'fairlead.algorithm': 'sh' }, 'labelled'), ['web'])
  t.same(names({ ...composed, 'fairlead.enable': 'false' }), [])
  t.same(names({ ...composed, 'com.docker.compose.service': 'other' }, 'labelled'), ['other'])
  t.same(names({ ...composed, 'fairlead.enable': 'true' }, 'none'), [])
  t.same(names({ ...composed, 'fairlead.service': 'Shop' }), ['shop'])
  t.same(names({ 'fairlead.service': 'plain' }), ['plain'])
  t.same(names({ ...composed, 'fairlead.networks': 'other' }), [])
  t.same(names({ ...composed, 'fairlead.networks': 'other, net1' }), ['web'])
  t.end()
})

t.test('networks that are none of ours', (t) => {
  const none = (fields: object) =>
    t.same(
      snapshotOf(view([web('w', '10.1.0.2')], [network(fields)]), settings).networks,
      [],
      JSON.stringify(fields),
    )
  none({ Scope: 'swarm', Driver: 'overlay' })
  none({ Driver: 'host' })
  none({ Labels: { 'fairlead.enable': 'false' } })
  none({ IPAM: { Config: [] } })
  none({ IPAM: null })
  t.same(
    snapshotOf(view([container('c', { places: [{ v4: '10.1.0.2' }] })]), settings).networks,
    [],
  )
  t.end()
})

t.test('a macvlan has no bridge, but sockets', (t) => {
  const { networks } = snapshotOf(
    view([web('w', '10.1.0.2')], [network({ Driver: 'macvlan' })]),
    settings,
  )
  t.same(networks[0]?.attachment, { interfaces: [], sockets: ['/run/docker/netns/w'] })
  t.end()
})

t.test('pools keep away from what the engine gives to containers', (t) => {
  const pools = (config: object, labels: Record<string, string> | null = null) =>
    snapshotOf(
      view([web('w', '10.1.0.2')], [network({ IPAM: { Config: [config] }, Labels: labels })]),
      settings,
    ).networks[0]
  t.same(pools({ Subnet: '10.1.0.0/16' })?.pools, ['10.1.192.0/18'])
  t.same(pools({ Subnet: '10.1.0.0/28' })?.pools, ['10.1.0.8/29'])
  t.same(pools({ Subnet: '10.1.0.5/24' })?.pools, ['10.1.0.192/26'], 'host bits')
  t.same(pools({ Subnet: '10.1.0.0/24', IPRange: '10.1.0.0/26' })?.pools, [
    '10.1.0.64/26',
    '10.1.0.128/25',
  ])
  t.same(pools({ Subnet: '10.1.0.0/24' }, { 'fairlead.pool': '10.1.0.16/28' })?.pools, [
    '10.1.0.16/28',
  ])
  const { reserved } = pools({
    Subnet: '10.1.0.0/24',
    Gateway: '10.1.0.254',
    AuxiliaryAddresses: { printer: '10.1.0.200', low: '10.1.0.7' },
  }) ?? { reserved: [] }
  t.same(reserved, ['10.1.0.200', '10.1.0.254'], 'only what could become a VIP')
  t.end()
})

t.test('an address that a container was given by hand is no VIP', (t) => {
  const { networks } = snapshotOf(view([web('w', '10.1.0.250')]), settings)
  t.same(networks[0]?.reserved, ['10.1.0.250'])
  t.end()
})

t.test('names are answered at the gateways', (t) => {
  const answer = network({
    IPAM: { Config: [{ Subnet: '10.1.0.0/24' }, { Subnet: 'fd00:1::/64', Gateway: 'fd00:1::1' }] },
  })
  const { networks } = snapshotOf(view([web('w', '10.1.0.2')], [answer]), {
    ...settings,
    dns: true,
  })
  t.same(networks[0]?.dns.listen, ['[fd00:1::1]:53', '10.1.0.1:53'])
  t.end()
})

t.test('the newest container whose labels make sense describes the service', (t) => {
  const labels = (algorithm: string) => ({ ...composed, 'fairlead.algorithm': algorithm })
  const old = web('old', '10.1.0.2', { labels: labels('sh'), created: 1 })
  const young = web('young', '10.1.0.3', { labels: labels('maglev'), created: 2 })
  const bad = web('bad', '10.1.0.4', { labels: labels('fastest'), created: 3 })
  const both = snapshotOf(view([young, old]), settings)
  t.equal(both.services[0]?.algorithm, 'maglev')
  const three = snapshotOf(view([bad, young, old]), settings)
  t.equal(three.services[0]?.algorithm, 'maglev')
  t.equal(backends(three).length, 3, 'all of them serve it')
  t.match(three.problems, [
    {
      source: 'docker',
      item: 'service net1/web',
      place: 'container bad label fairlead.algorithm',
      code: 'VALUE',
      reason: /must be one of rr, .*got "fastest"/,
    },
  ])
  t.same(snapshotOf(view([bad]), settings).services, [], 'without another one there is none')
  t.end()
})

t.test('weight and priority are the container’s own', (t) => {
  const labels = { ...composed, 'fairlead.weight': '5', 'fairlead.priority': '1' }
  const good = web('good', '10.1.0.2', { labels })
  const bad = web('bad', '10.1.0.3', { labels: { ...composed, 'fairlead.weight': 'heavy' } })
  const snapshot = snapshotOf(view([good, bad]), settings)
  t.match(
    backends(snapshot).map(({ weight, priority }) => [weight, priority]),
    [
      [1, undefined],
      [5, 1],
    ],
  )
  t.match(snapshot.problems, [{ place: 'container bad label fairlead.weight', code: 'VALUE' }])
  t.end()
})

t.test('two projects with one service name are two services, of which the model keeps one', (t) => {
  const other = { ...composed, 'com.docker.compose.project': 'other' }
  const { services } = snapshotOf(
    view([
      web('a', '10.1.0.2', { created: 2 }),
      web('b', '10.1.0.3', { labels: other, created: 1 }),
    ]),
    settings,
  )
  t.same(
    services.map(({ backends }) => backends.map(({ hostname }) => hostname)),
    [['b'], ['a']],
    'older first',
  )
  t.end()
})

t.test('a network whose name cannot be one is told', (t) => {
  const { networks, problems } = snapshotOf(
    view([web('w', '10.1.0.2')], [network({ Name: 'net.one' })]),
    settings,
  )
  t.same(networks, [])
  t.match(problems, [{ item: 'network net.one', code: 'VALUE' }])
  t.end()
})

t.test('containers that are answered where they ask the engine', (t) => {
  const INNER = 'z1'
  const networks = [
    network({ Labels: {} }),
    network({
      Id: INNER,
      Name: 'inner',
      Internal: true,
      IPAM: { Config: [{ Subnet: '10.2.0.0/24' }] },
    }),
  ]
  const yes = { 'fairlead.dns': 'true' }
  const containers = [
    container('web', { labels: { 'fairlead.service': 'web' }, places: [{}, { id: INNER }] }),
    container('asker', {
      labels: { ...yes, 'com.docker.stack.namespace': 'Shop' },
      places: [{ v4: '10.1.0.3' }, { id: INNER, v4: '10.2.0.3' }],
    }),
    container('never', { labels: { 'fairlead.dns': 'false' } }),
    container('apart', { labels: { ...yes, 'fairlead.enable': 'false' } }),
    container('ended', { labels: yes, running: false }),
  ]
  const askers = (resolver: DockerSettings['resolver'], of = networks): unknown[] =>
    snapshotOf(view(containers, of), { ...settings, resolver }).networks.map(({ dns }) =>
      dns.askers?.map(({ namespace, rank, stack }) => [namespace.split('/').at(-1), rank, stack]),
    )
  t.same(askers('labelled'), [[['asker', 5, 'shop']], [['asker', 7, 'shop']]])
  t.same(askers('none'), [undefined, undefined])
  t.same(askers('all'), [
    [
      ['asker', 5, 'shop'],
      ['web', 5, undefined],
    ],
    [
      ['asker', 7, 'shop'],
      ['web', 7, undefined],
    ],
  ])
  const labelled = [networks[0] ?? network(), { ...(networks[1] ?? network()), Labels: yes }]
  t.same(askers('labelled', labelled), askers('all'), 'by one of its networks, on all of them')
  const bridge = { 'com.docker.network.bridge.default_bridge': 'true' }
  t.same(askers('all', [network({ Options: bridge })]), [undefined], 'it has no resolver there')
  t.match(snapshotOf(view(containers, networks), settings).problems, [])
  t.end()
})
