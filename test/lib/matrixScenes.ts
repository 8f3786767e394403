/**
 * The places of the matrix: containers of a node with a backend beyond a router, and clients outside
 * of an entry node with backends on it, on another node, and on hosts that answer as the VIP.
 */
import { join } from 'node:path'
import { Agent, type Definition } from './agent.js'
import { choices, type Choice } from './algorithms.js'
import type { Answer, Job } from './asker.js'
import { EdgeLan, LAN } from './edgeLan.js'
import { type Namespace, NetLab } from './netns.js'
import type { Teardown } from './stage.js'

export const LOCAL_BACKENDS = ['b0', 'b1', 'b2'] as const

/** Where a backend is, and how its replies come back. */
export const PLACES = ['local', 'routed', 'entry', 'dsr-mac', 'dsr-tunnel', 'snat'] as const
export type Place = (typeof PLACES)[number]

/** One place for the clients of one path. */
export interface Scene {
  readonly agent: Agent
  readonly client: Namespace
  readonly client4: string
  readonly client6: string
  /** Whom a backend sees that is told the node's own address. */
  readonly node4: string
  readonly node6: string
  readonly choices: readonly Choice[]
  /** VIPs of the service that leads to a place, or of an algorithm's. */
  vip(service: string, family: 4 | 6): string
  /** Makes every service what it is after the change. */
  change(): Promise<void>
}

export async function ask(scene: Scene, jobs: readonly Job[]): Promise<Answer[][]> {
  const program = join(import.meta.dirname, 'asker.js')
  const { stdout } = await scene.client.run(process.execPath, [program, JSON.stringify(jobs)], {
    timeoutMs: 50_000,
  })
  return JSON.parse(stdout) as Answer[][]
}

async function respond(space: Namespace, id: string, ...addresses: string[]): Promise<void> {
  const program = join(import.meta.dirname, 'responder.js')
  await space.spawn(process.execPath, [program, id, ...addresses]).printed(/ready/)
}

/** Backends b0, b1 and b2 on a new bridge of a node, with the node as their router. */
async function addLocalBackends(
  lab: NetLab,
  node: Namespace,
  prefix4: string,
  prefix6: string,
): Promise<void> {
  await lab.bridge(node, 'br0', [`${prefix4}.1/24`, `${prefix6}::1/64`])
  await Promise.all(
    LOCAL_BACKENDS.map(async (id, at) => {
      const addresses = [`${prefix4}.${10 + at}/24`, `${prefix6}::${10 + at}/64`]
      const space = await lab.container(node, id, { addresses, bridge: 'br0' })
      await defaultRoutes(space, `${prefix4}.1`, `${prefix6}::1`)
      await respond(space, id)
    }),
  )
}

async function defaultRoutes(space: Namespace, via4: string, via6: string): Promise<void> {
  await space.ip('route', 'add', 'default', 'via', via4)
  await space.ip('route', 'add', 'default', 'via', via6)
}

async function forwarding(space: Namespace): Promise<void> {
  await space.sysctl('net.ipv4.ip_forward', '1')
  await space.sysctl('net.ipv6.conf.all.forwarding', '1')
}

/** As many distributions are about the way a packet came by: on every interface. */
async function strict(...spaces: readonly Namespace[]): Promise<void> {
  for (const space of spaces) await space.sysctl('net.ipv4.conf.all.rp_filter', '1')
}

/** The VIP of the service number `at`, counted from 0, in a prefix. */
const vip4 = (prefix: string, at: number): string => `${prefix}.${120 + at}`
const vip6 = (prefix: string, at: number): string => `${prefix}::${120 + at}`

interface Plan {
  readonly network: string
  readonly prefix4: string
  readonly prefix6: string
  readonly backends4: string
  readonly backends6: string
  readonly choices: readonly Choice[]
}

function choiceService(plan: Plan, choice: Choice, at: number, changed: boolean): object {
  const said = (changed ? choice.changed : undefined) ?? choice.backends ?? [{}, {}, {}]
  return {
    name: choice.name,
    network: plan.network,
    vip: [vip4(plan.prefix4, at), vip6(plan.prefix6, at)],
    ports: [80, '53/udp'],
    ...choice.service,
    backends: said.map((one, i) => ({
      address: [`${plan.backends4}.${10 + i}`, `${plan.backends6}::${10 + i}`],
      ...one,
    })),
  }
}

/** The services of the algorithms, numbered behind those of the places. */
function choiceServices(plan: Plan, changed: boolean): object[] {
  return plan.choices.map((one, at) => choiceService(plan, one, PLACES.length + at, changed))
}

function vipOf(plan: Plan, service: string, family: 4 | 6): string {
  const names = [...PLACES, ...plan.choices.map(({ name }) => name)] as string[]
  const at = names.indexOf(service)
  if (at < 0) throw new Error(`no service ${service}`)
  return family === 4 ? vip4(plan.prefix4, at) : vip6(plan.prefix6, at)
}

/** Clients and backends behind one bridge, and a backend behind a router: the tc and socket paths. */
export async function buildContainers(t: Teardown): Promise<{ tc: Scene; sock: Scene }> {
  const lab = new NetLab(t)
  const node = await lab.namespace('node')
  await forwarding(node)
  await strict(node)
  await addLocalBackends(lab, node, '10.1.0', 'fd00:1')
  const far = await lab.namespace('far')
  await lab.wire(
    { space: node, link: 'eth9', addresses: ['10.2.0.1/24', 'fd00:2::1/64'] },
    { space: far, link: 'eth0', addresses: ['10.2.0.10/24', 'fd00:2::10/64'] },
  )
  await defaultRoutes(far, '10.2.0.1', 'fd00:2::1')
  await respond(far, 'routed')
  const clients = []
  for (const [name, last] of [
    ['tc', 7],
    ['sock', 8],
  ] as const) {
    const addresses = [`10.1.0.${last}/24`, `fd00:1::${last}/64`]
    const client = await lab.container(node, name, { addresses, bridge: 'br0' })
    await defaultRoutes(client, '10.1.0.1', 'fd00:1::1')
    clients.push({ client, client4: `10.1.0.${last}`, client6: `fd00:1::${last}` })
  }
  const [forTc, forSock] = clients
  if (!forTc || !forSock) throw new Error('no client')
  const plan: Plan = {
    ...{ network: 'net1', prefix4: '10.1.0', prefix6: 'fd00:1' },
    ...{ backends4: '10.1.0', backends6: 'fd00:1', choices: choices('node') },
  }
  const place = (name: Place, ...backends: object[]): object => ({
    ...{ name, network: 'net1', ports: [80, '53/udp'] },
    ...{ vip: [vipOf(plan, name, 4), vipOf(plan, name, 6)], backends },
  })
  const agent = new Agent(lab, node, 'node')
  const definition = (changed: boolean): Definition => ({
    networks: [
      {
        name: 'net1',
        subnets: ['10.1.0.0/24', 'fd00:1::/64'],
        attach: { bridge: 'br0', sockets: [forSock.client.path] },
      },
    ],
    services: [
      place('local', { address: ['10.1.0.10', 'fd00:1::10'] }),
      place('routed', { address: ['10.2.0.10', 'fd00:2::10'] }),
      ...choiceServices(plan, changed),
    ],
  })
  agent.write(definition(false))
  agent.start('--detach-on-exit')
  await agent.ready(50_000)
  const scene = {
    agent,
    ...{ node4: '10.1.0.1', node6: 'fd00:1::1' },
    choices: plan.choices,
    vip: (service: string, family: 4 | 6) => vipOf(plan, service, family),
    change: () => agent.apply(definition(true)),
  }
  return { tc: { ...scene, ...forTc }, sock: { ...scene, ...forSock } }
}

/** Clients outside, by XDP in the mode given. */
export async function buildEdge(t: Teardown, mode: 'native' | 'generic'): Promise<Scene> {
  const lan = await EdgeLan.build(t, 'responder.js')
  await strict(lan.entry, lan.node)
  await addLocalBackends(lan.lab, lan.entry, '10.4.0', 'fd00:4')
  const plan: Plan = {
    ...{ network: 'here', prefix4: '192.0.2', prefix6: '2001:db8' },
    ...{ backends4: '10.4.0', backends6: 'fd00:4', choices: choices('entry') },
  }
  const vips = (name: Place): [string, string] => [vipOf(plan, name, 4), vipOf(plan, name, 6)]
  const held = [...vips('dsr-mac'), ...vips('dsr-tunnel')]
  await lan.holdVips(...held)
  await respond(lan.host, 'direct', ...held, LAN.host4, LAN.host6)
  await Promise.all([lan.startTaker('node', mode), lan.startTaker('host', mode)])
  const place = (name: Place, network: string, backend: object): object => ({
    ...{ name, network, ports: [80, '53/udp'], vip: vips(name), backends: [backend] },
    ...(name !== 'local' && { return: name }),
  })
  const direct = { address: [LAN.host4, LAN.host6] }
  const { entry: agent } = lan.agents
  const definition = (changed: boolean): Definition => ({
    agent: { edge: { interfaces: ['eth0'], mode, peers: [LAN.node4, LAN.node6] } },
    networks: [
      {
        ...{ name: 'here', subnets: ['10.4.0.0/24', 'fd00:4::/64'] },
        ...{ attach: { bridge: 'br0' }, edge: true },
      },
      { name: 'beyond', subnets: ['10.1.0.0/24', 'fd00:1::/64'], edge: true },
    ],
    services: [
      place('local', 'here', { address: ['10.4.0.10', 'fd00:4::10'] }),
      place('entry', 'beyond', {
        address: [LAN.backend4, LAN.backend6],
        via: [LAN.node4, LAN.node6],
      }),
      place('dsr-mac', 'beyond', direct),
      place('dsr-tunnel', 'beyond', direct),
      place('snat', 'beyond', direct),
      ...choiceServices(plan, changed),
    ],
  })
  agent.write(definition(false))
  agent.start('--detach-on-exit')
  await agent.ready(50_000)
  return {
    ...{ agent, client: lan.client, client4: LAN.client4, client6: LAN.client6 },
    ...{ node4: LAN.entry4, node6: LAN.entry6 },
    choices: plan.choices,
    vip: (service, family) => vipOf(plan, service, family),
    change: () => agent.apply(definition(true)),
  }
}
