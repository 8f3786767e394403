/** Which ports the kernel's settings name. */
import t from 'tap'
import { parseRanges, portsOfSockets, routesTo } from '../../../src/host/routes.js'

t.test('reserved ports as the kernel writes them', (t) => {
  t.same(parseRanges('8080,9148-9150\n'), [
    { first: 8080, last: 8080 },
    { first: 9148, last: 9150 },
  ])
  t.same(parseRanges('\n'), [])
  t.end()
})

t.test('ports that sockets are given', (t) => {
  t.equal(portsOfSockets({ first: 1, last: 1023 }), 0, 'not privileged ones')
  t.ok(portsOfSockets({ first: 1024, last: 65_535 }) > 0)
  t.end()
})

t.test('a route to this node itself', async (t) => {
  const routes = await routesTo(['127.0.0.1', '::1'])
  t.same(routes.get('127.0.0.1'), { device: 'lo', source: '127.0.0.1', local: true })
  t.equal(routes.get('::1')?.local, true)
  t.equal(routes.size, 2)
  t.equal((await routesTo([])).size, 0)
})
