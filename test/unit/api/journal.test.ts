import t from 'tap'
import { Journal } from '../../../src/api/journal.js'
import { changeSchema } from '../../../src/api/liveSchema.js'
import type { HealthReport } from '../../../src/model/observe.js'
import { Model } from '../../../src/model/model.js'
import type { Backend, Service, State } from '../../../src/model/types.js'
import { network, service, stateOf } from '../metrics/fixture.js'

const five: Backend = { address: '10.0.0.5', weight: 1, state: 'active' }
const six: Backend = { address: '10.0.0.6', weight: 1, state: 'active' }
const at = '2026-03-04T05:06:07.000Z'
const clock = (): Date => new Date(at)

/** What is noted of the second of two states. */
function between(
  before: readonly Service[],
  after: readonly Service[],
  more: Partial<State> = {},
  health?: HealthReport,
) {
  const journal = new Journal({ clock, health: () => health })
  journal.note(stateOf(before))
  journal.note({ ...stateOf(after), revision: 8, ...more })
  const noted = journal.newestFirst().filter(({ revision }) => revision === 8)
  for (const change of noted) changeSchema.parse(change)
  t.ok(noted.every((change) => change.at === at))
  const left = ['id', 'at', 'revision']
  return noted
    .toReversed()
    .map((change) =>
      Object.fromEntries(Object.entries(change).filter(([name]) => !left.includes(name))),
    )
}

t.test('the first state is where it starts', (t) => {
  const journal = new Journal({ clock })
  journal.note(stateOf([service({})]))
  t.same(journal.newestFirst(), [
    { id: 1, at, revision: 7, kind: 'started', subject: '1 service on 1 network' },
  ])
  journal.note(stateOf([service({})]))
  t.equal(journal.newestFirst().length, 1, 'what is equal is no change')
  t.end()
})

t.test('services, their fields and backends', (t) => {
  const subject = 'overlay1/vote'
  const of = (...backends: Backend[]) => [service({ backends })]
  t.same(between([], of(five)), [{ kind: 'service-added', subject }])
  t.same(between(of(five), []), [{ kind: 'service-removed', subject }])
  t.same(between(of(five), of(five, six)), [
    { kind: 'backend-added', subject, backend: '10.0.0.6', to: 'active' },
  ])
  t.same(between(of(five, six), of(five)), [
    { kind: 'backend-removed', subject, backend: '10.0.0.6' },
  ])
  t.same(between(of(five), of({ ...five, weight: 3, state: 'draining' })), [
    { kind: 'backend-state', subject, backend: '10.0.0.5', from: 'active', to: 'draining' },
    { kind: 'backend-weight', subject, backend: '10.0.0.5', from: '1', to: '3' },
  ])
  t.same(between([service({})], [service({ algorithm: 'maglev', vips: ['10.0.0.8'] })]), [
    { kind: 'service-changed', subject, to: 'algorithm, vips' },
  ])
  t.same(between([service({})], [service({ tableSize: 251 })]), [
    { kind: 'service-changed', subject, to: 'tableSize' },
  ])
  t.end()
})

t.test('why a backend is down', (t) => {
  const found = { healthy: false, error: 'connect ECONNREFUSED', consecutive: 3 }
  const health: HealthReport = {
    all: () => [],
    of: () => ({
      ...{ service: 'overlay1/vote', failOpen: [], belowQuorum: [], results: new Map() },
      backends: new Map([['10.0.0.5', found]]),
    }),
  }
  const [change] = between(
    [service({ backends: [five] })],
    [service({ backends: [{ ...five, state: 'down' }] })],
    {},
    health,
  )
  t.match(change, { to: 'down', reason: 'connect ECONNREFUSED' })
  t.end()
})

t.test('networks and problems', (t) => {
  const [one, two] = [network('one', ['10.1.0.0/24']), network('two', ['10.2.0.0/24'])]
  const journal = new Journal({ clock })
  const problem = { source: 'file', item: 'service a/b', code: 'VALUE', reason: 'no port' }
  journal.note(stateOf([], [], [one]))
  journal.note(stateOf([], [problem], [two]))
  journal.note(stateOf([], [], [{ ...two, reserved: ['10.2.0.1'] }]))
  t.match(journal.newestFirst().toReversed().slice(1), [
    { kind: 'network-added', subject: 'two' },
    { kind: 'network-removed', subject: 'one' },
    { kind: 'problem', subject: 'service a/b', reason: 'no port' },
    { kind: 'network-changed', subject: 'two' },
    { kind: 'problem-solved', subject: 'service a/b' },
  ])
  t.end()
})

t.test('it is bounded: in all, and of one revision', (t) => {
  const many = (count: number) =>
    Array.from({ length: count }, (_, at) => service({ name: `s${at}` }))
  const kinds = between([], many(80)).map((change) => change['kind'])
  t.equal(kinds.length, 51)
  t.equal(kinds.at(-1), 'more')
  const journal = new Journal({ clock })
  for (let at = 0; at < 600; at++) journal.note(stateOf(many(at % 2)))
  const ids = journal.newestFirst().map(({ id }) => id)
  t.equal(ids.length, 500)
  t.same([ids[0], ids.at(-1)], [600, 101])
  t.end()
})

t.test('states of a model, whose maps share what is equal', (t) => {
  const model = new Model({ sources: ['file'] })
  const journal = new Journal({ clock })
  model.onState((state) => journal.note(state))
  const spec = { ...service({ backends: [five, six] }), autoVips: [] }
  const networks = [network('overlay1', ['10.0.0.0/24'])]
  model.publish('file', { networks, services: [spec], problems: [] })
  model.setStates(new Map([['overlay1/vote', new Map([['10.0.0.6', 'down']])]]))
  t.match(journal.newestFirst(), [
    { kind: 'backend-state', backend: '10.0.0.6', from: 'active', to: 'down' },
    { kind: 'started' },
  ])
  t.end()
})

t.test('listeners are told until they stop', (t) => {
  const journal = new Journal({ clock })
  const seen: number[] = []
  const stop = journal.onChanges((changes) => seen.push(changes.length))
  journal.note(stateOf([]))
  journal.note(stateOf([service({})]))
  stop()
  journal.note(stateOf([]))
  t.same(seen, [1, 1])
  t.end()
})
