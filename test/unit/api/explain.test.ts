/** The question as it is asked over HTTP, and the answer in words. */
import t from 'tap'
import { explanationView, questionOf } from '../../../src/api/explain.js'
import { explanationSchema, type ExplainParameters } from '../../../src/api/schema.js'
import { backendReasons, type Explanation, matches, wayKinds } from '../../../src/model/explain.js'

const asked: ExplainParameters = { client: '10.1.0.8', vip: '10.1.0.9:80', protocol: 'tcp' }

t.test('ends are addresses with or without a port', (t) => {
  t.same(questionOf(asked), {
    client: { address: '10.1.0.8' },
    vip: { address: '10.1.0.9', port: 80 },
    protocol: 'tcp',
    established: false,
  })
  const six = { ...asked, client: '[FD00::8]:9', vip: '[fd00::0:9]:80' }
  t.match(questionOf(six), {
    client: { address: 'fd00::8', port: 9 },
    vip: { address: 'fd00::9', port: 80 },
  })
  t.match(questionOf({ ...asked, client: 'fd00::8' }), { client: { address: 'fd00::8' } })
  const rest = { network: 'Net1', path: 'sock', established: 'true' } as const
  t.match(questionOf({ ...asked, ...rest }), { network: 'net1', path: 'sock', established: true })
  for (const wrong of [{ vip: '10.1.0.9' }, { client: 'web:80' }, { vip: '10.1.0.9:99999' }])
    t.throws(() => questionOf({ ...asked, ...wrong }), { code: 'VALUE' }, JSON.stringify(wrong))
  t.end()
})

const translated: Explanation = {
  path: 'tc',
  network: 'net1',
  protocol: 'tcp',
  client: { address: '10.1.0.8', port: 40_000 },
  vip: { address: '10.1.0.9', port: 80 },
  first: true,
  outcome: 'translated',
  match: 'port',
  service: 'net1/web',
  source: 'allowed',
  choice: { algorithm: 'rr', by: 'turn', slots: 2, slot: 1, placed: 7, certain: true },
  backend: { address: '10.1.0.11', port: 8080 },
  seenAs: { address: '10.1.0.8', port: 1234 },
  way: { kind: 'neighbour', nextHop: '10.1.0.11', interface: 'br0', state: 'reachable' },
  backends: backendReasons.map((reason, at) => ({
    ...{ address: `10.1.0.${at}`, weight: 1, state: 'active' as const },
    ...{ active: 0, slots: 1, reason },
  })),
  events: ['collision'],
}

t.test('the answer fits its schema, and every step has its words', (t) => {
  const view = explanationView(translated)
  t.same(explanationSchema.parse(view), view)
  t.same(
    view.steps.map(({ step }) => step),
    ['packet', 'match', 'source', 'choice', 'way', 'outcome'],
  )
  const texts = view.steps.map(({ text }) => text).join('\n')
  for (const part of ['net1/web', 'slot 1 of 2', '10.1.0.11:8080', 'br0', '10.1.0.8:1234'])
    t.ok(texts.includes(part), part)
  for (const { text, reason } of view.backends) t.ok(text.length > 0, reason)
  for (const match of matches) t.ok(explanationView({ ...translated, match }).steps[1]?.text, match)
  for (const kind of wayKinds) {
    const steps = explanationView({ ...translated, way: { kind } }).steps
    t.notOk(steps.some(({ text }) => text.includes('undefined')))
  }
  t.end()
})
