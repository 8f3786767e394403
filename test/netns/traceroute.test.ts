/**
 * traceroute to a VIP: every router on the way is shown as itself, and the backend as the VIP. Where a
 * node puts packets into a tunnel it is none of their hops; the node that takes them out is.
 */
import t, { type Test } from 'tap'
import { Agent } from '../lib/agent.js'
import { EdgeLan, LAN } from '../lib/edgeLan.js'
import { addChain, type Chain, DEFAULT, route, serve } from '../lib/hops.js'
import { NetLab, type Namespace } from '../lib/netns.js'

t.setTimeout(240_000)

const METHODS = {
  TCP: ['-T', '-p', '80'],
  UDP: ['-U', '-p', '53'],
  'UDP to ports that it has not': [],
  ICMP: ['-I'],
} as const
type Method = keyof typeof METHODS

/** Addresses of the hops, in order; `*` for one that kept silent. */
async function hops(from: Namespace, host: string, method: Method): Promise<string[]> {
  const { stdout, stderr } = await from.run(
    'traceroute',
    ['-n', '-q', '1', '-N', '1', '-w', '3', '-m', '6', ...METHODS[method], host],
    { mayFail: true, timeoutMs: 30_000 },
  )
  const found = [...stdout.matchAll(/^ *\d+ +(\S+)/gm)].map(([, address = '']) => address)
  return found.length > 0 ? found : [stderr]
}

/** The kernel's limit on errors would make a second run silent. */
async function talkative(...spaces: Namespace[]): Promise<void> {
  for (const space of spaces) {
    await space.sysctl('net.ipv4.icmp_ratelimit', '0')
    await space.sysctl('net.ipv6.icmp.ratelimit', '0')
  }
}

interface Pair {
  readonly v4: string
  readonly v6: string
}

async function shows(
  t: Test,
  from: Namespace,
  vip: Pair,
  what: string,
  methods: readonly Method[],
  before: readonly Pair[],
): Promise<void> {
  for (const method of methods) {
    for (const family of ['v4', 'v6'] as const) {
      const wanted = [...before.map((one) => one[family]), vip[family]]
      t.same(await hops(from, vip[family], method), wanted, `${what}: ${method}, ${family}`)
    }
  }
}

const routersOf = ({ routers4, routers6 }: Chain): Pair[] =>
  [0, 1].map((at) => ({ v4: routers4[at] ?? '', v6: routers6[at] ?? '' }))

t.test('from containers', async (t) => {
  const lab = new NetLab(t)
  const node = await lab.namespace('node')
  await lab.bridge(node, 'br0', ['10.1.0.1/24', 'fd00:1::1/64'])
  const chain = await addChain(lab, node, 21, 1)
  await talkative(node, ...chain.spaces)
  await serve(chain.end, 'peer.js', 'far')
  const [client, sockets] = await Promise.all(
    [7, 8].map(async (at) => {
      const addresses = [`10.1.0.${at}/24`, `fd00:1::${at}/64`]
      const space = await lab.container(node, `c${at}`, { addresses, bridge: 'br0' })
      await route(space, DEFAULT, ['10.1.0.1', 'fd00:1::1'])
      return space
    }),
  )
  if (!client || !sockets) throw new Error('no client')
  const vip = { v4: '10.1.0.99', v6: 'fd00:1::99' }
  const agent = new Agent(lab, node, 'node')
  agent.write({
    networks: [
      {
        ...{ name: 'net1', subnets: ['10.1.0.0/24', 'fd00:1::/64'] },
        attach: { bridge: 'br0', sockets: [sockets.path] },
      },
    ],
    services: [
      {
        ...{ name: 'web', network: 'net1', vip: [vip.v4, vip.v6], ports: [80, '53/udp'] },
        backends: [{ address: [chain.v4, chain.v6] }],
      },
    ],
  })
  agent.start('--detach-on-exit')
  await agent.ready(60_000)
  const way = [{ v4: '10.1.0.1', v6: 'fd00:1::1' }, ...routersOf(chain)]
  await shows(t, client, vip, 'tc', ['TCP', 'UDP'], way)
  await shows(t, client, vip, 'tc, itself', ['UDP to ports that it has not', 'ICMP'], [])
  await shows(t, sockets, vip, 'socket', ['UDP'], way)
})

t.test('from outside, by XDP', async (t) => {
  const lan = await EdgeLan.build(t)
  const { lab, client, entry, node, host } = lan
  const local = await addChain(lab, entry, 21, 1)
  const beyond = await addChain(lab, node, 23, 1)
  await route(entry, ['10.23.0.0/16', 'fd00:23::/32'], [LAN.node4, LAN.node6])
  await talkative(entry, node, ...local.spaces, ...beyond.spaces)
  await Promise.all([local, beyond].map(({ end }) => serve(end, 'peer.js', 'far')))
  const vip = (at: number): Pair => ({ v4: `192.0.2.${at}`, v6: `2001:db8::${at}` })
  const held = [142, 143].map(vip).flatMap(({ v4, v6 }) => [v4, v6])
  await lan.holdVips(...held)
  await serve(host, 'responder.js', 'direct', ...held)
  const { node: taker } = lan.agents
  taker.write({
    agent: { edge: { interfaces: ['eth0'], mode: 'native', peers: [LAN.entry4, LAN.entry6] } },
    networks: [
      {
        ...{ name: 'net1', subnets: ['10.0.0.0/8', 'fd00::/16'] },
        attach: { interfaces: [beyond.link] },
      },
    ],
    services: [{ name: 'idle', network: 'net1', vip: ['10.1.0.99'], ports: [1], backends: [] }],
  })
  taker.start('--detach-on-exit')
  await Promise.all([taker.ready(60_000), lan.startTaker('host', 'native')])
  const service = (name: string, at: number, backend: object, extra: object = {}) => ({
    ...{ name, network: 'net1', vip: [vip(at).v4, vip(at).v6], ports: [80, '53/udp'] },
    ...{ backends: [backend], ...extra },
  })
  const direct = { address: [LAN.host4, LAN.host6] }
  const { entry: agent } = lan.agents
  agent.write({
    agent: { edge: { interfaces: ['eth0'], mode: 'native', peers: [LAN.node4, LAN.node6] } },
    networks: [{ name: 'net1', subnets: ['10.0.0.0/8', 'fd00::/16'], edge: true }],
    services: [
      service('local', 140, { address: [local.v4, local.v6] }),
      service('entry', 141, {
        address: [beyond.v4, beyond.v6],
        via: [LAN.node4, LAN.node6],
      }),
      service('snat', 144, { address: [beyond.v4, beyond.v6] }, { return: 'snat' }),
      service('dsr-mac', 142, direct, { return: 'dsr-mac' }),
      service('dsr-tunnel', 143, direct, { return: 'dsr-tunnel' }),
    ],
  })
  agent.start('--detach-on-exit')
  await agent.ready(60_000)
  const both = ['TCP', 'UDP'] as const
  const entryNode = { v4: LAN.entry4, v6: LAN.entry6 }
  const otherNode = { v4: LAN.node4, v6: LAN.node6 }
  await shows(t, client, vip(140), 'local', both, [entryNode, ...routersOf(local)])
  await shows(t, client, vip(141), 'entry', both, [otherNode, ...routersOf(beyond)])
  await shows(t, client, vip(144), 'snat', both, [entryNode, otherNode, ...routersOf(beyond)])
  await shows(t, client, vip(142), 'DSR by MAC', both, [entryNode])
  await shows(t, client, vip(143), 'DSR by tunnel', both, [])
  await shows(t, client, vip(140), 'itself', ['UDP to ports that it has not', 'ICMP'], [])
})
