import t from 'tap'
import type { SwarmService, SwarmTask } from '../../../../src/sources/swarm/cluster.js'
import { snapshotOf } from '../../../../src/sources/swarm/snapshot.js'
import { gatewayShape } from '../../../../src/sources/swarm/shapes.js'
import { newest } from '../../../../src/sources/swarm/source.js'
import { container, network, view, type ContainerOptions } from '../docker/fixtures.js'

const ID = '4303jwblen15n7yr6pok6b7ni'
const overlay = network({
  ...{ Id: ID, Name: 'overlay1', Driver: 'overlay', Scope: 'swarm' },
  IPAM: { Config: [{ Subnet: '10.0.1.0/24', Gateway: '10.0.1.1' }] },
})
const ingress = network({
  ...{ Id: 'xyf5', Name: 'ingress', Driver: 'overlay', Scope: 'swarm', Ingress: true },
  IPAM: { Config: [{ Subnet: '10.0.0.0/24' }] },
})

const vote: SwarmService = {
  ...{ name: 'vote', networkId: ID, mode: 'vip', vip: '10.0.1.2', labels: {}, publish: [] },
  tasks: [
    { address: '10.0.1.4', state: 'active', slot: '1' },
    { address: '10.0.1.5', state: 'active', slot: '2', node: 'Node2' },
  ],
}

function local(name: string, v4: string, options: ContainerOptions = {}) {
  return container(name, { places: [{ id: ID, v4 }], ...options })
}

function seen(services: readonly SwarmService[], containers = [local('c', '10.0.1.4')]) {
  return snapshotOf({
    engine: view(containers, [overlay, ingress, network()]),
    services,
    namespaces: new Map([[ID, '/run/docker/netns/1-4303jwblen']]),
    node: 'node1',
  })
}

t.test('an overlay network that this node is on', (t) => {
  const { networks, services, problems } = seen([vote])
  t.same(problems, [])
  t.same(networks, [
    {
      ...{ name: 'overlay1', subnets: ['10.0.1.0/24'], pools: [], reserved: [] },
      attachment: {
        ...{ namespace: '/run/docker/netns/1-4303jwblen', bridge: 'br0', interfaces: [] },
        sockets: ['/run/docker/netns/c'],
      },
      dns: { listen: [] },
    },
  ])
  t.match(services, [
    {
      ...{ network: 'overlay1', name: 'vote', mode: 'vip', vips: ['10.0.1.2'], autoVips: [] },
      ...{ ports: [], algorithm: 'rr' },
      backends: [
        { address: '10.0.1.4', weight: 1, state: 'active', slot: '1', node: 'node1' },
        { address: '10.0.1.5', weight: 1, state: 'active', slot: '2', node: 'node2' },
      ],
    },
  ])
  t.end()
})

t.test('one that it is not on has services, and nothing to attach to', (t) => {
  const { networks, services } = seen([vote], [])
  t.same(networks[0]?.attachment, { interfaces: [], sockets: [] })
  t.equal(services.length, 1)
  t.end()
})

t.test('a local task that was told to stop drains, whatever the swarm says', (t) => {
  const { services } = seen([vote], [local('c', '10.0.1.4', { stopping: true })])
  t.same(
    services[0]?.backends.map(({ state }) => state),
    ['draining', 'active'],
  )
  t.end()
})

t.test('labels of the service; what makes no sense costs itself only', (t) => {
  const good = seen([{ ...vote, labels: { 'fairlead.algorithm': 'maglev' } }])
  t.equal(good.services[0]?.algorithm, 'maglev')
  t.same(good.services[0]?.vips, ['10.0.1.2'])
  const bad = seen([{ ...vote, labels: { 'fairlead.algorithm': 'fastest' } }])
  t.equal(bad.services[0]?.algorithm, 'rr')
  t.match(bad.problems, [
    { source: 'swarm', item: 'service overlay1/vote', place: /service vote label/, code: 'VALUE' },
  ])
  t.end()
})

t.test('dnsrr, and networks that are not of the swarm', (t) => {
  const { name, networkId, labels, tasks } = vote
  const { services, networks } = seen([
    { name, networkId, labels, tasks, mode: 'dnsrr', publish: [] },
    { ...vote, networkId: 'xyf5' },
  ])
  t.same(
    services.map(({ mode, vips }) => [mode, vips]),
    [['dnsrr', []]],
  )
  t.same(
    networks.map(({ name }) => name),
    ['overlay1'],
  )
  t.end()
})

function bridge(containers: Record<string, string>) {
  return gatewayShape.parse({
    IPAM: { Config: [{ Subnet: '172.18.0.0/16', Gateway: '172.18.0.1' }] },
    Containers: {
      'ingress-sbox': { Name: 'gateway_ingress-sbox', IPv4Address: '172.18.0.2/16' },
      ...Object.fromEntries(
        Object.entries(containers).map(([id, address]) => [id, { IPv4Address: `${address}/16` }]),
      ),
    },
  })
}

const published = [{ protocol: 'tcp', port: 8080, targetPort: 80 }] as const
const onIngress: SwarmService = {
  ...{ ...vote, networkId: 'xyf5', vip: '10.0.0.2', publish: published },
  tasks: [
    { address: '10.0.0.4', state: 'active', slot: '1' },
    { address: '10.0.0.5', state: 'active', slot: '2' },
  ],
}
const here = container('c', {
  places: [
    { id: ID, v4: '10.0.1.4' },
    { id: 'xyf5', v4: '10.0.0.4' },
  ],
})

function fromOutside(services: readonly SwarmService[], gateways = { [here.Id]: '172.18.0.3' }) {
  return snapshotOf({
    engine: view([here], [overlay, ingress]),
    ...{ services, namespaces: new Map(), node: 'node1', gateway: bridge(gateways) },
  })
}

t.test('published ports lead to the tasks of this node, by the gateway bridge', (t) => {
  const { networks, services } = fromOutside([vote, onIngress])
  t.match(networks[1], {
    name: 'docker_gwbridge',
    subnets: ['172.18.0.0/16'],
    attachment: { bridge: 'docker_gwbridge', sockets: [] },
  })
  t.notOk(networks[1] && 'namespace' in networks[1].attachment)
  const own = services.filter(({ network }) => network === 'docker_gwbridge')
  t.match(own, [
    {
      ...{ name: 'vote', mode: 'dnsrr', vips: [], autoVips: [], publish: published },
      backends: [{ address: '172.18.0.3', state: 'active', slot: '1', node: 'node1' }],
    },
  ])
  t.equal(own[0]?.backends.length, 1, 'once, though it is on two networks')
  t.equal(services.find(({ network }) => network === 'overlay1')?.publish, undefined)
  t.end()
})

t.test('a task drains there when it does on its own network', (t) => {
  const [first, ...others] = vote.tasks
  const draining: SwarmService = {
    ...vote,
    tasks: first ? [{ ...first, state: 'draining' }, ...others] : [],
  }
  for (const services of [
    [draining, onIngress],
    [onIngress, draining],
  ])
    t.equal(
      fromOutside(services).services.find(({ network }) => network === 'docker_gwbridge')
        ?.backends[0]?.state,
      'draining',
    )
  t.end()
})

t.test('a dnsrr service publishes by a label', (t) => {
  const labels = { 'fairlead.publish': '8080:80' }
  const { services } = fromOutside([{ ...vote, mode: 'dnsrr', labels }])
  t.same(
    services.map(({ network, publish }) => [network, publish]),
    [
      ['overlay1', []],
      ['docker_gwbridge', published],
    ],
  )
  t.end()
})

t.test('nothing is published without an edge, or without a task here', (t) => {
  t.same(
    seen([vote, onIngress]).networks.map(({ name }) => name),
    ['overlay1'],
  )
  const { networks } = fromOutside([vote, onIngress], {})
  t.same(
    networks.map(({ name }) => name),
    ['overlay1'],
  )
  t.end()
})

const mesh = { address: '192.0.2.1', nodes: ['192.0.2.1', '192.0.2.3', '192.0.2.2'] }
const task = (address: string, id: string, nodeAddress: string, state = 'active') =>
  ({ address, id, nodeAddress, state }) as SwarmTask

function inMesh(services: readonly SwarmService[], containers = [here]) {
  return snapshotOf({
    engine: view(containers, [overlay, ingress]),
    ...{ services, namespaces: new Map(), node: 'node1', mesh },
    gateway: bridge({ [here.Id]: '172.18.0.3' }),
  })
}

const spread = [
  {
    ...vote,
    tasks: [
      task('10.0.1.4', 'a', '192.0.2.1'),
      task('10.0.1.5', 'b', '192.0.2.2', 'draining'),
      task('10.0.1.6', 'c', '192.0.2.2'),
    ],
  },
  {
    ...onIngress,
    tasks: [
      task('10.0.0.4', 'a', '192.0.2.1'),
      task('10.0.0.5', 'b', '192.0.2.2'),
      task('10.0.0.6', 'c', '192.0.2.2'),
    ],
  },
]

t.test('in the mesh tasks of other nodes are led to by way of these', (t) => {
  for (const services of [spread, [...spread].reverse()]) {
    const { networks, services: found } = inMesh(services)
    t.same(networks.find(({ name }) => name === 'docker_gwbridge')?.tunnels, {
      address: '192.0.2.1',
      peers: ['192.0.2.2', '192.0.2.3'],
      aliases: [
        { alias: '10.0.0.4', address: '172.18.0.3' },
        { alias: '10.0.1.4', address: '172.18.0.3' },
      ],
    })
    t.same(found.find(({ network }) => network === 'docker_gwbridge')?.backends, [
      ...[
        { address: '10.0.0.5', weight: 1, state: 'draining', via: '192.0.2.2', checked: false },
        { address: '10.0.0.6', weight: 1, state: 'active', via: '192.0.2.2', checked: false },
      ],
      { address: '172.18.0.3', weight: 1, state: 'active', node: 'node1' },
    ])
  }
  t.end()
})

t.test('a node without a task of its own answers, too', (t) => {
  const { networks, services } = inMesh([
    { ...onIngress, tasks: [task('10.0.0.5', 'b', '192.0.2.2')] },
  ])
  t.ok(networks.some(({ name }) => name === 'docker_gwbridge'))
  t.match(
    services.filter(({ network }) => network === 'docker_gwbridge'),
    [{ publish: published, backends: [{ address: '10.0.0.5', via: '192.0.2.2' }] }],
  )
  t.end()
})

t.test('a task of this node that its engine does not have any more is nowhere', (t) => {
  const { services } = inMesh([{ ...onIngress, tasks: [task('10.0.0.9', 'z', '192.0.2.1')] }])
  t.same(services, [])
  t.end()
})

t.test('an address that two containers have is no alias', (t) => {
  const twin = container('d', { places: [{ id: 'xyf5', v4: '10.0.1.4' }] })
  const { networks } = snapshotOf({
    engine: view([here, twin], [overlay, ingress]),
    ...{ services: [], namespaces: new Map(), node: 'node1', mesh },
    gateway: bridge({ [here.Id]: '172.18.0.3', [twin.Id]: '172.18.0.4' }),
  })
  t.same(networks.find(({ tunnels }) => tunnels !== undefined)?.tunnels?.aliases, [
    { alias: '10.0.0.4', address: '172.18.0.3' },
  ])
  t.end()
})

t.test('two networks with one subnet are kept apart', (t) => {
  const other = network({
    ...{ Id: 'n2', Name: 'overlay2', Driver: 'overlay', Scope: 'swarm' },
    IPAM: { Config: [{ Subnet: '10.0.1.0/24' }] },
  })
  const stopping = container('s', { places: [{ id: 'n2', v4: '10.0.1.4' }], stopping: true })
  const { services } = snapshotOf({
    engine: view([here, stopping], [overlay, other]),
    ...{ services: [vote, { ...vote, networkId: 'n2' }], namespaces: new Map(), node: 'node1' },
  })
  t.same(
    services.map(({ network, backends }) => [network, backends[0]?.state]),
    [
      ['overlay1', 'active'],
      ['overlay2', 'draining'],
    ],
  )
  t.end()
})

t.test('the namespace of an overlay network, by the count and id in its name', (t) => {
  const names = ['1-4303jwblen', 'lb_4303jwble', '659ae9c12883', 'ingress_sbox', '1-xyf5eddmpn']
  t.equal(newest(names, ID), '1-4303jwblen')
  t.equal(newest([...names, '3-4303jwblen', '2-4303jwblen'], ID), '3-4303jwblen')
  t.equal(newest([...names, '12-4303jwble'], ID), '12-4303jwble')
  t.equal(newest(['1-xyf5eddmpn', '1-4303jwble', '1-'], ID), undefined)
  t.end()
})

t.test('containers on an overlay network that are answered where they ask the engine', (t) => {
  const labels = { 'fairlead.dns': 'true', 'com.docker.stack.namespace': 'shop' }
  const engine = view([local('c', '10.0.1.4', { labels }), local('d', '10.0.1.5')], [overlay])
  const common = { engine, services: [vote], namespaces: new Map<string, string>(), node: 'node1' }
  const [asker] = snapshotOf({ ...common, resolver: 'labelled' }).networks
  const namespace = '/run/docker/netns/c'
  t.same(asker?.dns, { listen: [], askers: [{ namespace, rank: 1, stack: 'shop' }] })
  t.equal(snapshotOf({ ...common, resolver: 'all' }).networks[0]?.dns.askers?.length, 2)
  t.same(snapshotOf(common).networks[0]?.dns, { listen: [] })
  t.end()
})
