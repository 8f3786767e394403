import t from 'tap'
import { silent } from '../../../../src/host/log.js'
import type { Snapshot } from '../../../../src/model/types.js'
import { EngineApi } from '../../../../src/sources/docker/api.js'
import { infoShape } from '../../../../src/sources/docker/shapes.js'
import { SwarmSource } from '../../../../src/sources/swarm/source.js'
import type { Takeover } from '../../../../src/sources/takeover.js'
import { until } from '../../../lib/netns.js'
import { FakeEngine } from '../docker/fakeEngine.js'
import { container, network, view } from '../docker/fixtures.js'

const overlay = network({
  ...{ Id: 'n1', Name: 'overlay1', Driver: 'overlay', Scope: 'swarm' },
  IPAM: { Config: [{ Subnet: '10.0.1.0/24' }] },
})

const local = container('c', { places: [{ id: 'n1', v4: '10.0.1.4' }] })

function looked(state: string, manager = true) {
  const Swarm = { NodeID: 'a', LocalNodeState: state, ControlAvailable: manager }
  return { ...view([], [overlay]), info: infoShape.parse({ Name: 'n', Swarm }) }
}

const all: Takeover = { mode: 'all', names: [] }

async function start(t: { teardown: (end: () => Promise<void>) => void }, takeover = all) {
  const fake = new FakeEngine()
  await fake.listen()
  const told: Snapshot[] = []
  const source = new SwarmSource({
    api: new EngineApi({ socketPath: fake.socketPath, timeoutMs: 300 }),
    open: async () => Promise.reject(new Error('no sockets here')),
    node: 'node1',
    resolver: 'none',
    edge: false,
    tunnels: false,
    exchange: 0,
    takeover,
    onSnapshot: (snapshot) => told.push(snapshot),
    log: silent,
  })
  t.teardown(async () => {
    await source.close()
    await fake.remove()
  })
  return { fake, told, source }
}

const service = {
  ...{ ID: 's1', CreatedAt: '2026-01-01T00:00:00Z' },
  Spec: { Name: 'vote', TaskTemplate: { Networks: [{ Target: 'n1' }] } },
  Endpoint: { VirtualIPs: [{ NetworkID: 'n1', Addr: '10.0.1.2/24' }] },
}

t.test('without a swarm it says nothing, once, and asks nothing', async (t) => {
  const { fake, told, source } = await start(t)
  source.see(looked('inactive'))
  await until('a snapshot', () => told.length > 0)
  t.same(told, [{ networks: [], services: [], problems: [] }])
  source.see(looked('inactive'))
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.equal(told.length, 1)
  t.same(fake.asked, [])
})

t.test('a manager asks again and tells what differs', async (t) => {
  const { fake, told, source } = await start(t)
  fake.answers.set('/services', [service]).set('/tasks', []).set('/nodes', [])
  source.see(looked('active'))
  await until('the service', () => told.at(-1)?.services.length === 1)
  const count = told.length
  fake.answers.set('/services', [])
  await until('its end', () => told.at(-1)?.services.length === 0)
  t.equal(told.length, count + 1, 'what does not differ is not told')
})

t.test('what the store said stays while it does not answer', async (t) => {
  const { fake, told, source } = await start(t)
  fake.answers.set('/services', [service]).set('/tasks', []).set('/nodes', [])
  source.see(looked('active'))
  await until('the service', () => told.at(-1)?.services.length === 1)
  const count = told.length
  await fake.stop()
  source.see(looked('active'))
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  t.equal(told.length, count)
  fake.answers.set('/services', [])
  await fake.listen()
  await until('what it says now', () => told.at(-1)?.services.length === 0)
})

t.test('trouble with the answers is told, and goes', async (t) => {
  const { fake, told, source } = await start(t)
  fake.answers.set('/services', []).set('/tasks', []).set('/nodes', [])
  const onNetwork = { ...looked('active'), ...view([local], [overlay]) }
  fake.networks.set('n1', { Services: {} })
  source.see({ ...onNetwork, info: looked('active').info })
  await until('a snapshot', () => told.length > 0)
  await fake.stop()
  await until('the trouble', () => told.at(-1)?.problems[0]?.code === 'ENGINE')
  t.equal(told.at(-1)?.networks.length, 1, 'what was known stays')
  await fake.listen()
  await until('the trouble to go', () => told.at(-1)?.problems.length === 0)
})

t.test('a node that is about to join, or has lost its swarm, keeps what it has', async (t) => {
  const { fake, told, source } = await start(t)
  const state = (LocalNodeState: string) =>
    (fake.info = { Name: 'n', Swarm: { LocalNodeState, ControlAvailable: true } })
  fake.answers.set('/services', [service]).set('/tasks', []).set('/nodes', [])
  state('pending')
  source.see(looked('active'))
  await until('the service', () => told.at(-1)?.services.length === 1)
  source.see(looked('pending'))
  const asked = fake.asked.length
  await until('it to ask', () => fake.asked.slice(asked).some((path) => path.endsWith('/info')))
  t.equal(told.at(-1)?.services.length, 1)
  state('inactive')
  await until('the end', () => told.at(-1)?.services.length === 0)
})

t.test(
  'told to serve nothing it asks nothing; a label brings a service, and takes it away',
  async (t) => {
    const idle = await start(t, { mode: 'none', names: [] })
    idle.source.see(looked('active'))
    await until('a snapshot', () => idle.told.length > 0)
    t.same(idle.told, [{ networks: [], services: [], problems: [] }])
    t.same(idle.fake.asked, [])

    const { fake, told, source } = await start(t, { mode: 'labelled', names: [] })
    const labelled = {
      ...service,
      Spec: { ...service.Spec, Labels: { 'fairlead.enable': 'true' } },
    }
    fake.answers.set('/services', [service]).set('/tasks', []).set('/nodes', [])
    source.see(looked('active'))
    await until('a snapshot', () => told.length > 0)
    t.same(told.at(-1), { networks: [], services: [], problems: [] })
    fake.answers.set('/services', [labelled])
    await until('the service', () => told.at(-1)?.services.length === 1)
    t.equal(told.at(-1)?.networks.length, 1)
    fake.answers.set('/services', [service])
    await until('its end', () => told.at(-1)?.services.length === 0)
    t.equal(told.at(-1)?.networks.length, 0)
  },
)
