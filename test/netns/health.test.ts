/** Health checks by an agent, of backends behind its bridge, seen where it counts: ring and DNS. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { AgentClient } from '../../src/api/client.js'
import type { ServiceView } from '../../src/api/schema.js'
import { run, until, type Daemon, type Namespace } from '../lib/netns.js'
import { Stage, VIP4, VIP6 } from '../lib/stage.js'

const INTERVAL_MS = 400
const FALL = 3
/** For the last check to end, its revision to reach kernel and DNS, and a machine that is busy. */
const SLACK_MS = 5_000
const check = { interval: `${INTERVAL_MS}ms`, timeout: '300ms', rise: 2, fall: FALL }
const http = { type: 'http', path: '/health', ...check }

interface Peer {
  readonly v4: string
  readonly v6: string
  readonly id: string
  readonly space: Namespace
  readonly server: Daemon
}

class Scene {
  readonly agent: AgentClient

  private constructor(
    readonly stage: Stage,
    readonly peers: readonly Peer[],
  ) {
    this.agent = new AgentClient(stage.agent.socket)
  }

  /** Two peers and an agent that is yet to start. */
  static async build(t: Test): Promise<Scene> {
    const stage = await Stage.build(t, 0)
    const files = await certificate(stage)
    const peers: Peer[] = []
    for (const at of [0, 1]) {
      const [v4, v6] = [`10.1.0.${20 + at}`, `fd00:1::${20 + at}`]
      const space = await stage.lab.container(stage.node, `h${at}`, {
        addresses: [`${v4}/24`, `${v6}/64`],
        bridge: 'br0',
      })
      const program = join(import.meta.dirname, '../lib/healthPeer.js')
      const server = space.spawn(process.execPath, [program, `peer-${at}`, ...files])
      await server.printed(/ready/)
      peers.push({ id: `peer-${at}`, v4, v6, space, server })
    }
    return new Scene(stage, peers)
  }

  get first(): Peer {
    const [peer] = this.peers
    if (peer === undefined) throw new Error('no peer')
    return peer
  }

  /** Two services of the same backends: by VIP, and by name alone. */
  definition(health: object, sockets = false) {
    const backends = this.peers.map(({ v4, v6, id }) => ({ address: [v4, v6], slot: id }))
    const service = this.stage.service({ ports: [80], backends, health, ttl: 0 })
    const names = { name: 'names', network: 'net1', mode: 'dnsrr', ports: [80], backends, health }
    return this.stage.definition(sockets, service, names)
  }

  /** Puts a check in force and waits until it has found every backend healthy. */
  async use(health: object, sockets = false): Promise<void> {
    await this.stage.agent.apply(this.definition(health, sockets))
    await this.settled(2)
  }

  async tell(peer: Peer, line: string): Promise<void> {
    peer.server.stdout = ''
    peer.server.child.stdin?.write(`${line}\n`)
    await peer.server.printed(new RegExp(`done: ${line}`))
  }

  show(): Promise<ServiceView> {
    return this.agent.service('net1', 'web')
  }

  /** Who answers at a VIP, and which addresses the dnsrr name has. */
  async seen(): Promise<{ ids: string[]; addresses: string[] }> {
    const urls = [VIP4, `[${VIP6}]`].flatMap((host) => Array<string>(4).fill(`http://${host}/`))
    const [first = '', ...others] = urls
    const ids = new Set((await this.stage.curl(first, ...others)).stdout.trim().split('\n'))
    const addresses: string[] = []
    for (const type of ['A', 'AAAA']) {
      const { stdout } = await this.stage.client.run('dig', ['+short', 'names', type])
      addresses.push(...stdout.trim().split('\n'))
    }
    return { ids: [...ids].sort(), addresses: addresses.filter(Boolean).sort() }
  }

  /** @returns milliseconds until the second peer alone, or both, are healthy, and used */
  async settled(count: 1 | 2): Promise<number> {
    const start = performance.now()
    await until(`${count} of the peers to be used`, async () => {
      // Each of the services has checks, and a clock, of its own.
      for (const { backends } of await this.agent.services()) {
        const good = backends.filter(({ health, state }) => health?.healthy && state === 'active')
        if (good.length !== 2 * count) return false
      }
      const { desired, answering } = (await this.agent.status()).revision
      return desired === answering
    })
    return performance.now() - start
  }

  addresses(...peers: readonly Peer[]): string[] {
    return peers.flatMap(({ v4, v6 }) => [v4, v6]).sort()
  }
}

async function certificate(stage: Stage): Promise<string[]> {
  const files = ['cert.pem', 'key.pem'].map((name) => join(stage.agent.folder, name))
  await run('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
    ...['-subj', '/CN=peer.test', '-days', '2', '-out', files[0] ?? '', '-keyout', files[1] ?? ''],
  ])
  return files
}

/** Breaks the first peer and mends it again; each time looks at ring and names. */
async function leavesAndReturns(t: Test, scene: Scene, broken: string, mended: string) {
  const { first, peers } = scene
  t.same(await scene.seen(), {
    ids: ['peer-0', 'peer-1'],
    addresses: scene.addresses(...peers),
  })
  await scene.tell(first, broken)
  const out = await scene.settled(1)
  const limit = INTERVAL_MS * FALL + SLACK_MS
  t.ok(out < limit, `out after ${out.toFixed(0)} ms, limit ${limit}`)
  t.same(
    await scene.seen(),
    { ids: ['peer-1'], addresses: scene.addresses(...peers.slice(1)) },
    'neither ring nor names lead to it',
  )
  await scene.tell(first, mended)
  const back = await scene.settled(2)
  t.ok(back < limit, `back after ${back.toFixed(0)} ms`)
  t.same(await scene.seen(), {
    ids: ['peer-0', 'peer-1'],
    addresses: scene.addresses(...peers),
  })
}

t.test('an agent that checks', async (t) => {
  const scene = await Scene.build(t)
  await scene.stage.start(scene.definition(http))
  await scene.settled(2)
  await t.test('http: 503 takes a backend out, tc', (t) =>
    leavesAndReturns(t, scene, 'status 503', 'status 204'),
  )
  await t.test('the same on the socket path', async (t) => {
    await scene.use(http, true)
    await leavesAndReturns(t, scene, 'status 503', 'status 200')
  })
  await t.test('what is told of it', (t) => told(t, scene))
  await t.test('tcp', (t) => tcp(t, scene))
  await t.test('https, a certificate that nobody signed', async (t) => {
    await scene.use({ ...http, type: 'https', port: 443, host: 'peer.test' })
    await leavesAndReturns(t, scene, 'status 503', 'status 200')
    await scene.stage.agent.apply(
      scene.definition({ ...http, type: 'https', port: 443, verify: true }),
    )
    await until('the certificate to matter', async () =>
      (await scene.show()).backends.every(({ health }) => health?.result === 'certificate'),
    )
  })
  await t.test('exec', (t) => exec(t, scene))
  await t.test('all down', (t) => allDown(t, scene))
  await t.test('from where', (t) => fromWhere(t, scene))
})

async function told(t: Test, scene: Scene): Promise<void> {
  const { first, stage } = scene
  await scene.tell(first, 'status 500')
  await scene.settled(1)
  const { health, backends } = await scene.show()
  t.match(health, { type: 'http', port: 80, path: '/health', rise: 2, fall: 3, failOpen: [] })
  const found = { healthy: false, result: 'status', error: 'status 500' }
  t.match(backends[0], { state: 'down', health: found })
  const text = await stage.agent.command('show', 'net1/web')
  t.match(text, /check +http :80\/health, every 0.4 s, timeout 0.3 s, rise 2, fall 3/)
  t.match(text, /10\.1\.0\.20 +failing +\S.* +status +\d+ +\S.* +status 500/)
  const labels = ['network="net1"', 'service="web"']
  const metric = (name: string, ...more: string[]) =>
    stage.agent.metric(`fairlead_${name}`, ...labels, ...more)
  t.equal(await metric('backend_healthy', `backend="${first.v4}"`), 0)
  t.equal(await metric('backend_healthy'), 2)
  t.equal(await metric('health_fail_open'), 0)
  t.ok((await metric('health_checks_total', 'result="status"')) >= FALL)
  t.ok((await metric('health_checks_total', 'result="ok"')) > 10)
  const took = 'fairlead_health_check_duration_seconds_count'
  t.ok((await stage.agent.metric(took, 'type="http"')) > 10)
  await scene.tell(first, 'status 200')
}

async function tcp(t: Test, scene: Scene): Promise<void> {
  const { first, stage } = scene
  const closed = { type: 'tcp', ...check }
  await scene.use(closed)
  await leavesAndReturns(t, scene, 'close 80', 'open 80')
  await scene.tell(first, 'close 80')
  await scene.settled(1)
  const before = (await scene.show()).backends[0]?.health
  const definition = scene.definition(closed)
  const more = stage.service({ name: 'more', vip: '10.1.0.60', backends: [] })
  await stage.agent.apply({ ...definition, services: [...definition.services, more] })
  const [backend] = (await scene.show()).backends
  t.match(backend, { state: 'down', health: { result: 'refused' } }, 'a reload changes nothing')
  t.ok((backend?.health?.sinceSeconds ?? 0) > (before?.sinceSeconds ?? 0), 'down since then')
  t.ok((backend?.health?.consecutive ?? 0) >= (before?.consecutive ?? 0), 'and counting')
  await scene.tell(first, 'open 80')
}

async function exec(t: Test, scene: Scene): Promise<void> {
  const { first, stage } = scene
  const flag = join(stage.agent.folder, 'broken')
  // It can only reach a backend from where the bridge is.
  const script = `test ! -e ${flag}-$FAIRLEAD_ADDRESS && exec 3<>/dev/tcp/"$1"/"$2"`
  const command = ['bash', '-c', script, 'check', '{address}', '{port}']
  await scene.use({ type: 'exec', command, ...check, timeout: '500ms', interval: '500ms' })
  t.same((await scene.seen()).ids, ['peer-0', 'peer-1'])
  for (const address of [first.v4, first.v6]) writeFileSync(`${flag}-${address}`, '')
  await scene.settled(1)
  t.same((await scene.seen()).ids, ['peer-1'])
  t.match((await scene.show()).backends[0]?.health, { result: 'exit', error: /^exit 1/ })
}

async function allDown(t: Test, scene: Scene): Promise<void> {
  const { stage, peers, first } = scene
  await scene.use(http)
  for (const peer of peers) await scene.tell(peer, 'status 503')
  await until('fail open', async () => (await scene.show()).health?.failOpen.length === 2)
  await until('all to be used', async () => (await scene.seen()).ids.length === 2)
  t.same((await scene.seen()).addresses, scene.addresses(...peers), 'the names stay')
  t.match(await stage.agent.command('show', 'net1/web'), /fail open +IPv4, IPv6/)
  t.equal(await stage.agent.metric('fairlead_health_fail_open', 'service="web"'), 2)

  await scene.tell(first, 'status 200')
  await until('one to be used', async () => (await scene.seen()).ids.join() === 'peer-0')
  await stage.agent.apply(scene.definition({ ...http, quorum: 2 }))
  await until('quorum lost', async () => (await scene.show()).health?.belowQuorum.length === 2)
  for (const host of [VIP4, `[${VIP6}]`])
    await until('refusal', async () => (await stage.curl(`http://${host}/`)).code === 7)
  t.same((await scene.seen()).addresses, [], 'no names either')
  for (const peer of peers) await scene.tell(peer, 'status 200')
  await scene.settled(2)
  t.same((await scene.seen()).ids, ['peer-0', 'peer-1'])
}

async function fromWhere(t: Test, scene: Scene): Promise<void> {
  const { stage } = scene
  const elsewhere = await stage.lab.namespace('else')
  const { services } = scene.definition(http)
  const network = stage.network(false) as { attach: object }
  const put = (namespace: string) =>
    stage.agent.apply({
      networks: [{ ...network, dns: {}, attach: { ...network.attach, namespace } }],
      services,
    })
  await put(elsewhere.path)
  await until('failures', async () => (await scene.show()).health?.failOpen.length === 2)
  t.match((await scene.show()).backends[0]?.health?.error, /ENETUNREACH|EHOSTUNREACH/)
  await put(stage.node.path)
  await scene.settled(2)
  t.equal((await scene.show()).backends[0]?.health?.result, 'ok')
}
