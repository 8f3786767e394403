/** States laid over what sources declare. */
import t from 'tap'
import { Model } from '../../../src/model/model.js'
import type { BackendState } from '../../../src/model/types.js'
import { backend, service, snapshot } from './fixtures.js'

const one = '10.0.0.2'
const two = '10.0.0.3'

const given = (state: BackendState = 'active') =>
  snapshot([
    service('vote', { vips: ['10.0.0.9'], backends: [backend(one, { state }), backend(two)] }),
    service('other', { vips: ['10.0.0.8'], backends: [backend(one)] }),
  ])

function states(model: Model, name = 'vote'): BackendState[] {
  return model.current.services.get(`net/${name}`)?.backends.map(({ state }) => state) ?? []
}

const said = (key: string, ...rows: [string, BackendState][]) => new Map([[key, new Map(rows)]])

t.test('the worse of declared and found holds', (t) => {
  const order: BackendState[] = ['active', 'draining', 'down']
  for (const [a, declared] of order.entries()) {
    for (const [b, found] of order.entries()) {
      const model = new Model({ sources: ['file'] })
      model.publish('file', given(declared))
      model.setStates(said('net/vote', [one, found]))
      t.same(states(model), [order[Math.max(a, b)], 'active'], `${declared} and ${found}`)
    }
  }
  t.end()
})

t.test('only what changed changes, and comes back as it was', (t) => {
  const model = new Model({ sources: ['file'] })
  const before = model.publish('file', given())
  const heard: number[] = []
  model.onState(({ revision }) => void heard.push(revision))
  const down = model.setStates(said('net/vote', [one, 'down']))
  t.equal(down.revision, 2)
  t.same(states(model), ['down', 'active'])
  t.equal(down.services.get('net/other'), before.services.get('net/other'), 'the same object')
  t.equal(down.networks, before.networks)
  t.equal(down.problems, before.problems)
  t.same([...down.services.keys()], [...before.services.keys()], 'the order stays')
  t.equal(model.declared.get('net/vote'), before.services.get('net/vote'), 'declared as it was')
  t.equal(model.setStates(said('net/vote', [one, 'down'])), down, 'said again')
  t.equal(model.setStates(said('net/gone', [one, 'down'])), down, 'of nobody')
  const up = model.setStates(said('net/vote'))
  t.equal(up.services.get('net/vote'), before.services.get('net/vote'))
  t.same(heard, [2, 3])
  t.end()
})

t.test('states outlive what sources publish', (t) => {
  const model = new Model({ sources: ['file'], reporters: ['dns'] })
  model.setStates(said('net/vote', [two, 'down']))
  model.publish('file', given())
  t.same(states(model), ['active', 'down'], 'said before there was such a service')
  const before = model.current
  const { declared } = model
  t.equal(model.publish('file', given()), before, 'nothing new')
  t.equal(model.declared, declared)
  const reported = model.publish('dns', {
    networks: [],
    services: [],
    problems: [{ source: 'dns', item: 'x', code: 'HOST', reason: 'y' }],
  })
  t.equal(reported.services, before.services)
  model.publish('file', given('draining'))
  t.same(states(model), ['draining', 'down'])
  model.publish('file', snapshot([]))
  t.same(states(model), [])
  model.publish('file', given())
  t.same(states(model), ['active', 'down'], 'the service came back')
  t.end()
})

t.test('one flap among 10,000 services leaves the others the objects they were', (t) => {
  const model = new Model({ sources: ['file'] })
  const services = Array.from({ length: 10_000 }, (_, i) =>
    service(`s${i}`, {
      vips: [`10.${100 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`],
      backends: Array.from({ length: 10 }, (_, at) => backend(`10.1.${i % 250}.${at + 1}`)),
    }),
  )
  const first = model.publish('file', snapshot(services))
  for (let at = 0; at < 20; at++) {
    model.setStates(said('net/s77', ['10.1.77.1', at % 2 === 0 ? 'down' : 'active']))
  }
  const last = model.current
  t.equal(last.revision, first.revision + 20)
  const changed = [...last.services].filter(([key, value]) => first.services.get(key) !== value)
  t.ok(changed.length <= 1, 'all others are the same objects')
  t.end()
})
