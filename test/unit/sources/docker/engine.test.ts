import t from 'tap'
import { EngineApi } from '../../../../src/sources/docker/api.js'
import { Engine, type EngineView } from '../../../../src/sources/docker/engine.js'
import { networkShape } from '../../../../src/sources/docker/shapes.js'
import { silent } from '../../../../src/host/log.js'
import { until } from '../../../lib/netns.js'
import { FakeEngine, told } from './fakeEngine.js'

interface Followed {
  readonly fake: FakeEngine
  readonly views: EngineView[]
  readonly troubles: (string | undefined)[]
}

async function follow(
  t: { teardown: (end: () => Promise<void>) => void },
  before: (fake: FakeEngine) => void = () => undefined,
): Promise<Followed> {
  const fake = new FakeEngine()
  before(fake)
  await fake.listen()
  const views: EngineView[] = []
  const troubles: (string | undefined)[] = []
  const api = new EngineApi({ socketPath: fake.socketPath, timeoutMs: 300 })
  const engine = new Engine(api, {
    onView: (view) => views.push(view),
    onTrouble: (reason) => troubles.push(reason),
    log: silent,
    quietMs: 100,
    maxBackoffMs: 200,
  })
  engine.start()
  t.teardown(async () => {
    await engine.close()
    await fake.remove()
  })
  await until('the first look', () => views.length > 0)
  return { fake, views, troubles }
}

function ids({ views }: Followed): string {
  return [...(views.at(-1)?.containers.keys() ?? [])].sort().join()
}

t.test('what is there is found, what comes and goes is followed', async (t) => {
  const followed = await follow(t, (fake) => fake.containers.set('a', told('a')))
  const { fake } = followed
  t.equal(ids(followed), 'a')
  fake.containers.set('b', told('b'))
  fake.happen('b', 'start')
  await until('b', () => ids(followed) === 'a,b')
  fake.containers.delete('a')
  fake.happen('a', 'destroy')
  await until('a to go', () => ids(followed) === 'b')
})

t.test('only what an event names is asked for again', async (t) => {
  const { fake, views } = await follow(t, (fake) => {
    for (const id of ['a', 'b', 'c']) fake.containers.set(id, told(id))
  })
  fake.asked.length = 0
  const seen = views.length
  fake.happen('b', 'exec_start: sh')
  fake.happen('b', 'health_status: healthy')
  await until('another look', () => views.length > seen)
  t.same(
    fake.asked.filter((path) => !path.includes('_ping')),
    ['/v1.41/containers/b/json'],
  )
})

t.test('a container that is told to stop, until it has stopped', async (t) => {
  const { fake, views } = await follow(t, (fake) => {
    fake.containers.set('a', told('a'))
    const config = { Hostname: '', Labels: null, StopSignal: 'SIGQUIT' }
    fake.containers.set('q', told('q', { Config: config }))
  })
  const stopping = (id: string) => views.at(-1)?.containers.get(id)?.stopping
  const kill = async (id: string, signal: string): Promise<boolean | undefined> => {
    const seen = views.length
    fake.happen(id, 'kill', { signal })
    await until('another look', () => views.length > seen)
    return stopping(id)
  }
  t.equal(await kill('a', '1'), false, 'SIGHUP is its own business')
  t.equal(await kill('a', '15'), true)
  t.equal(await kill('q', '15'), false, 'it has another stop signal')
  t.equal(await kill('q', '3'), true)
  const seen = views.length
  fake.happen('a', 'die')
  await until('another look', () => views.length > seen)
  t.equal(stopping('a'), true, 'an answer from before its end does not make it serve again')
  fake.containers.set('a', told('a', { State: { Running: false } }))
  fake.happen('a', 'die')
  await until('its end', () => stopping('a') === false)
})

t.test('a network that only a container tells of', async (t) => {
  const network = { Id: 'n1', Name: 'overlay1', Driver: 'overlay', Scope: 'swarm', IPAM: null }
  const { fake, views } = await follow(t)
  fake.networks.set('n1', network)
  const networks = { overlay1: { NetworkID: 'n1', IPAddress: '10.0.0.2' } }
  fake.containers.set('a', told('a', { NetworkSettings: { SandboxKey: '', Networks: networks } }))
  fake.happen('a', 'start')
  await until('the network', () => views.at(-1)?.networks.get('n1')?.Name === 'overlay1')
  fake.networks.delete('n1')
  fake.containers.delete('a')
  fake.happen('a', 'destroy')
  fake.tell({ Type: 'network', Action: 'destroy', Actor: { ID: 'n1', Attributes: {} } })
  await until('its end', () => views.at(-1)?.networks.size === 0)
})

t.test('a stream that is lost is opened again, and what was missed is found', async (t) => {
  const followed = await follow(t, (fake) => fake.containers.set('a', told('a')))
  const { fake, troubles } = followed
  await fake.stop()
  await until('the trouble', () => troubles.at(-1) !== undefined)
  t.equal(ids(followed), 'a', 'what was known stays')
  fake.containers.delete('a')
  fake.containers.set('b', told('b'))
  await fake.listen()
  await until('b', () => ids(followed) === 'b')
  t.equal(troubles.at(-1), undefined)
  for (const stream of fake.streams) stream.end()
  fake.containers.set('c', told('c'))
  await until('c', () => ids(followed) === 'b,c')
})

t.test('an engine that hangs is noticed though its stream stays open', async (t) => {
  const followed = await follow(t, (fake) => fake.containers.set('a', told('a')))
  const { fake, troubles } = followed
  fake.hung = true
  await until('the trouble', () => troubles.at(-1)?.includes('no answer') === true)
  t.equal(ids(followed), 'a')
  fake.hung = false
  await until('the trouble to go', () => troubles.at(-1) === undefined)
})

t.test('an answer that makes no sense costs what it is about, and nothing else', async (t) => {
  const followed = await follow(t, (fake) => fake.containers.set('a', told('a')))
  const { fake, troubles, views } = followed
  fake.containers.set('b', { Id: 'b', Name: 3 })
  fake.containers.set('c', told('c'))
  fake.happen('b', 'start')
  fake.happen('c', 'start')
  await until('c', () => ids(followed) === 'a,c')
  t.match(views.at(-1)?.leftOut.get('container b'), /known shape: Name/)
  fake.containers.set('b', told('b'))
  fake.happen('b', 'start')
  await until('b', () => ids(followed) === 'a,b,c')
  t.equal(views.at(-1)?.leftOut.size, 0)
  t.same(troubles.filter(Boolean), [])
})

t.test('a network of an unknown shape in the list, too', async (t) => {
  const bad: string[] = []
  const fake = new FakeEngine()
  fake.networks.set('odd', { Id: 'odd', Name: 7 })
  fake.networks.set('n1', { Id: 'n1', Name: 'net1', Driver: 'bridge', Scope: 'local', IPAM: null })
  await fake.listen()
  t.teardown(async () => fake.remove())
  const onBadItem = (reason: string): unknown => bad.push(reason)
  const api = new EngineApi({ socketPath: fake.socketPath, onBadItem })
  t.same(
    (await api.list('/networks', networkShape)).map(({ Name }) => Name),
    ['net1'],
  )
  t.match(bad, [/networks item 0 is not of a known shape: Name/])
})
