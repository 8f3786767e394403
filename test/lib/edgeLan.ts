/**
 * Two nodes on one wire with a client: an entry node and a node with the backend, or with a host that
 * answers as the VIP itself. The wire is a bridge; its end hosts send whole checksums.
 */
import { join } from 'node:path'
import { BpfMap, BpfObject } from 'libbpf-ts'
import { Agent, type Definition } from './agent.js'
import { addressWords } from './edgePath.js'
import { type Namespace, NetLab, type RunResult } from './netns.js'
import type { Teardown } from './stage.js'

export const LAN = {
  client4: '192.0.2.8',
  client6: '2001:db8::8',
  entry4: '192.0.2.1',
  entry6: '2001:db8::1',
  node4: '192.0.2.2',
  node6: '2001:db8::2',
  host4: '192.0.2.3',
  host6: '2001:db8::3',
  vip4: '192.0.2.100',
  vip6: '2001:db8::100',
  backend4: '10.1.0.10',
  backend6: 'fd00:1::a',
} as const

export class EdgeLan {
  private constructor(
    readonly lab: NetLab,
    readonly client: Namespace,
    readonly entry: Namespace,
    readonly node: Namespace,
    readonly host: Namespace,
    /** On the bridge of `node`. */
    readonly backend: Namespace,
    readonly agents: Readonly<Record<'entry' | 'node' | 'host', Agent>>,
    /** Adds a namespace to the wire by its `eth0`. */
    readonly wireTap: (name: string, addresses: readonly string[]) => Promise<Namespace>,
  ) {}

  /** @param program of test/lib that the backend beyond the node runs */
  static async build(t: Teardown, program = 'peer.js'): Promise<EdgeLan> {
    const lab = new NetLab(t)
    const lan = await lab.namespace('lan')
    await lab.bridge(lan, 'br0')
    const join = (name: string, addresses: readonly string[]) => plug(lab, lan, name, addresses)
    const client = await join('client', [`${LAN.client4}/24`, `${LAN.client6}/64`])
    const entry = await join('entry', [`${LAN.entry4}/24`, `${LAN.entry6}/64`])
    const node = await join('node', [`${LAN.node4}/24`, `${LAN.node6}/64`])
    const host = await join('host', [`${LAN.host4}/24`, `${LAN.host6}/64`])
    await receiveFrames(
      lab,
      lan,
      ['client', 'entry', 'node', 'host'].map((name) => `l-${name}`),
    )
    for (const router of [entry, node]) {
      await router.sysctl('net.ipv4.ip_forward', '1')
      await router.sysctl('net.ipv6.conf.all.forwarding', '1')
    }
    const backend = await addBackend(lab, node, program)
    const agents = {
      entry: new Agent(lab, entry, 'entry'),
      node: new Agent(lab, node, 'node'),
      host: new Agent(lab, host, 'host'),
    }
    return new EdgeLan(lab, client, entry, node, host, backend, agents, join)
  }

  /** The agent of the entry node, on services `web` with what each of `services` changes. */
  async startEntry(mode: string, services: object | object[], edge: object = {}): Promise<void> {
    const { entry } = this.agents
    entry.write(this.entryDefinition(mode, services, edge))
    entry.start('--detach-on-exit')
    await entry.ready(60_000)
  }

  /** What startEntry() starts it on. */
  entryDefinition(mode: string, services: object | object[], edge: object = {}): Definition {
    return {
      agent: { edge: { interfaces: ['eth0'], mode, peers: [LAN.node4, LAN.node6], ...edge } },
      networks: [{ name: 'net1', subnets: ['10.1.0.0/24', 'fd00:1::/64'], edge: true }],
      services: [services].flat().map((service) => ({
        name: 'web',
        network: 'net1',
        vip: [LAN.vip4, LAN.vip6],
        ports: [80, '53/udp'],
        ...service,
      })),
    }
  }

  /** An agent that knows of no service outside, only whom it takes packets from. */
  async startTaker(at: 'node' | 'host', mode: string): Promise<void> {
    const taker = this.agents[at]
    taker.write({
      agent: {
        edge: { interfaces: ['eth0'], mode, peers: [LAN.entry4, LAN.entry6] },
        sweep: '1h',
      },
      networks: [
        { name: 'net1', subnets: ['10.1.0.0/24', 'fd00:1::/64'], attach: { bridge: 'br0' } },
      ],
      services: [{ name: 'idle', network: 'net1', vip: ['10.1.0.99'], ports: [1], backends: [] }],
    })
    taker.start('--detach-on-exit')
    await taker.ready(60_000)
  }

  /** Makes the host outside have VIPs: on lo, without ARP or ND for them. */
  async holdVips(...vips: readonly string[]): Promise<void> {
    await this.host.sysctl('net.ipv4.conf.all.arp_ignore', '1')
    await this.host.sysctl('net.ipv4.conf.all.arp_announce', '2')
    for (const vip of vips) {
      const options = vip.includes(':') ? ['nodad'] : []
      await this.host.ip('address', 'add', vip, 'dev', 'lo', ...options)
    }
  }

  /** Makes the host outside answer as the VIP. */
  async answerAsVip(): Promise<void> {
    await this.holdVips(LAN.vip4, LAN.vip6)
    // A socket that is bound to no address answers from the one of the route.
    await this.host.ip('route', 'replace', '192.0.2.0/24', 'dev', 'eth0', 'src', LAN.vip4)
    await this.host.ip(
      ...['address', 'change', `${LAN.host6}/64`, 'dev', 'eth0', 'preferred_lft', '0'],
    )
    await serve(this.host, 'peer.js', 'direct')
  }

  /** A backend that knows nothing of VIPs, tunnels or agents; it echoes datagrams to port 7 too. */
  async answerPlainly(): Promise<void> {
    await serve(this.host, 'peer.js', 'plain')
    await serveEcho(this.host)
  }

  /** Makes the entry node know the way to the backend behind the other node, which has no agent. */
  async routeBeyond(): Promise<void> {
    await this.entry.ip('route', 'add', '10.1.0.0/24', 'via', LAN.node4)
    await this.entry.ip('route', 'add', 'fd00:1::/64', 'via', LAN.node6)
  }

  curl(url: string, ...args: string[]): Promise<RunResult> {
    return this.client.run('curl', ['-sS', '--max-time', '10', ...args, url], { mayFail: true })
  }
}

/**
 * What a source tells an agent of a container whose address other nodes cannot use. By hand, so the
 * agent's sweep must not come by.
 */
export function setAlias({ pins }: Agent, alias: string, address: string): void {
  using aliases = BpfMap.openPinned(`${pins}/maps/aliases`)
  aliases.set({ addr: addressWords(alias) }, { addr: addressWords(address) })
}

async function plug(
  lab: NetLab,
  lan: Namespace,
  name: string,
  addresses: readonly string[],
): Promise<Namespace> {
  const hostLink = `l-${name}`
  const space = await lab.container(lan, name, { addresses, bridge: 'br0', hostLink })
  await space.run('ethtool', ['-K', 'eth0', 'tx', 'off'])
  return space
}

/**
 * XDP programs that pass everything, on the ports of the wire: a veth hands over frames that XDP
 * sends only to a peer that has a program of its own.
 */
async function receiveFrames(lab: NetLab, lan: Namespace, ports: readonly string[]): Promise<void> {
  const object = BpfObject.open(join(import.meta.dirname, '../../bpf/xdp.bpf.o'))
  lab.atClose(() => object.close())
  for (const [name, { maxEntries }] of object.maps)
    if (!name.includes('.') && maxEntries > 256) object.resize(name, 256)
  object.load()
  for (const port of ports) {
    const link = await object
      .program('from_wire')
      .attachXdp({ interface: port, netns: lan.path, mode: 'native' })
    lab.atClose(() => link.close())
  }
}

async function addBackend(lab: NetLab, node: Namespace, program: string): Promise<Namespace> {
  await lab.bridge(node, 'br0', ['10.1.0.1/24', 'fd00:1::1/64'])
  const space = await lab.container(node, 'backend', {
    addresses: [`${LAN.backend4}/24`, `${LAN.backend6}/64`],
    bridge: 'br0',
  })
  await space.ip('route', 'add', 'default', 'via', '10.1.0.1')
  await space.ip('route', 'add', 'default', 'via', 'fd00:1::1')
  await serve(space, program, 'beyond')
  return space
}

async function serve(space: Namespace, program: string, id: string): Promise<void> {
  const server = space.spawn(process.execPath, [join(import.meta.dirname, program), id])
  await server.printed(/ready/)
}

const ECHO = `
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
s.bind(('::', 7))
print('ready', flush=True)
while True:
    data, peer = s.recvfrom(65535)
    s.sendto(data, peer)
`

async function serveEcho(space: Namespace): Promise<void> {
  await space.spawn('python3', ['-c', ECHO]).printed(/ready/)
}
