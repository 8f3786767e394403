/** Which backends new flows go to: state, weight, priority and node, in that order. */
import t from 'tap'
import { serviceRing, servingBackends } from '../../../src/model/ring.js'
import type { Backend } from '../../../src/model/types.js'

const backend = (host: number, extra: Partial<Backend> = {}): Backend => ({
  ...{ address: `10.0.0.${host}`, weight: 1, state: 'active' },
  ...extra,
})

function hosts(backends: readonly Backend[], locality?: 'prefer-local'): number[] {
  const serving = servingBackends(backends, locality, 'here')
  return serving.map(({ address }) => Number(address.split('.')[3]))
}

t.test('failover: the least priority number of which one is usable', (t) => {
  const standby = backend(3, { priority: 7 })
  t.same(hosts([standby, backend(1), backend(2)]), [1, 2])
  t.same(hosts([standby, backend(1, { state: 'down' }), backend(2)]), [2])
  t.same(hosts([standby, backend(1, { state: 'down' }), backend(2, { state: 'draining' })]), [3])
  t.same(hosts([standby, backend(1, { weight: 0 })]), [3], 'one without weight is not usable')
  t.same(hosts([backend(1, { state: 'draining' })]), [1], 'if nothing else is')
  t.end()
})

t.test('prefer-local: those of this node, and the others if there are none', (t) => {
  const local = backend(1, { node: 'here' })
  const remote = backend(2, { node: 'there' })
  const unknown = backend(3)
  t.same(hosts([remote, local, unknown]), [2, 1, 3], 'only where it is asked for')
  t.same(hosts([remote, local, unknown], 'prefer-local'), [1])
  t.same(hosts([remote, { ...local, state: 'down' }, unknown], 'prefer-local'), [2, 3])
  t.same(hosts([remote, { ...local, state: 'draining' }, unknown], 'prefer-local'), [2, 3])
  t.same(hosts([remote, { ...local, weight: 0 }, unknown], 'prefer-local'), [2, 3])
  t.same(hosts([remote, { ...local, priority: 1 }], 'prefer-local'), [2], 'priority comes first')
  t.end()
})

t.test('one slot a backend for lc and wlc, a table for sh and maglev', (t) => {
  const backends = [backend(1, { weight: 5 }), backend(2)]
  const idOf = (address: string) => Number(address.split('.')[3])
  const ring = (algorithm: 'lc' | 'wlc' | 'sh' | 'maglev', tableSize?: number) =>
    serviceRing({ algorithm, ...(tableSize !== undefined && { tableSize }) }, backends, idOf)
  t.same(ring('lc'), [1, 2])
  t.same(ring('wlc'), [1, 2])
  t.equal(ring('sh').length, 4093)
  t.equal(ring('maglev').length, 65_537)
  t.equal(ring('maglev', 251).length, 251)
  t.same(serviceRing({ algorithm: 'maglev' }, [], idOf), [])
  t.end()
})
