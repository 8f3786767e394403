import t from 'tap'
import type { SwarmService } from '../../../../src/sources/swarm/cluster.js'
import { snapshotOf } from '../../../../src/sources/swarm/snapshot.js'
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
  ...{ name: 'vote', networkId: ID, mode: 'vip', vip: '10.0.1.2', labels: {} },
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
    { name, networkId, labels, tasks, mode: 'dnsrr' },
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

t.test('the namespace of an overlay network, by the count and id in its name', (t) => {
  const names = ['1-4303jwblen', 'lb_4303jwble', '659ae9c12883', 'ingress_sbox', '1-xyf5eddmpn']
  t.equal(newest(names, ID), '1-4303jwblen')
  t.equal(newest([...names, '3-4303jwblen', '2-4303jwblen'], ID), '3-4303jwblen')
  t.equal(newest([...names, '12-4303jwble'], ID), '12-4303jwble')
  t.equal(newest(['1-xyf5eddmpn', '1-4303jwble', '1-'], ID), undefined)
  t.end()
})
