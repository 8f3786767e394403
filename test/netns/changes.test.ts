/** What changes in the file while it is used, and what becomes of connections that are open. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ALGORITHMS } from '../../src/model/types.js'
import { Held } from '../lib/held.js'
import type { Namespace } from '../lib/netns.js'
import { Stage, VIP4, VIP6 } from '../lib/stage.js'

t.setTimeout(180_000)

interface Open {
  readonly title: string
  readonly held: Held
}

/** A stage with one client on each path; `definition(service, network)` replaces their fields. */
class Clients {
  private constructor(
    readonly stage: Stage,
    private readonly plain: Namespace,
  ) {}

  static async build(t: Test): Promise<Clients> {
    const stage = await Stage.build(t, 2)
    const addresses = ['10.1.0.7/24', 'fd00:1::7/64']
    const plain = await stage.lab.container(stage.node, 'plain', { addresses, bridge: 'br0' })
    return new Clients(stage, plain)
  }

  get spaces(): readonly (readonly [string, Namespace])[] {
    return [
      ['sock', this.stage.client],
      ['tc', this.plain],
    ]
  }

  definition(service: object = {}, network: object = {}) {
    const { stage } = this
    return {
      networks: [{ ...stage.network(true), ...network }],
      services: [stage.service(service)],
    }
  }

  /** A connection for each path and family. */
  async open(): Promise<Open[]> {
    const all = this.spaces.flatMap(([path, space]) =>
      [VIP4, VIP6].map(async (host) => ({
        title: `${path} ${host}`,
        held: await Held.open(space, host),
      })),
    )
    return Promise.all(all)
  }

  /** Every path and family gets an answer over a new connection. */
  async dial(t: Test, why: string): Promise<void> {
    for (const [path, space] of this.spaces)
      for (const host of [VIP4, `[${VIP6}]`]) {
        const args = ['-sS', '--max-time', '10', `http://${host}/`]
        const { stdout } = await space.run('curl', args, { mayFail: true })
        t.match(stdout, /^backend-/, `${why}: a new one, ${path} ${host}`)
      }
  }
}

t.test('the algorithm changes under open connections', async (t) => {
  const clients = await Clients.build(t)
  const { agent } = clients.stage
  await clients.stage.start(clients.definition())
  const open = await clients.open()
  for (const algorithm of [...ALGORITHMS.slice(1), 'rr']) {
    await agent.apply(clients.definition({ algorithm }))
    t.match(await agent.command('show', 'web', '--json'), `"algorithm": "${algorithm}"`)
    for (const { title, held } of open)
      t.equal(await held.step(algorithm), 'acknowledged', `${algorithm}: ${title} goes on`)
  }
  await clients.dial(t, 'afterwards')
  for (const { title, held } of open) t.match(await held.end(), /^backend-/, title)
  for (const path of ['tc', 'sock'])
    t.equal(await agent.metric('fairlead_connections_total', `path="${path}"`), 4, path)
})

for (const [what, service, network, name] of [
  ['network', { network: 'other' }, { name: 'other' }, 'web.other'],
  ['service', { name: 'other' }, {}, 'other.net1'],
] as const)
  t.test(`a ${what} is renamed: names follow, open connections end`, async (t) => {
    const clients = await Clients.build(t)
    const { agent, client } = clients.stage
    await clients.stage.start(clients.definition())
    const open = await clients.open()
    const resolve = async (of: string) => (await client.run('dig', ['+short', of])).stdout.trim()
    t.equal(await resolve('web.net1'), VIP4)
    await agent.apply(clients.definition(service, network))
    t.equal(await resolve(name), VIP4)
    t.equal(await resolve('web.net1'), '')
    await clients.dial(t, 'renamed')
    for (const { title, held } of open) {
      t.match(await held.step('more'), /ConnectionReset|ConnectionAborted|BrokenPipe/, title)
    }
    t.same(JSON.parse(await agent.command('problems', '--json')), { problems: [] })
  })

t.test('a service moves from one network to another', async (t) => {
  const stage = await Stage.build(t, 1)
  const { lab, node, agent } = stage
  await lab.bridge(node, 'br1', ['10.2.0.2/24'])
  const other = await lab.container(node, 'other', { addresses: ['10.2.0.8/24'], bridge: 'br1' })
  const target = await lab.container(node, 'target', { addresses: ['10.2.0.10/24'], bridge: 'br1' })
  const peer = [join(import.meta.dirname, '../lib/peer.js'), 'there']
  await target.spawn(process.execPath, peer).printed(/ready/)
  const networks = [
    stage.network(false),
    {
      name: 'net2',
      subnets: ['10.2.0.0/24'],
      reserved: ['10.2.0.2'],
      attach: { bridge: 'br1' },
      dns: { listen: ['10.2.0.2'] },
    },
  ]
  const here = { name: 'web', network: 'net1', ports: [80], backends: ['10.1.0.10'] }
  const there = { name: 'web', network: 'net2', ports: [80], backends: ['10.2.0.10'] }
  const vipOf = async (space: Namespace, server: string): Promise<string> =>
    (await space.run('dig', ['+short', `@${server}`, 'web', 'A'])).stdout.trim()
  await stage.start({ networks, services: [here] })
  const before = await vipOf(stage.client, '10.1.0.2')
  t.match((await stage.curl(`http://${before}/`)).stdout, 'backend-0')
  t.equal(await vipOf(other, '10.2.0.2'), '', 'unknown in the other network')

  await agent.apply({ networks, services: [there] })
  const after = await vipOf(other, '10.2.0.2')
  t.match(after, /^10\.2\.0\.\d+$/, 'a VIP of its new network')
  const dialled = await other.run('curl', ['-sS', '--max-time', '10', `http://${after}/`])
  t.equal(dialled.stdout.trim(), 'there')
  t.equal(await vipOf(stage.client, '10.1.0.2'), '', 'unknown where it was')
  t.not(
    (await stage.curl(`http://${before}/`, '--connect-timeout', '1')).code,
    0,
    'and its VIP gone',
  )
})

t.test('a network of IPv6 alone, with an automatic VIP', async (t) => {
  const clients = await Clients.build(t)
  const { stage } = clients
  const backends = stage.backends.map(({ v6 }) => v6)
  await stage.start(
    clients.definition(
      { vip: 'auto', backends },
      {
        subnets: ['fd00:1::/64'],
        pool: ['fd00:1::9:0/112'],
        reserved: ['fd00:1::2'],
        dns: { listen: ['[fd00:1::2]:53'] },
      },
    ),
  )
  const dig = (...args: string[]) => stage.client.run('dig', ['@fd00:1::2', 'web', ...args])
  const vip = (await dig('+short', 'AAAA')).stdout.trim()
  t.match(vip, /^fd00:1::9:[0-9a-f]+$/)
  t.match((await dig('A')).stdout, /status: NOERROR.*ANSWER: 0, AUTHORITY: 1/s, 'NODATA for A')
  t.match((await dig('+short', '-x', vip)).stdout, /^web\.net1\.$/m, 'the way back')
  for (const [path, space] of clients.spaces) {
    const ids = new Set<string>()
    for (let request = 0; request < 4; request++)
      ids.add((await space.run('curl', ['-sS', '--max-time', '10', `http://[${vip}]/`])).stdout)
    t.equal(ids.size, 2, `${path}: balanced`)
    t.equal(await stage.agent.metric('fairlead_connections_total', `path="${path}"`), 4)
    await space.run('ping', ['-6', '-c1', '-W2', vip])
  }
  t.same(JSON.parse(await stage.agent.command('problems', '--json')), { problems: [] })
})
