import t from 'tap'
import { fromGossip, fromManager, withKnown } from '../../../../src/sources/swarm/cluster.js'
import {
  gossipShape,
  nodesShape,
  servicesShape,
  tasksShape,
} from '../../../../src/sources/swarm/shapes.js'

const NET = 'n1'

function service(name: string, fields: object = {}, spec: object = {}) {
  return {
    ID: `id-${name}`,
    CreatedAt: '2026-01-01T00:00:00.5Z',
    Version: { Index: 3 },
    Spec: {
      ...{ Name: name, Labels: {}, TaskTemplate: { Networks: [{ Target: NET }] } },
      EndpointSpec: { Mode: 'vip' },
      ...spec,
    },
    Endpoint: { VirtualIPs: [{ NetworkID: NET, Addr: '10.0.1.2/24' }] },
    ...fields,
  }
}

function task(id: string, address: string, fields: object = {}) {
  return {
    ...{ ID: id, ServiceID: 'id-vote', NodeID: 'node-a', Slot: 1, DesiredState: 'running' },
    Status: { State: 'running', Message: 'started' },
    NetworksAttachments: [
      { Network: { ID: 'ingress' }, Addresses: ['10.0.0.5/24'] },
      { Network: { ID: NET }, Addresses: [`${address}/24`] },
    ],
    ...fields,
  }
}

function managed(services: object[], tasks: object[], nodeState = 'ready') {
  const nodes = [
    { ID: 'node-a', Description: { Hostname: 'node1' }, Status: { State: 'ready' } },
    { ID: 'node-b', Description: { Hostname: 'node2' }, Status: { State: nodeState } },
  ]
  return fromManager(
    servicesShape.parse(services),
    tasksShape.parse(tasks),
    nodesShape.parse(nodes),
  )
}

t.test('a manager: service, VIP, labels and tasks', (t) => {
  const labels = { 'fairlead.algorithm': 'sh' }
  const found = managed(
    [service('vote', {}, { Labels: labels })],
    [
      task('a', '10.0.1.4'),
      task('b', '10.0.1.5', { Slot: 2, NodeID: 'node-b' }),
      task('c', '10.0.1.6', { ServiceID: 'another' }),
    ],
  )
  t.same(found, [
    {
      ...{ name: 'vote', networkId: NET, mode: 'vip', labels, publish: [], vip: '10.0.1.2' },
      tasks: [
        { address: '10.0.1.4', state: 'active', slot: '1', node: 'node1' },
        { address: '10.0.1.5', state: 'active', slot: '2', node: 'node2' },
      ],
    },
  ])
  t.end()
})

t.test("a manager: a task's states", (t) => {
  const cases: [string, string, string | undefined][] = [
    ['running', 'running', 'active'],
    ['running', 'shutdown', 'draining'],
    ['running', 'remove', 'draining'],
    ['starting', 'running', undefined],
    ['ready', 'running', undefined],
    ['shutdown', 'shutdown', undefined],
    ['failed', 'shutdown', undefined],
    ['complete', 'shutdown', undefined],
    ['orphaned', 'shutdown', undefined],
  ]
  for (const [State, DesiredState, expected] of cases) {
    const [vote] = managed(
      [service('vote')],
      [task('a', '10.0.1.4', { Status: { State }, DesiredState })],
    )
    t.equal(vote?.tasks[0]?.state, expected, `${State}, wanted ${DesiredState}`)
  }
  const lost = managed([service('vote')], [task('a', '10.0.1.4', { NodeID: 'node-b' })], 'down')
  t.same(lost[0]?.tasks, [], 'a node that is lost has none')
  t.end()
})

t.test('a manager: modes and networks', (t) => {
  const rr = service(
    'rr',
    { Endpoint: { Spec: { Mode: 'dnsrr' }, VirtualIPs: null } },
    { EndpointSpec: { Mode: 'dnsrr' } },
  )
  const [dnsrr] = managed([rr], [task('a', '10.0.1.4', { ServiceID: 'id-rr', Slot: null })])
  t.equal(dnsrr?.mode, 'dnsrr')
  t.equal(dnsrr?.vip, undefined)
  t.same(dnsrr?.tasks, [{ address: '10.0.1.4', state: 'active', node: 'node1' }])

  const two = service(
    'two',
    {
      Endpoint: {
        VirtualIPs: [
          { NetworkID: 'n2', Addr: '10.0.2.2/24' },
          { NetworkID: NET, Addr: '10.0.1.2/24' },
        ],
      },
    },
    { TaskTemplate: { Networks: null }, Networks: [{ Target: NET }, { Target: 'n2' }] },
  )
  t.same(
    managed([two], []).map(({ networkId, vip }) => [networkId, vip]),
    [
      [NET, '10.0.1.2'],
      ['n2', '10.0.2.2'],
    ],
  )
  const plain = service('plain', { Endpoint: null }, { TaskTemplate: {}, EndpointSpec: null })
  t.same(managed([plain], []), [], 'on no network of its own')
  t.end()
})

const gossip = gossipShape.parse({
  Name: 'overlay1',
  Services: {
    '': { VIP: '<nil>', Tasks: [{ Name: 'some-container', EndpointIP: '10.0.1.90' }] },
    vote: {
      VIP: '10.0.1.2',
      Ports: [],
      LocalLBIndex: 258,
      Tasks: [
        { Name: 'vote.2.vn8oly314rus', EndpointID: 'e', EndpointIP: '10.0.1.5' },
        { Name: 'vote.1.840muqg16af2', EndpointIP: '10.0.1.4', Info: { 'Host IP': '192.0.2.1' } },
      ],
    },
    agent: {
      VIP: '<nil>',
      Tasks: [{ Name: 'agent.5bxey6y501n8v3hsgs1qau1qf.9s', EndpointIP: '10.0.1.7' }],
    },
  },
})

t.test('a worker: services by gossip', (t) => {
  const named = new Map([
    ['vote', new Set(['10.0.1.4', '10.0.1.5'])],
    ['agent', new Set(['10.0.1.7'])],
  ])
  const common = { networkId: NET, labels: {}, publish: [] }
  t.same(fromGossip(NET, gossip, named), [
    { ...common, name: 'agent', mode: 'dnsrr', tasks: [{ address: '10.0.1.7', state: 'active' }] },
    {
      ...{ ...common, name: 'vote', mode: 'vip', vip: '10.0.1.2' },
      tasks: [
        { address: '10.0.1.4', state: 'active', slot: '1' },
        { address: '10.0.1.5', state: 'active', slot: '2' },
      ],
    },
  ])
  t.end()
})

t.test('a worker: what the resolver no longer names drains', (t) => {
  const states = (addresses: readonly string[] | undefined) =>
    fromGossip(NET, gossip, new Map(addresses && [['vote', new Set(addresses)]]))
      .find(({ name }) => name === 'vote')
      ?.tasks.map(({ state }) => state)
  t.same(states(['10.0.1.5']), ['draining', 'active'])
  t.same(states([]), ['draining', 'draining'])
  t.same(states(undefined), ['active', 'active'], 'it did not answer: nothing is known')
  t.end()
})

t.test('published ports, where the swarm publishes them itself', (t) => {
  const port = { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' }
  const Ports = [
    port,
    { ...port, Protocol: 'udp', PublishedPort: 5353, TargetPort: 53 },
    { ...port, PublishedPort: 8081, PublishMode: 'host' },
    { ...port, PublishedPort: 9000, Protocol: 'sctp' },
  ]
  const Endpoint = { Ports, VirtualIPs: [{ NetworkID: 'ingress', Addr: '10.0.0.5/24' }] }
  const [, vote] = managed([service('vote', { Endpoint })], [])
  t.same(vote?.publish, [
    { protocol: 'tcp', port: 8080, targetPort: 80 },
    { protocol: 'udp', port: 5353, targetPort: 53 },
  ])
  const Services = { vote: { VIP: '10.0.0.5', Ports: ['Target: 80, Publish: 8080'], Tasks: [] } }
  t.same(fromGossip('ingress', gossipShape.parse({ Services }), new Map())[0]?.publish, [
    { protocol: 'tcp', port: 8080, targetPort: 80 },
  ])
  t.end()
})

t.test('a worker: a network without services', (t) => {
  t.same(fromGossip(NET, gossipShape.parse({ Services: null }), new Map()), [])
  t.same(fromGossip(NET, gossipShape.parse({}), new Map()), [])
  t.end()
})

t.test('a manager without a leader: gossip, and what the store said last', (t) => {
  const common = { mode: 'vip', publish: [], tasks: [] } as const
  const known = [
    { ...common, name: 'vote', networkId: NET, labels: { a: 'b' } },
    { ...common, name: 'gone', networkId: NET, labels: {} },
    { ...common, name: 'far', networkId: 'n2', labels: {} },
  ]
  const heard = [{ ...common, name: 'vote', networkId: NET, labels: {}, vip: '10.0.1.2' }]
  t.same(withKnown(heard, known), [
    { ...common, name: 'vote', networkId: NET, labels: { a: 'b' }, vip: '10.0.1.2' },
    { ...common, name: 'far', networkId: 'n2', labels: {} },
  ])
  t.end()
})
