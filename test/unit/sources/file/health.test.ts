/** The `health` field: what is written, what becomes of it, and what is refused. */
import t from 'tap'
import { stringify } from 'yaml'
import { parseFile } from '../../../../src/sources/file/parse.js'

function parsed(health: unknown, ports: unknown[] = ['53/udp', '80:8080']) {
  const text = stringify({
    version: 1,
    networks: [{ name: 'net', subnets: ['10.0.0.0/24'] }],
    services: [{ name: 'web', network: 'net', ports, backends: ['10.0.0.5'], health }],
  })
  const outcome = parseFile('f.yaml', text)
  if (!outcome.ok) throw new Error(JSON.stringify(outcome.mistakes))
  const [entry] = outcome.file.services
  return { check: entry?.items[0]?.health, mistakes: entry?.mistakes ?? [] }
}

t.test('defaults', (t) => {
  const timing = { intervalMs: 5000, timeoutMs: 2000, rise: 2, fall: 3 }
  const statuses = [[200, 399]]
  const web = { port: 8080, path: '/', statuses, verify: false }
  t.same(parsed({ type: 'tcp' }).check, { type: 'tcp', ...timing, port: 8080 }, 'first TCP port')
  t.same(parsed({ type: 'http' }).check, { type: 'http', ...timing, ...web })
  t.same(parsed({ type: 'https' }).check, { type: 'https', ...timing, ...web })
  const command = ['/bin/true', '{address}']
  t.same(parsed({ type: 'exec', command }, []).check, { type: 'exec', ...timing, command })
  t.match(parsed({ type: 'tcp', interval: '500ms' }).check, { intervalMs: 500, timeoutMs: 500 })
  t.equal(parsed(undefined).check, undefined)
  t.end()
})

t.test('all that can be said', (t) => {
  const said = {
    ...{ type: 'https', port: 8443, interval: '1m', timeout: 1.5, rise: 1, fall: 5, quorum: 3 },
    ...{ path: '/up?x=1', host: 'a.example:8443', status: [200, '204-206'], verify: true },
  }
  t.same(parsed(said).check, {
    ...{ type: 'https', port: 8443, intervalMs: 60_000, timeoutMs: 1500, rise: 1, fall: 5 },
    ...{ quorum: 3, path: '/up?x=1', host: 'a.example:8443', verify: true },
    statuses: [
      [200, 200],
      [204, 206],
    ],
  })
  t.match(parsed({ type: 'http', status: '500-599' }).check, { statuses: [[500, 599]] })
  t.end()
})

t.test('mistakes', (t) => {
  const command = ['x']
  const cases: [unknown, string, RegExp, unknown[]?][] = [
    [{}, 'health.type', /is missing; must be one of tcp, http, https, exec/],
    [{ type: 'ping' }, 'health.type', /must be one of .* got "ping"/],
    ['tcp', 'health', /must be a mapping/],
    [{ type: 'tcp', prot: 80 }, 'health.prot', /did you mean port\?/],
    [{ type: 'tcp', path: '/' }, 'health.path', /only for type http and https/],
    [{ type: 'http', command }, 'health.command', /only for type exec/],
    [{ type: 'http', verify: true }, 'health.verify', /only for type https/],
    [{ type: 'tcp' }, 'health', /has no port, and the service has no TCP port/, ['53/udp']],
    [{ type: 'http' }, 'health', /has no port/, []],
    [{ type: 'exec' }, 'health', /has no command/],
    [{ type: 'exec', command: [] }, 'health.command', /must name a program/],
    [{ type: 'exec', command: ['x', '{port}'] }, 'health.command', /names \{port\}/, []],
    [{ type: 'tcp', interval: '50ms' }, 'health.interval', /a duration 100ms\.\.3600s/],
    [{ type: 'tcp', timeout: '6s' }, 'health.timeout', /must be at most the interval \(5s\)/],
    [{ type: 'tcp', rise: 0 }, 'health.rise', /an integer 1\.\.1000, got 0/],
    [{ type: 'tcp', fall: 1.5 }, 'health.fall', /an integer/],
    [{ type: 'tcp', quorum: 0 }, 'health.quorum', /an integer/],
    [{ type: 'http', path: 'up' }, 'health.path', /a path that begins with \//],
    [{ type: 'http', path: '/a\r\nx: y' }, 'health.path', /a path/],
    [{ type: 'http', host: 'a b' }, 'health.host', /a host name/],
    [{ type: 'http', host: 'a\r\nx: y' }, 'health.host', /a host name/],
    [{ type: 'http', status: 99 }, 'health.status', /a status 100\.\.599/],
    [{ type: 'http', status: '300-200' }, 'health.status', /a status/],
    [{ type: 'http', status: [200, 'ok'] }, 'health.status', /a status/],
    [{ type: 'http', status: [] }, 'health.status', /at least one/],
    [{ type: 'https', verify: 'yes' }, 'health.verify', /true or false/],
  ]
  for (const [health, field, reason, ports] of cases) {
    const { check, mistakes } = parsed(health, ports)
    const [mistake] = mistakes
    const what = JSON.stringify(health)
    t.equal(check, undefined, what)
    t.match(mistake?.place, new RegExp(`^f.yaml:\\d+:\\d+ services\\[0\\]\\.${field}`), what)
    t.match(mistake?.reason, reason, what)
  }
  t.end()
})
