import t from 'tap'
import type { SwarmService } from '../../../../src/sources/swarm/cluster.js'
import { takenServices, withoutIdle } from '../../../../src/sources/swarm/taken.js'
import { snapshotOf } from '../../../../src/sources/swarm/snapshot.js'
import { container, network, view } from '../docker/fixtures.js'

const overlays = ['n1', 'n2'].map((id, i) =>
  network({
    ...{ Id: id, Name: `overlay${i + 1}`, Driver: 'overlay', Scope: 'swarm' },
    ...{ IPAM: { Config: [{ Subnet: `10.0.${i + 1}.0/24` }] } },
    ...{ Labels: i === 1 ? { 'fairlead.enable': 'true' } : null },
  }),
)
const ingress = network({
  ...{ Id: 'in', Name: 'ingress', Driver: 'overlay', Scope: 'swarm', Ingress: true },
})
const networks = new Map([...overlays, ingress].map((each) => [each.Id, each]))

function service(name: string, networkId: string, labels: Record<string, string> = {}) {
  const vip = `10.0.${networkId.slice(1)}.2`
  return { name, networkId, mode: 'vip', vip, labels, publish: [], tasks: [] } as SwarmService
}

const services = [
  service('plain', 'n1'),
  service('ours', 'n1', { 'fairlead.enable': 'true' }),
  service('named', 'n1'),
  service('networked', 'n2'),
  ...['plain', 'ours', 'named'].map((name) => service(name, 'in')),
  service('outer', 'in', { 'fairlead.ttl': '1s' }),
]

t.test('a service is served where it is told, and published where it is served', (t) => {
  const of = (mode: 'all' | 'labelled', names: string[] = []) =>
    takenServices(services, networks, { mode, names }).map((s) => `${s.networkId}/${s.name}`)
  t.equal(of('all').length, services.length)
  t.same(of('labelled'), ['n1/ours', 'n2/networked', 'in/ours', 'in/outer'])
  t.same(of('labelled', ['overlay1/named']), [
    ...['n1/ours', 'n1/named', 'n2/networked', 'in/ours', 'in/named', 'in/outer'],
  ])
  t.end()
})

t.test('a network without a service of ours is left alone', (t) => {
  const places = [
    { id: 'n1', v4: '10.0.1.4' },
    { id: 'n2', v4: '10.0.2.4' },
  ]
  const of = (mode: 'all' | 'labelled') => {
    const takeover = { mode, names: [] }
    const plain = [service('plain', 'n1'), service('networked', 'n2')]
    const snapshot = snapshotOf({
      engine: view([container('c', { places })], [...networks.values()]),
      services: takenServices(plain, networks, takeover),
      namespaces: new Map(overlays.map(({ Id }) => [Id, `/run/docker/netns/1-${Id}`])),
      node: 'node1',
    })
    return withoutIdle(snapshot, takeover)
  }
  t.same(
    of('labelled').networks.map(({ name }) => name),
    ['overlay2'],
  )
  t.same(
    of('labelled').services.map(({ name }) => name),
    ['networked'],
  )
  t.equal(of('all').networks.length, 2)
  t.end()
})
