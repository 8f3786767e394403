/** The source as the model sees it; probes are told what to find, and time is moved by hand. */
import t from 'tap'
import { Model } from '../../../../src/model/model.js'
import type { HealthChecked, ServiceHealth } from '../../../../src/model/observe.js'
import type { HealthCheck, ServiceSpec, State } from '../../../../src/model/types.js'
import type { Target } from '../../../../src/sources/health/probe.js'
import { HealthSource } from '../../../../src/sources/health/source.js'
import { backend, network, service, snapshot } from '../../model/fixtures.js'
import { FakeClock } from './fakeClock.js'

const a = '10.0.0.1'
const b = '10.0.0.2'
const check: HealthCheck = {
  type: 'tcp',
  port: 80,
  intervalMs: 100,
  timeoutMs: 50,
  rise: 2,
  fall: 3,
}

function web(given: Partial<ServiceSpec> = {}): ServiceSpec {
  return service('web', {
    vips: ['10.0.0.9'],
    backends: [backend(a), backend(b)],
    health: check,
    ...given,
  })
}

/** A model with a health source beside it, wired as main does. */
function subject() {
  const clock = new FakeClock()
  const model = new Model({ sources: ['file'] })
  const failing = new Set<string>()
  const probed: Target[] = []
  const checked: HealthChecked[] = []
  const source = new HealthSource({
    opener: { socket: () => Promise.reject(new Error()), command: () => [] },
    onStates: (changes) => model.setStates(changes),
    observer: { checked: (each) => void checked.push(each) },
    clock,
    random: () => 0.5,
    probe: (target) => {
      probed.push(target)
      return Promise.resolve(
        failing.has(target.address) ? { result: 'refused', error: 'no' } : { result: 'ok' },
      )
    },
  })
  const states: State[] = []
  model.onState((state) => {
    states.push(state)
    source.apply(state.networks, model.declared)
  })
  const publish = (...services: ServiceSpec[]) => model.publish('file', snapshot(services))
  const down = (): string[] =>
    [...model.current.services.values()].flatMap(({ backends }) =>
      backends.filter(({ state }) => state === 'down').map(({ address }) => address),
    )
  const view = (): ServiceHealth => {
    const found = source.of('net/web')
    if (found === undefined) throw new Error('not checked')
    return found
  }
  return { clock, model, failing, probed, checked, source, states, publish, down, view }
}

t.test('a backend leaves after fall failures and comes back after rise successes', async (t) => {
  const { clock, failing, publish, down, view, checked, states } = subject()
  publish(web())
  await clock.move(99)
  t.same(down(), [])
  t.equal(view().backends.get(a)?.healthy, true, 'the first check is within the interval')
  failing.add(a)
  await clock.move(200)
  t.same(down(), [], 'two failures are not three')
  t.equal(view().backends.get(a)?.consecutive, 2)
  await clock.move(100)
  t.same(down(), [a])
  failing.delete(a)
  await clock.move(100)
  t.same(down(), [a])
  await clock.move(100)
  t.same(down(), [])
  t.equal(states.length, 3, 'a revision each, and none for results that change nothing')
  t.same(
    [...view().results],
    [
      ['ok', 9],
      ['refused', 3],
    ],
  )
  t.equal(checked.length, 12)
  const { sinceSeconds = 0, ageSeconds = 0 } = view().backends.get(a) ?? {}
  t.ok(sinceSeconds < 0.1 && ageSeconds < 0.1)
})

t.test('what is new and fails is out at once', async (t) => {
  const { clock, failing, publish, down, view } = subject()
  failing.add(a)
  publish(web())
  t.equal(view().backends.get(a)?.healthy, undefined)
  await clock.move(99)
  t.same(down(), [a])
  t.equal(view().backends.get(a)?.error, 'no')
})

t.test('all down: all are used, and it can be seen', async (t) => {
  const { clock, failing, publish, down, view } = subject()
  publish(web())
  await clock.move(99)
  failing.add(a)
  await clock.move(300)
  t.same(down(), [a])
  failing.add(b)
  await clock.move(300)
  t.same(down(), [])
  t.same(view().failOpen, [4])
  failing.delete(b)
  await clock.move(200)
  t.same(down(), [a])
  t.same(view().failOpen, [])
})

t.test('below quorum none is used', async (t) => {
  const { clock, failing, publish, down, view } = subject()
  publish(web({ health: { ...check, quorum: 2 } }))
  failing.add(a)
  await clock.move(99)
  t.same(down(), [a, b])
  t.same(view().belowQuorum, [4])
  failing.delete(a)
  await clock.move(200)
  t.same(down(), [])
})

t.test('backends that fall together make one revision', async (t) => {
  const { clock, failing, publish, states } = subject()
  const many = Array.from({ length: 200 }, (_, i) => `10.0.1.${i + 1}`)
  publish(web({ backends: [...many, a].map((address) => backend(address)) }))
  await clock.move(99)
  for (const address of many) failing.add(address)
  await clock.move(300)
  t.equal(states.length, 2)
})

t.test('a reload leaves checks alone that it does not change', async (t) => {
  const { clock, failing, publish, down, probed, view } = subject()
  publish(web())
  failing.add(a)
  await clock.move(99)
  t.same(down(), [a])
  await clock.move(26)
  const before = probed.length
  publish(web({ algorithm: 'random', backends: [backend(b), backend(a), backend('10.0.0.3')] }))
  t.same(down(), [a], 'it stays down')
  t.equal(view().backends.get(a)?.consecutive, 1, 'and counts on')
  await clock.move(49)
  t.same(
    probed.slice(before).map(({ address }) => address),
    [a, b],
    'at the moment it would have had',
  )
  await clock.move(10)
  t.same(probed.at(-1)?.address, '10.0.0.3')
  t.equal(view().backends.size, 3)
})

t.test('a check that changes keeps the verdict until it has its own', async (t) => {
  const { clock, failing, publish, down, view } = subject()
  publish(web())
  failing.add(a)
  await clock.move(99)
  publish(web({ health: { ...check, port: 81 } }))
  t.same(down(), [a])
  t.equal(view().backends.get(a)?.consecutive, 0)
  failing.delete(a)
  await clock.move(99)
  t.same(down(), [a], 'one success is not two')
  await clock.move(100)
  t.same(down(), [])
})

t.test('declared states, and what leaves', async (t) => {
  const { clock, model, failing, publish, down, probed, source } = subject()
  publish(web({ backends: [backend(a, { state: 'down' }), backend(b, { state: 'draining' })] }))
  await clock.move(99)
  t.same(
    probed.map(({ address }) => address),
    [b],
    'what is held down is not asked',
  )
  t.equal(model.current.services.get('net/web')?.backends[1]?.state, 'draining')
  failing.add(a)
  publish(web())
  await clock.move(99)
  t.same(down(), [a])
  publish(service('web', { vips: ['10.0.0.9'], backends: [backend(a), backend(b)] }))
  await clock.move(20)
  t.same(down(), [], 'without a check nothing is known')
  t.same([...source.all()], [])
  const count = probed.length
  await clock.move(500)
  t.equal(probed.length, count)
  publish(web())
  await clock.move(99)
  t.same(down(), [a])
  publish()
  publish(web())
  await clock.move(20)
  t.same(down(), [], 'a service that went and came is a new one')
})

t.test('a namespace that changes', async (t) => {
  const { clock, model, probed } = subject()
  const give = (namespace: string) =>
    model.publish(
      'file',
      snapshot(
        [web()],
        [network('net', { attachment: { namespace, interfaces: [], sockets: [] } })],
      ),
    )
  give('/run/netns/x')
  await clock.move(99)
  give('/run/netns/y')
  await clock.move(99)
  t.same(
    probed.map(({ namespace }) => namespace),
    ['/run/netns/x', '/run/netns/x', '/run/netns/y', '/run/netns/y'],
  )
})

t.test('nothing comes after close', async (t) => {
  const { clock, failing, publish, source, states, probed } = subject()
  publish(web())
  failing.add(a)
  await clock.move(50)
  source.close()
  source.close()
  const before = [states.length, probed.length]
  await clock.move(1000)
  t.same([states.length, probed.length], before)
})
