import t from 'tap'
import {
  fromGossip,
  fromManager,
  nodesOf,
  nodesOfGossip,
  withKnown,
} from '../../../../src/sources/swarm/cluster.js'
import {
  gossipShape,
  nodeShape,
  serviceShape,
  taskShape,
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
    {
      ...{ ID: 'node-a', Description: { Hostname: 'node1' } },
      // As a manager has itself.
      ...{ Status: { State: 'ready', Addr: '0.0.0.0' }, ManagerStatus: { Addr: '192.0.2.1:2377' } },
    },
    {
      ...{ ID: 'node-b', Description: { Hostname: 'node2' } },
      Status: { State: nodeState, Addr: '192.0.2.2' },
    },
  ]
  return fromManager(
    serviceShape.array().parse(services),
    taskShape.array().parse(tasks),
    nodeShape.array().parse(nodes),
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
        {
          ...{ address: '10.0.1.4', state: 'active', slot: '1', id: 'a' },
          ...{ node: 'node1', nodeAddress: '192.0.2.1' },
        },
        {
          ...{ address: '10.0.1.5', state: 'active', slot: '2', id: 'b' },
          ...{ node: 'node2', nodeAddress: '192.0.2.2' },
        },
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
  t.match(dnsrr?.tasks, [{ address: '10.0.1.4', state: 'active', node: 'node1' }])
  t.notOk(dnsrr?.tasks[0] && 'slot' in dnsrr.tasks[0])

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
    {
      ...{ ...common, name: 'agent', mode: 'dnsrr' },
      tasks: [{ address: '10.0.1.7', state: 'active', id: '9s' }],
    },
    {
      ...{ ...common, name: 'vote', mode: 'vip', vip: '10.0.1.2' },
      tasks: [
        {
          ...{ address: '10.0.1.4', state: 'active', slot: '1' },
          ...{ id: '840muqg16af2', nodeAddress: '192.0.2.1' },
        },
        { address: '10.0.1.5', state: 'active', slot: '2', id: 'vn8oly314rus' },
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
  const before = fromGossip(NET, gossip, new Map([['vote', new Set(['10.0.1.5'])]]))
  t.same(
    fromGossip(NET, gossip, new Map(), before)
      .find(({ name }) => name === 'vote')
      ?.tasks.map(({ state }) => state),
    ['draining', 'active'],
    'it did not answer: who drained does so still',
  )
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

t.test('the nodes of a swarm', (t) => {
  const node = (ID: string, Addr: string, ManagerStatus?: object) => ({
    ...{ ID, Description: {}, Status: { State: 'ready', Addr }, ManagerStatus },
  })
  const known = [
    node('a', '127.0.0.1', { Addr: '192.0.2.9:2377' }),
    node('b', '192.0.2.2'),
    node('c', '0.0.0.0'),
  ]
  t.same(nodesOf(nodeShape.array().parse(known)), ['192.0.2.2', '192.0.2.9'])
  const Peers = [{ Name: '5f', IP: '192.0.2.2' }, { Name: '6e', IP: '192.0.2.1' }, {}]
  t.same(nodesOfGossip(gossipShape.parse({ Peers })), ['192.0.2.1', '192.0.2.2'])
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

t.test('and the protocols of ports, which gossip does not tell', (t) => {
  const udp = { protocol: 'udp', port: 5353, targetPort: 53 } as const
  const tcp = { ...udp, protocol: 'tcp' } as const
  const common = { mode: 'vip', labels: {}, tasks: [], name: 'dns', networkId: NET } as const
  t.same(withKnown([{ ...common, publish: [tcp] }], [{ ...common, publish: [udp] }])[0]?.publish, [
    udp,
  ])
  const other = { ...tcp, port: 5354 }
  t.same(
    withKnown([{ ...common, publish: [other] }], [{ ...common, publish: [udp] }])[0]?.publish,
    [other],
    'unless they have changed',
  )
  t.end()
})
