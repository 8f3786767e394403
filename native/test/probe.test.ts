import t from 'tap'
import { release } from 'node:os'
import { capabilities, probe } from '../index.js'
import { skip } from './fixture.js'

t.test('features are booleans, and those that the tests use are there', { skip }, (t) => {
  const { release: name, programTypes, mapTypes, ...features } = probe()
  t.equal(name, release())
  for (const group of [programTypes, mapTypes, features]) {
    t.ok(Object.keys(group).length > 10)
    for (const [key, value] of Object.entries(group)) t.type(value, 'boolean', key)
  }
  t.match(programTypes, { xdp: true, sched_cls: true, cgroup_sock_addr: true })
  t.match(mapTypes, { hash: true, lru_hash: true, percpu_array: true, prog_array: true })
  t.equal(features.ringbuf, mapTypes['ringbuf'])
  t.end()
})

t.test('capabilities by name', (t) => {
  const known = capabilities()
  if (process.getuid?.() === 0) t.ok(known.has('CAP_CHOWN'))
  t.ok([...known].every((name) => /^CAP_[A-Z_]+$/.test(name)))
  t.end()
})
