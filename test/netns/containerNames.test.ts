/**
 * Names in containers: what is asked of 127.0.0.11 there is answered by the agent's listener in that
 * namespace, and by the engine's own resolver for all that is no service's, and whenever there is no
 * agent. dnsmasq is the engine here; it knows the service by another address.
 */
import { join } from 'node:path'
import { netnsCookie } from 'libbpf-ts'
import t from 'tap'
import { Resolvers } from '../../src/dataplane/resolvers.js'
import { DnsServer } from '../../src/dns/server.js'
import { namespaceInode } from '../../src/host/namespaces.js'
import { probeOpener } from '../../src/host/probes.js'
import { openListener } from '../../src/host/sockets.js'
import type { NamespaceAsker, State } from '../../src/model/types.js'
import { type Daemon, type Namespace, NetLab, sleep, until } from '../lib/netns.js'
import { SockPath } from '../lib/sockPath.js'
import { network, Recorder, service, state } from '../unit/dns/fixture.js'

const PEER = join(import.meta.dirname, '../../../test/lib/dns_peer.py')
const VIP = '10.50.0.200'
const ENGINES = '10.50.0.1'

class Scene {
  readonly seen = new Recorder()
  /** By the namespace's name. */
  readonly engines = new Map<string, Daemon>()
  readonly redirect: Resolvers
  readonly server: DnsServer
  #revision = 0

  private constructor(
    readonly lab: NetLab,
    readonly path: SockPath,
  ) {
    this.redirect = new Resolvers(path.object.map('resolvers'), path.object.map('resolving'))
    const probes = probeOpener()
    this.server = new DnsServer({
      config: { hostListen: [], upstreams: [], retryMs: [50, 100] },
      open: openListener,
      identify: namespaceInode,
      containers: {
        redirect: this.redirect,
        openStream: (namespace) => probes.socket(namespace, 4),
      },
      observer: this.seen,
    })
  }

  static async build(t: ConstructorParameters<typeof NetLab>[0] & object): Promise<Scene> {
    const lab = new NetLab(t)
    const path = await SockPath.attached(t)
    const scene = new Scene(lab, path)
    t.teardown(() => scene.server.close())
    return scene
  }

  /** A container, and the engine's resolver in it. */
  async box(name: string): Promise<Namespace> {
    const space = await this.lab.namespace(name)
    space.resolver(['127.0.0.11'], 'timeout:5 attempts:2 ndots:0')
    await this.engine(space)
    return space
  }

  async engine(space: Namespace): Promise<void> {
    const daemon = space.spawn('dnsmasq', [
      ...['--keep-in-foreground', '--conf-file=/dev/null', '--no-resolv', '--no-hosts'],
      ...['--user=root', '--pid-file=', '--bind-interfaces', '--listen-address=127.0.0.11'],
      ...[`--host-record=web,${ENGINES}`, '--host-record=c0ffee,10.50.0.77'],
      ...['--host-record=example.com,192.0.2.7', '--local=/nowhere.example/'],
      ...Array.from({ length: 12 }, (_, at) => `--txt-record=big,${`${at % 10}`.repeat(200)}`),
    ])
    await until('the engine to answer', async () => {
      const ask = ['+short', '+time=1', '+tries=1', '-b', '127.0.0.11', '@127.0.0.11', 'web']
      return (await space.run('dig', ask, { mayFail: true })).stdout.trim() === ENGINES
    })
    this.engines.set(space.name, daemon)
  }

  state(askers: readonly (NamespaceAsker & { networks?: readonly string[] })[]): State {
    const of = (name: string) => askers.filter(({ networks = ['net1'] }) => networks.includes(name))
    return state(
      [
        network('net1', { subnets: ['10.50.0.0/24'], dns: { listen: [], askers: of('net1') } }),
        network('net2', { dns: { listen: [], askers: of('net2') } }),
      ],
      [
        service('web', { network: 'net1', vips: [VIP, 'fd50::200'], ttlSeconds: 3 }),
        service('web', { network: 'net2', vips: ['10.60.0.200'] }),
        service('shop_web', { network: 'net2', vips: ['10.60.0.201'] }),
      ],
      ++this.#revision,
    )
  }

  /** By every kind of socket. */
  async ways(space: Namespace, name = 'web'): Promise<Record<string, unknown[]>> {
    const { stdout } = await space.run('python3', [PEER, name])
    return JSON.parse(stdout) as Record<string, unknown[]>
  }
}

/** What `ways` gives where `address` is the answer, and where the engine alone gives `engines`. */
function heard(address: unknown, engines: unknown): Record<string, unknown[]> {
  const at = ['127.0.0.11', 53]
  const mapped = ['::ffff:127.0.0.11', 53]
  return {
    unconnected: [address, ...at],
    connected: [address, ...at, ...at],
    stream: [address, ...at],
    'unconnected mapped': [address, ...mapped],
    'connected mapped': [address, ...mapped, ...mapped],
    'stream mapped': [address, ...mapped],
    'from the address itself': [engines, ...at],
  }
}

t.test('names in containers', async (t) => {
  const scene = await Scene.build(t)
  const { server, redirect, path, seen } = scene
  const [box, other] = [await scene.box('box'), await scene.box('other')]
  const asker: NamespaceAsker = { namespace: box.path, rank: 0 }
  await server.apply(scene.state([asker]))
  t.same(server.problems(), [])
  const run = async (file: string, ...args: string[]): Promise<string> =>
    (await box.run(file, args, { mayFail: true })).stdout.trim()

  await t.test('every kind of socket is answered, from where it asked', async (t) => {
    t.same(await scene.ways(box), heard(VIP, ENGINES))
    t.same(await scene.ways(other), heard(ENGINES, ENGINES), 'in this namespace alone')
  })

  await t.test('the clients that people have', async (t) => {
    t.equal(await run('dig', '+short', 'web'), VIP, 'dig')
    t.equal(await run('dig', '+short', 'WeB', 'AAAA'), 'fd50::200', 'AAAA, in any letters')
    t.match(
      await run('dig', '+tcp', '+noall', '+answer', 'web'),
      new RegExp(`\\b3\\s.*${VIP}`),
      'TTL',
    )
    t.match(await run('host', 'web.'), new RegExp(`${VIP}[^]*fd50::200`), 'host')
    t.match(await run('nslookup', 'web'), new RegExp(`Server:\\s*127.0.0.11\\n[^]*${VIP}`))
    t.match(await run('busybox', 'nslookup', 'web'), VIP, 'busybox')
    t.match(await run('getent', 'ahosts', 'web'), VIP, 'the C library')
    const lookup = `require('dns').resolve4('web', (e, a) => console.log(e ?? a[0]))`
    t.equal(await run(process.execPath, '-e', lookup), VIP, 'c-ares')
    t.equal(await run('dig', '+short', '-x', VIP), 'web.net1.', 'a VIP has a name')
  })

  await t.test('what is no service’s is the engine’s to say', async (t) => {
    t.equal(await run('dig', '+short', 'example.com'), '192.0.2.7')
    t.equal(await run('dig', '+short', 'c0ffee'), '10.50.0.77', 'a container')
    t.equal(await run('dig', '+short', '-x', '10.50.0.77'), 'c0ffee.', 'and its address')
    t.match(await run('dig', 'a.nowhere.example'), /NXDOMAIN/)
    t.match(await run('dig', 'nobody'), /REFUSED|NXDOMAIN|SERVFAIL/, 'whatever that is')
    const big = await run('dig', '+short', 'big', 'TXT')
    t.equal(big.split('\n').length, 12, 'an answer that takes a stream')
    t.ok(seen.exchanges.every(({ upstream }) => upstream === '127.0.0.11:53'))
    const many = await Promise.all(
      Array.from({ length: 20 }, () => run('dig', '+short', 'example.com', 'c0ffee')),
    )
    t.same(new Set(many), new Set(['192.0.2.7\n10.50.0.77']))
  })

  await t.test('an engine that is away is asked again when it is back', async (t) => {
    const engine = await scene.box('third')
    await server.apply(scene.state([asker, { namespace: engine.path, rank: 0 }]))
    t.same(await scene.ways(engine), heard(VIP, ENGINES))
    const ask = async (name: string) =>
      (await engine.run('dig', ['+short', '+time=5', '+tries=1', name])).stdout.trim()
    t.equal(await ask('example.com'), '192.0.2.7')
    await scene.engines.get(engine.name)?.stop()
    t.equal(await ask('example.com'), '', 'SERVFAIL')
    t.equal(await ask('web'), VIP, 'services go on')
    await scene.engine(engine)
    t.equal(await ask('example.com'), '192.0.2.7')
    await server.apply(scene.state([asker]))
    await until('its sockets to go', async () => {
      const { stdout } = await engine.run('ss', ['-Hlnut'])
      return stdout.trim().split('\n').length === 2
    })
    t.same(await scene.ways(engine), heard(ENGINES, ENGINES))
  })

  await t.test('several networks, in their order; the own stack first', async (t) => {
    const networks = ['net1', 'net2']
    const place = { namespace: other.path, networks }
    // net1's rank is the greater one: the same asker is told by each of its networks.
    const of = (rank1: number, stack?: string): State => {
      const made = scene.state([asker, { ...place, rank: 0, ...(stack && { stack }) }])
      const net1 = made.networks.get('net1')
      const askers = net1?.dns.askers?.map((each) =>
        each.namespace === other.path ? { ...each, rank: rank1 } : each,
      )
      const changed = new Map(made.networks)
      if (net1 && askers) changed.set('net1', { ...net1, dns: { listen: [], askers } })
      return { ...made, networks: changed }
    }
    await server.apply(of(0))
    t.same(await scene.ways(other), heard(VIP, ENGINES), 'by name')
    await server.apply(of(1))
    t.same((await scene.ways(other))['unconnected']?.[0], '10.60.0.200', 'by rank')
    t.same((await scene.ways(other, 'web.net1'))['stream']?.[0], VIP)
    await server.apply(of(1, 'shop'))
    t.same((await scene.ways(other))['unconnected']?.[0], '10.60.0.201', 'its stack’s')
    t.same((await scene.ways(other, 'web.shop'))['unconnected']?.[0], '10.60.0.201')
    await server.apply(scene.state([asker]))
  })

  await t.test('an agent that gives no sign of life is passed by', async (t) => {
    const resolving = path.object.map('resolving')
    redirect.pause()
    t.same(await scene.ways(box), heard(ENGINES, ENGINES), 'paused')
    resolving.set(0, process.hrtime.bigint() + 60_000_000_000n)
    t.same(await scene.ways(box), heard(VIP, ENGINES), 'a sign')
    resolving.set(0, process.hrtime.bigint() - 1n)
    t.same(await scene.ways(box), heard(ENGINES, ENGINES), 'too long ago')
    // And one that was killed: there is a row, and nobody at the port.
    resolving.set(0, process.hrtime.bigint() + 60_000_000_000n)
    path.object.map('resolvers').set(netnsCookie(other.path), { udp_port: 9, tcp_port: 9 })
    t.same(await scene.ways(other), heard(ENGINES, ENGINES), 'nobody listens')
  })

  await t.test('a container that is gone is let go', async (t) => {
    const brief = await scene.box('brief')
    await server.apply(scene.state([asker, { namespace: brief.path, rank: 0 }]))
    t.same(await scene.ways(brief), heard(VIP, ENGINES))
    await server.apply(scene.state([asker]))
    t.same(await scene.ways(brief), heard(ENGINES, ENGINES))
    await server.apply(scene.state([asker, { namespace: '/run/netns/flnowhere', rank: 0 }]))
    t.match(server.problems(), [{ item: 'names in /run/netns/flnowhere', code: 'HOST' }])
    await server.apply(scene.state([asker]))
    t.same(server.problems(), [])
  })

  await t.test('an agent that ends hands over', async (t) => {
    const asking = (async () => {
      const answers = new Set<string>()
      for (let at = 0; at < 20; at++) answers.add(await run('dig', '+short', '+tries=1', 'web'))
      return answers
    })()
    await sleep(100)
    await server.close()
    t.same([...(await asking)].sort(), [ENGINES, VIP].sort(), 'none is lost')
    t.same(await scene.ways(box), heard(ENGINES, ENGINES))
  })
})
