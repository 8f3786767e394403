/** Listeners inside other namespaces, where two networks may use the same addresses. */
import t from 'tap'
import { DnsServer } from '../../src/dns/server.js'
import { openListener } from '../../src/host/sockets.js'
import { namespaceInode } from '../../src/host/namespaces.js'
import { NetLab, until, type Namespace } from '../lib/netns.js'
import { freePort, network, Recorder, service, state } from '../unit/dns/fixture.js'

const LISTEN = ['10.9.0.1:53', '[fd00:9::1]:53']

t.test('two namespaces, one address, two answers', async (t) => {
  const lab = new NetLab(t)
  const spaces: Namespace[] = []
  for (const name of ['red', 'blue']) {
    const node = await lab.namespace(name)
    await lab.bridge(node, 'br0', ['10.9.0.1/24', 'fd00:9::1/64'])
    spaces.push(node)
  }
  const clients: Namespace[] = []
  for (const [at, node] of spaces.entries()) {
    const client = await lab.container(node, `c${at}`, {
      addresses: ['10.9.0.2/24', 'fd00:9::2/64'],
      bridge: 'br0',
    })
    client.resolver(['10.9.0.1'])
    clients.push(client)
  }
  const seen = new Recorder()
  const config = { hostListen: [], upstreams: [], retryMs: [50, 100] as const }
  const server = new DnsServer({ config, open: openListener, observer: seen })
  t.teardown(() => server.close())
  const networks = spaces.map((space, at) =>
    network(`net${at}`, {
      attachment: { namespace: space.path, interfaces: [], sockets: [] },
      subnets: ['10.9.0.0/24', 'fd00:9::/64'],
      dns: { listen: LISTEN },
    }),
  )
  const services = spaces.map((_, at) =>
    service('vote', { network: `net${at}`, vips: [`10.9.0.10${at}`, `fd00:9::10${at}`] }),
  )
  await server.apply(state(networks, services))
  t.same(server.problems(), [])
  t.match(
    server.listeners().map(({ open }) => open),
    [true, true, true, true],
  )
  const run = async (client: Namespace, ...args: string[]): Promise<string> =>
    (await client.run(args[0] ?? '', args.slice(1))).stdout.trim()
  for (const [at, client] of clients.entries()) {
    const vip = `10.9.0.10${at}`
    for (const by of ['10.9.0.1', 'fd00:9::1']) {
      for (const how of ['+notcp', '+tcp']) {
        const dig = ['dig', '+short', how, `@${by}`]
        t.equal(await run(client, ...dig, 'vote', 'A'), vip, `net${at} ${by} ${how}`)
      }
    }
    t.match(await run(client, 'getent', 'ahostsv4', 'vote'), vip)
    t.match(await run(client, 'getent', 'ahostsv6', 'vote'), `fd00:9::10${at}`)
    t.match(await run(client, 'getent', 'hosts', vip), `vote.net${at}`)
    t.equal(await run(client, 'dig', '+short', '-x', `fd00:9::10${at}`), `vote.net${at}.`)
  }

  const [kept, gone] = networks
  if (kept === undefined || gone === undefined) throw new Error('two networks were made')
  await server.apply(state([kept], services, 2))
  t.equal(server.listeners().length, 2)
  const [, blue] = clients
  const silent = await blue?.run('dig', ['+time=1', '+tries=1', 'vote'], { mayFail: true })
  t.equal(silent?.code, 9, 'nobody listens there any more')

  const nowhere = { namespace: '/run/netns/flnowhere', interfaces: [], sockets: [] }
  await server.apply(state([kept, { ...gone, attachment: nowhere }], services, 3))
  t.match(server.problems(), [{ code: 'HOST' }, { code: 'HOST' }])
  t.match(server.problems()[0]?.reason, /flnowhere/)
})

t.test('a namespace that is replaced under its path is followed', async (t) => {
  const lab = new NetLab(t)
  const seen = new Recorder()
  const server = new DnsServer({
    config: { hostListen: [], upstreams: [], retryMs: [50, 60_000] },
    open: openListener,
    identify: namespaceInode,
    observer: seen,
  })
  t.teardown(() => server.close())
  const path = `/run/netns/${lab.prefix}-node`
  const net = network('net', {
    attachment: { namespace: path, interfaces: [], sockets: [] },
    dns: { listen: ['127.0.0.1:53'] },
  })
  await server.apply(state([net], [service('vote', { network: 'net', vips: ['10.9.0.9'] })]))
  t.match(server.problems(), [{ code: 'HOST' }], 'not there yet')
  for (const title of ['it comes', 'another one comes in its place']) {
    const node = await lab.namespace('node')
    await until(title, async () => {
      const dig = ['+short', '+time=1', '+tries=1', '@127.0.0.1', 'vote']
      return (await node.run('dig', dig, { mayFail: true })).stdout.trim() === '10.9.0.9'
    })
    t.same(server.problems(), [], title)
    await lab.remove(node)
    await until('the loss to be told', () => server.problems().length === 1)
  }
})

t.test('a namespace that comes while sockets are opened is missed when it goes', async (t) => {
  // What its path has at each look: mounted between the first and the second, gone at last.
  const looks: (number | undefined)[] = [undefined, 7]
  let now: number | undefined = 7
  const server = new DnsServer({
    config: { hostListen: [], upstreams: [], retryMs: [50, 100] },
    open: async ({ namespace, ...request }) => {
      if (looks.length === 0 && now === undefined) throw new Error(`${namespace} is gone`)
      return openListener(request)
    },
    identify: () => Promise.resolve(looks.length > 0 ? looks.shift() : now),
    observer: new Recorder(),
  })
  t.teardown(() => server.close())
  const net = network('net', {
    attachment: { namespace: '/run/netns/flmoving', interfaces: [], sockets: [] },
    dns: { listen: [`127.0.0.1:${await freePort()}`] },
  })
  await server.apply(state([net], []))
  await until('it to be opened', () => server.problems().length === 0)
  now = undefined
  await until('the loss to be told', () => server.problems().length === 1)
})
