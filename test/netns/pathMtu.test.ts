/**
 * Path-MTU discovery through a VIP: ten megabytes over a hop that takes less than the ends think, on
 * every path, in both families, wherever the hop may be. Without the errors, or with errors about
 * packets that their receiver never sent, a transfer stands still for good.
 */
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Agent } from '../lib/agent.js'
import { EdgeLan, LAN, setAlias } from '../lib/edgeLan.js'
import { addChain, DEFAULT, forwarding, route, serve, SMALL_MTU } from '../lib/hops.js'
import { NetLab, type Namespace } from '../lib/netns.js'
import { bulk } from '../lib/peer.js'

t.setTimeout(240_000)

const BYTES = 10_000_000
const TUNNEL = { 4: 20, 6: 40 } as const

const folder = mkdtempSync(join(tmpdir(), 'fairlead-mtu-'))
const payload = join(folder, 'payload')
const content = Buffer.concat([...bulk(BYTES)])
writeFileSync(payload, content)
const digest = createHash('sha256').update(content).digest('hex')
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

interface Host {
  readonly v4: string
  readonly v6: string
}

function urls({ v4, v6 }: Host): [4 | 6, string, string][] {
  return [
    [4, v4, `http://${v4}/`],
    [6, v6, `http://[${v6}]/`],
  ]
}

/** The MTU that a host has learned of the path to another, or undefined. */
async function learned(space: Namespace, to: string): Promise<number | undefined> {
  const found = JSON.parse(await space.ip('-j', 'route', 'get', to)) as {
    metrics?: { mtu?: number }[]
  }[]
  return found[0]?.metrics?.[0]?.mtu
}

async function post(t: Test, from: Namespace, to: Host, what: string): Promise<void> {
  for (const [family, , url] of urls(to)) {
    const sent = await from.run(
      'curl',
      ['-sS', '--max-time', '15', '-H', 'expect:', '--data-binary', `@${payload}`, url],
      { mayFail: true },
    )
    t.equal(sent.stdout.trim(), digest, `${what}: IPv${family}, to the backend ${sent.stderr}`)
  }
}

async function get(t: Test, from: Namespace, to: Host, what: string): Promise<void> {
  for (const [family, , url] of urls(to)) {
    const got = await from.run('bash', [
      ...['-c', 'curl -sS --max-time 15 "$0" | sha256sum', `${url}bulk?${BYTES}`],
    ])
    t.equal(got.stdout.split(' ')[0], digest, `${what}: IPv${family}, to the client ${got.stderr}`)
  }
}

async function clientLearns(t: Test, from: Namespace, to: Host, less: typeof TUNNEL | 0) {
  for (const [family, address] of urls(to)) {
    const wanted = SMALL_MTU - (less === 0 ? 0 : less[family])
    t.equal(await learned(from, address), wanted, `the client has learned it of ${address}`)
  }
}

t.test('from containers', async (t) => {
  const lab = new NetLab(t)
  const node = await lab.namespace('node')
  await lab.bridge(node, 'br0', ['10.1.0.1/24', 'fd00:1::1/64'])
  const near = await addChain(lab, node, 21, 1)
  const far = await addChain(lab, node, 22, 2)
  await Promise.all([near, far].map(({ end }) => serve(end, 'peer.js', 'far')))
  const clients = { tc: undefined, sock: undefined } as Record<string, Namespace | undefined>
  for (const [at, name] of ['tc', 'sock'].entries()) {
    const addresses = [`10.1.0.${7 + at}/24`, `fd00:1::${7 + at}/64`]
    const client = await lab.container(node, name, { addresses, bridge: 'br0' })
    await route(client, DEFAULT, ['10.1.0.1', 'fd00:1::1'])
    clients[name] = client
  }
  const vips = {
    near: { v4: '10.1.0.98', v6: 'fd00:1::98' },
    far: { v4: '10.1.0.99', v6: 'fd00:1::99' },
  }
  const agent = new Agent(lab, node, 'node')
  const service = (name: 'near' | 'far', backend: Host) => ({
    ...{ name, network: 'net1', vip: [vips[name].v4, vips[name].v6], ports: [80] },
    backends: [{ address: [backend.v4, backend.v6] }],
  })
  agent.write({
    networks: [
      {
        ...{ name: 'net1', subnets: ['10.1.0.0/24', 'fd00:1::/64'] },
        attach: { bridge: 'br0', sockets: [clients['sock']?.path ?? ''] },
      },
    ],
    services: [service('near', near), service('far', far)],
  })
  agent.start('--detach-on-exit')
  await agent.ready(60_000)
  for (const path of ['tc', 'sock'] as const) {
    const client = clients[path]
    if (!client) throw new Error('no client')
    for (const [name, chain] of [
      ['near', near],
      ['far', far],
    ] as const) {
      const what = `${path}, the ${name === 'near' ? "node's own link" : 'link between routers'}`
      await post(t, client, vips[name], what)
      await get(t, client, vips[name], what)
      // A socket that was balanced when it connected has the backend's own route.
      await clientLearns(t, client, path === 'tc' ? vips[name] : chain, 0)
    }
  }
  const told = await agent.metric('fairlead_events_total', 'event="icmp_error"', 'path="tc"')
  t.ok(told >= 4, `${told} errors were translated`)
})

/** Services of the entry node by name, each with a VIP of its own. */
const SERVICES = [
  ...['localNear', 'localFar', 'entry', 'entryNear', 'entryFar', 'entryTunnel'],
  ...['dsrMac', 'dsrTunnel', 'dsrTunnelHop'],
  ...['entryAlias', 'entryFarAlias', 'entryTunnelAlias'],
  ...['snatNear', 'snatFar'],
] as const
type ServiceName = (typeof SERVICES)[number]

const vipOf = (name: string): Host => {
  const at = 140 + (SERVICES as readonly string[]).indexOf(name)
  return { v4: `192.0.2.${at}`, v6: `2001:db8::${at}` }
}

/** A node behind a router whose link to it is small, with a backend, and itself a host for DSR. */
async function addSmallNode(
  lan: EdgeLan,
): Promise<{ node: Namespace; agent: Agent; backend: Host }> {
  const { lab, wireTap } = lan
  const router = await wireTap('r30', ['192.0.2.5/24', '2001:db8::5/64'])
  const node = await lab.namespace('node2')
  await lab.wire(
    { space: router, link: 'down0', addresses: ['10.30.1.1/24', 'fd00:30:1::1/64'] },
    { space: node, link: 'eth0', addresses: ['10.30.1.2/24', 'fd00:30:1::2/64'] },
  )
  await router.ip('link', 'set', 'down0', 'mtu', `${SMALL_MTU}`)
  await node.ip('link', 'set', 'eth0', 'mtu', `${SMALL_MTU}`)
  await route(node, DEFAULT, ['10.30.1.1', 'fd00:30:1::1'])
  await route(lan.entry, ['10.30.1.0/24', 'fd00:30:1::/64'], ['192.0.2.5', '2001:db8::5'])
  for (const space of [router, node]) await forwarding(space)
  await lab.bridge(node, 'br0', ['10.31.0.1/24', 'fd00:31::1/64'])
  const backend = { v4: '10.31.0.10', v6: 'fd00:31::10' }
  const space = await lab.container(node, 'b31', {
    addresses: [`${backend.v4}/24`, `${backend.v6}/64`],
    bridge: 'br0',
  })
  await route(space, DEFAULT, ['10.31.0.1', 'fd00:31::1'])
  await Promise.all([serve(space, 'peer.js', 'b31'), serve(node, 'peer.js', 'node2')])
  return { node, agent: new Agent(lab, node, 'node2'), backend }
}

/** A client behind two routers whose link is small. */
async function addAway(lan: EdgeLan): Promise<Namespace> {
  const { lab } = lan
  const router = await lan.wireTap('r40', ['192.0.2.6/24', '2001:db8::6/64'])
  const { end } = await addChain(lab, router, 40, 1)
  for (const space of [lan.client, lan.entry, lan.node, lan.host])
    await route(space, ['10.40.0.0/16', 'fd00:40::/32'], ['192.0.2.6', '2001:db8::6'])
  await end.run('ethtool', ['-K', 'eth0', 'tx', 'off'])
  await route(router, ['10.40.9.0/24', 'fd00:40:9::/48'], ['192.0.2.1', '2001:db8::1'])
  return end
}

async function holdVips(space: Namespace, ...names: ServiceName[]): Promise<void> {
  await space.sysctl('net.ipv4.conf.all.arp_ignore', '1')
  await space.sysctl('net.ipv4.conf.all.arp_announce', '2')
  for (const { v4, v6 } of names.map(vipOf)) {
    await space.ip('address', 'add', v4, 'dev', 'lo')
    await space.ip('address', 'add', v6, 'dev', 'lo', 'nodad')
  }
}

t.test('from outside, by XDP', async (t) => {
  const lan = await EdgeLan.build(t)
  const { lab, client, entry, node, host } = lan
  const localNear = await addChain(lab, entry, 21, 1)
  const localFar = await addChain(lab, entry, 22, 2)
  const entryNear = await addChain(lab, node, 23, 1)
  const entryFar = await addChain(lab, node, 24, 2)
  await Promise.all(
    [localNear, localFar, entryNear, entryFar].map(({ end }) => serve(end, 'peer.js', 'far')),
  )
  // With `return: snat` the entry node routes, and no agent is needed on the way.
  for (const at of [23, 24])
    await route(entry, [`10.${at}.0.0/16`, `fd00:${at}::/32`], [LAN.node4, LAN.node6])
  const small = await addSmallNode(lan)
  const away = await addAway(lan)
  await holdVips(host, 'dsrMac', 'dsrTunnel')
  await holdVips(small.node, 'dsrTunnelHop')
  await serve(host, 'peer.js', 'direct')

  const taker = async (agent: Agent, attach: object): Promise<void> => {
    agent.write({
      agent: {
        edge: { interfaces: ['eth0'], mode: 'native', peers: [LAN.entry4, LAN.entry6] },
        // It would take away what is set by hand.
        sweep: '1h',
      },
      networks: [{ name: 'net1', subnets: ['10.0.0.0/8', 'fd00::/16'], attach }],
      services: [{ name: 'idle', network: 'net1', vip: ['10.1.0.99'], ports: [1], backends: [] }],
    })
    agent.start('--detach-on-exit')
    await agent.ready(60_000)
  }
  await Promise.all([
    taker(lan.agents.node, { bridge: 'br0', interfaces: [entryNear.link, entryFar.link] }),
    taker(lan.agents.host, { bridge: 'br0' }),
    taker(small.agent, { bridge: 'br0' }),
  ])
  const aliases = {
    near: { v4: '10.0.99.1', v6: 'fd00:0:99::1' },
    far: { v4: '10.0.99.2', v6: 'fd00:0:99::2' },
    tunnel: { v4: '10.0.99.3', v6: 'fd00:0:99::3' },
  }
  for (const family of ['v4', 'v6'] as const) {
    const own = family === 'v4' ? LAN.backend4 : LAN.backend6
    setAlias(lan.agents.node, aliases.near[family], own)
    setAlias(lan.agents.node, aliases.far[family], entryFar[family])
    setAlias(small.agent, aliases.tunnel[family], small.backend[family])
  }
  const nodeVia = { via: [LAN.node4, LAN.node6] }
  const smallVia = { via: ['10.30.1.2', 'fd00:30:1::2'] }
  const both = ({ v4, v6 }: Host) => ({ address: [v4, v6] })
  const direct = both({ v4: LAN.host4, v6: LAN.host6 })
  const service = (name: ServiceName, backend: object, extra: object = {}) => {
    const { v4, v6 } = vipOf(name)
    const network = name.startsWith('local') ? 'here' : 'beyond'
    // A name has no capitals.
    const label = name.toLowerCase()
    return { name: label, network, vip: [v4, v6], ports: [80], backends: [backend], ...extra }
  }
  const peers = [LAN.node4, LAN.node6, '10.30.1.2', 'fd00:30:1::2']
  const { entry: agent } = lan.agents
  agent.write({
    agent: { edge: { interfaces: ['eth0'], mode: 'native', peers } },
    networks: [
      {
        ...{ name: 'here', subnets: ['10.16.0.0/12', 'fd00:10::/28'], edge: true },
        // The other's replies come to the stack, and are met where they leave.
        attach: { interfaces: [localNear.link] },
      },
      { name: 'beyond', subnets: ['10.0.0.0/12', 'fd00::/32'], edge: true },
    ],
    services: [
      service('localNear', both(localNear)),
      service('localFar', both(localFar)),
      service('entry', { address: [LAN.backend4, LAN.backend6], ...nodeVia }),
      service('entryNear', { ...both(entryNear), ...nodeVia }),
      service('entryFar', { ...both(entryFar), ...nodeVia }),
      service('entryTunnel', { ...both(small.backend), ...smallVia }),
      service('entryAlias', { ...both(aliases.near), ...nodeVia }),
      service('entryFarAlias', { ...both(aliases.far), ...nodeVia }),
      service('entryTunnelAlias', { ...both(aliases.tunnel), ...smallVia }),
      service('snatNear', both(entryNear), { return: 'snat' }),
      service('snatFar', both(entryFar), { return: 'snat' }),
      service('dsrMac', direct, { return: 'dsr-mac' }),
      service('dsrTunnel', direct, { return: 'dsr-tunnel' }),
      service('dsrTunnelHop', { address: ['10.30.1.2', 'fd00:30:1::2'] }, { return: 'dsr-tunnel' }),
    ],
  })
  agent.start('--detach-on-exit')
  await agent.ready(60_000)

  for (const [name, less] of [
    ['localNear', 0],
    ['localFar', 0],
    ['entryNear', 0],
    ['entryFar', 0],
    ['entryFarAlias', 0],
    ['entryTunnel', TUNNEL],
    ['entryTunnelAlias', TUNNEL],
    ['dsrTunnelHop', TUNNEL],
    ['snatNear', 0],
    ['snatFar', 0],
  ] as const) {
    await post(t, client, vipOf(name), name)
    await clientLearns(t, client, vipOf(name), less)
  }
  for (const name of [
    ...(['localNear', 'localFar', 'entryNear', 'entryFar', 'entryTunnel'] as const),
    ...(['entryFarAlias', 'entryTunnelAlias', 'snatNear', 'snatFar'] as const),
  ])
    await get(t, client, vipOf(name), name)
  for (const name of [
    ...(['localFar', 'entry', 'entryTunnel', 'dsrMac', 'dsrTunnel'] as const),
    ...(['entryAlias', 'entryTunnelAlias', 'snatFar'] as const),
  ])
    await get(t, away, vipOf(name), `${name}, a hop before the client`)
})
