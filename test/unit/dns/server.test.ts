/** Listeners follow the state; what cannot be opened is told, and tried again. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import t from 'tap'
import { DnsServer } from '../../../src/dns/server.js'
import type { Problem } from '../../../src/model/types.js'
import { dig, freePort, network, pause, Recorder, scene, serve, service, state } from './fixture.js'

function make(extra: Partial<ConstructorParameters<typeof DnsServer>[0]> = {}): DnsServer {
  const config = { hostListen: [], upstreams: [] }
  return new DnsServer({ config, observer: new Recorder(), ...extra })
}

t.test('each listener sees its own network, the host’s all in order', async (t) => {
  const [one, two, host] = [await freePort(), await freePort(), await freePort()]
  const seen = new Recorder()
  const server = make({
    config: {
      hostListen: [`127.0.0.1:${host}`],
      hostNetworks: ['overlay2', 'overlay1'],
      upstreams: [],
    },
    observer: seen,
  })
  t.teardown(() => server.close())
  const base = scene([`127.0.0.1:${one}`])
  const networks = new Map(base.networks)
  networks.set('overlay2', network('overlay2', { dns: { listen: [`127.0.0.1:${two}`] } }))
  await server.apply({ ...base, networks })
  const short = async (port: number, name: string): Promise<string> =>
    (await dig(port, '+short', name)).text.trim()
  t.equal(await short(one, 'vote'), '10.0.0.9')
  t.equal(await short(two, 'vote'), '10.0.2.10')
  t.equal(await short(one, 'secret'), '')
  t.equal(await short(two, 'secret'), '10.0.2.9')
  t.equal(await short(host, 'vote'), '10.0.2.10')
  t.equal(await short(host, 'vote.overlay1'), '10.0.0.9')
  t.equal(await short(host, 'ballot'), '10.0.0.9')
  t.same(
    seen.answers.map((answer) => answer.network),
    ['overlay1', 'overlay2', 'overlay1', 'overlay2', 'host', 'host', 'host'],
  )
})

t.test('a new state answers from the next query on, listeners come and go', async (t) => {
  const { server, port } = await serve(t)
  const other = await freePort()
  const vip = async (at: number): Promise<string> => (await dig(at, '+short', 'vote')).text.trim()
  t.equal(await vip(port), '10.0.0.9')
  const next = (...listen: string[]): ReturnType<typeof state> =>
    state([network('overlay1', { dns: { listen } })], [service('vote', { vips: ['10.0.0.99'] })], 8)
  await server.apply(next(`127.0.0.1:${port}`, `127.0.0.1:${other}`))
  t.same([await vip(port), await vip(other)], ['10.0.0.99', '10.0.0.99'])
  await server.apply(next(`127.0.0.1:${other}`))
  t.equal((await dig(port, '+time=1', 'vote')).status, 'NONE')
  t.equal(await vip(other), '10.0.0.99')
  t.match(server.listeners(), [{ network: 'overlay1', port: other, open: true }])
  await Promise.all([
    server.apply(next()),
    server.apply(next(`127.0.0.1:${port}`)),
    server.apply(next(`127.0.0.1:${other}`)),
  ])
  t.match(server.listeners(), [{ port: other, open: true }], 'the newest of several')
  t.equal(server.listeners().length, 1)
  await server.close()
  await server.close()
  t.same(server.listeners(), [])
})

t.test('an address that is taken: told, tried again, the others unaffected', async (t) => {
  const [taken, free] = [await freePort(), await freePort()]
  const squatter = createSocket('udp4')
  squatter.bind(taken, '127.0.0.1')
  await once(squatter, 'listening')
  const told: (readonly Problem[])[] = []
  const server = make({
    config: { hostListen: [], upstreams: [], retryMs: [30, 60] },
    onProblem: (problems) => told.push(problems),
  })
  t.teardown(() => server.close())
  await server.apply(scene([`127.0.0.1:${taken}`, `127.0.0.1:${free}`]))
  t.match(server.problems(), [{ source: 'dns', item: 'listener of overlay1', code: 'HOST' }])
  t.match(server.problems()[0]?.reason, new RegExp(`127.0.0.1:${taken}.*EADDRINUSE`))
  t.match(server.listeners(), [{ open: false, reason: /EADDRINUSE/ }, { open: true }])
  t.equal((await dig(free, 'vote')).status, 'NOERROR')
  await pause(200)
  t.equal(told.length, 1, 'not once for each attempt')
  await new Promise<void>((resolve) => squatter.close(resolve))
  for (let at = 0; at < 50 && server.problems().length > 0; at++) await pause(20)
  t.same(server.problems(), [])
  t.same(told.at(-1), [], 'told that it is over')
  t.equal((await dig(taken, 'vote')).status, 'NOERROR')
})

t.test('a listener that makes no sense is told', async (t) => {
  const server = make()
  t.teardown(() => server.close())
  await server.apply(scene(['nonsense']))
  t.match(server.problems(), [{ code: 'VALUE', item: 'network overlay1 dns nonsense' }])
})

t.test('a wrong configuration is refused', (t) => {
  const of = (config: object): (() => DnsServer) => {
    return () => make({ config: { hostListen: [], upstreams: [], ...config } })
  }
  t.throws(of({ upstreams: ['a.b'] }), { code: 'CONFIG' })
  t.throws(of({ hostListen: ['1.2.3.4:99999'] }), { code: 'CONFIG' })
  t.throws(of({ upstreams: Array.from({ length: 4 }, () => '127.0.0.1') }), { code: 'CONFIG' })
  t.end()
})

t.test('another namespace needs an opener; a refusal by it is told', async (t) => {
  const attachment = { namespace: '/nowhere', interfaces: [], sockets: [] }
  const of = state([network('far', { attachment, dns: { listen: ['10.0.0.2:53'] } })], [])
  const alone = make()
  const refused = make({ open: () => Promise.reject(new Error('no such namespace')) })
  t.teardown(() => Promise.all([alone.close(), refused.close()]))
  await Promise.all([alone.apply(of), refused.apply(of)])
  t.match(alone.problems(), [{ reason: /other namespaces/ }])
  t.match(refused.problems(), [{ reason: /10\.0\.0\.2:53: no such namespace/ }])
})

t.test('IPv6', async (t) => {
  const port = await freePort('::1')
  const server = make()
  t.teardown(() => server.close())
  await server.apply(scene([`[::1]:${port}`]))
  t.same((await dig(port, '@::1', 'vote')).answer, ['vote. 3 IN A 10.0.0.9'])
  t.equal((await dig(port, '@::1', '+tcp', 'vote')).status, 'NOERROR')
})
