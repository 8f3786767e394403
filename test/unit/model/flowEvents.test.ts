/** Which events of flows a filter lets through. */
import t from 'tap'
import {
  type FlowEvent,
  type FlowEventFilter,
  flowEventMatches,
} from '../../../src/model/flowEvents.js'
import { parseEnd } from '../../../src/model/flows.js'

const event: FlowEvent = {
  ...{ time: '2026-01-02T09:30:01.204518Z', kind: 'reset', path: 'tc', protocol: 'tcp' },
  client: { address: '10.1.0.8', port: 40_000 },
  vip: { address: '10.1.0.9', port: 80 },
  backend: { address: '10.1.0.10', port: 8080 },
  ...{ service: 'net1/web', network: 'net1' },
}

t.test('each part of a filter alone', (t) => {
  const filters: readonly (readonly [FlowEventFilter, FlowEventFilter])[] = [
    [{ kinds: ['opened', 'reset'] }, { kinds: ['opened', 'closed'] }],
    [{ network: 'net1' }, { network: 'net' }],
    [{ service: 'web' }, { service: 'we' }],
    [{ service: 'net1/web' }, { service: 'net2/web' }],
    [{ client: parseEnd('10.1.0.0/28') }, { client: parseEnd('10.1.0.0/29') }],
    [{ client: parseEnd(':40000') }, { client: parseEnd('10.1.0.8:40001') }],
    [{ vip: parseEnd('10.1.0.9:80') }, { vip: parseEnd('10.1.0.9:81') }],
    [{ backend: parseEnd('10.1.0.10') }, { backend: parseEnd('10.1.0.11') }],
  ]
  for (const [yes, no] of filters) {
    t.ok(flowEventMatches(event, yes), Object.keys(yes).join())
    t.notOk(flowEventMatches(event, no), Object.keys(no).join())
  }
  t.ok(flowEventMatches(event, {}))
  t.notOk(flowEventMatches(event, { kinds: ['reset'], service: 'api' }), 'all of them hold')
  t.end()
})

t.test('what is not known matches nothing that is asked for', (t) => {
  const { client, backend, service, ...less } = event
  t.ok(client && backend && service)
  t.ok(flowEventMatches(less, { network: 'net1', vip: parseEnd(':80') }))
  const asked = [
    ...[{ client: parseEnd('10.1.0.8') }, { backend: parseEnd(':8080') }],
    { service: 'web' },
  ]
  for (const filter of asked) t.notOk(flowEventMatches(less, filter), Object.keys(filter).join())
  t.end()
})
