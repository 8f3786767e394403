import t from 'tap'
import { EngineApi } from '../../../../src/sources/docker/api.js'
import { containerShape, infoShape } from '../../../../src/sources/docker/shapes.js'
import { FakeEngine, told } from './fakeEngine.js'

async function fake(t: { teardown: (end: () => Promise<void>) => void }): Promise<FakeEngine> {
  const engine = new FakeEngine()
  await engine.listen()
  t.teardown(async () => engine.remove())
  return engine
}

t.test('the older of both versions is spoken', async (t) => {
  const engine = await fake(t)
  for (const [offered, spoken] of [
    ['1.41', '1.41'],
    ['1.25', '1.25'],
    ['1.99', '1.47'],
    ['2.0', '1.47'],
    ['', '1.25'],
  ] as const) {
    engine.apiVersion = offered
    const api = new EngineApi({ socketPath: engine.socketPath })
    await api.negotiate()
    t.equal(api.version, spoken, offered)
    await api.get('/info', infoShape)
    t.equal(engine.asked.at(-1), `/v${spoken}/info`)
  }
  engine.apiVersion = '1.12'
  const old = new EngineApi({ socketPath: engine.socketPath })
  await t.rejects(old.negotiate(), { code: 'ENGINE', message: /1\.12 is older than 1\.25/ })
})

t.test('answers', async (t) => {
  const engine = await fake(t)
  engine.containers.set('one', told('one'))
  engine.containers.set('odd', { Id: 7 })
  const api = new EngineApi({ socketPath: engine.socketPath })
  const one = await api.get('/containers/one/json', containerShape)
  t.match(one, { Id: 'one', Config: { Labels: {} }, NetworkSettings: { Networks: {} } })
  t.notOk(one !== undefined && 'Unknown' in one, 'unknown fields are let by')
  t.equal(await api.get('/containers/none/json', containerShape), undefined)
  await t.rejects(api.get('/containers/odd/json', containerShape), {
    code: 'SCHEMA',
    message: /not of a known shape: Id/,
  })
})

t.test('an engine that hangs, or is not there', async (t) => {
  const engine = await fake(t)
  engine.hung = true
  const api = new EngineApi({ socketPath: engine.socketPath, timeoutMs: 50 })
  await t.rejects(api.negotiate(), { code: 'ENGINE', message: /_ping.*no answer within 0.05 s/ })
  await engine.stop()
  await t.rejects(api.negotiate(), { code: 'ENGINE', message: /ENOENT|ECONNREFUSED/ })
})

t.test('a stream ends with a line that is no event', async (t) => {
  const engine = await fake(t)
  const api = new EngineApi({ socketPath: engine.socketPath })
  const heard: unknown[] = []
  const stream = await api.events({ type: ['container'] }, (event) => heard.push(event))
  t.match(engine.asked.at(-1), encodeURIComponent('{"type":["container"]}'))
  engine.tell({ a: 1 })
  engine.tell('{"b": 2}\n\n{"c":')
  engine.tell(' 3}')
  await stream.ended
  t.same(heard, [{ a: 1 }, { b: 2 }])
})
