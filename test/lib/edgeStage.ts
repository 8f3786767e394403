/**
 * A node with a NIC: a client outside, and backends on the node's bridge. Packets of the client carry
 * whole checksums, as a wire does: XDP on a veth sees what was left to a device otherwise.
 */
import { join } from 'node:path'
import { Agent, type Definition } from './agent.js'
import { type Namespace, NetLab, type RunResult } from './netns.js'
import type { Teardown } from './stage.js'

export const EDGE = {
  node4: '192.0.2.1',
  node6: '2001:db8::1',
  client4: '192.0.2.8',
  client6: '2001:db8::8',
  /** Inside the NIC's subnet: answered by ARP and ND. */
  near4: '192.0.2.100',
  near6: '2001:db8::100',
  /** Inside the containers' subnet: routed by the node. */
  far4: '10.1.0.9',
  far6: 'fd00:1::9',
} as const

export class EdgeStage {
  private constructor(
    readonly lab: NetLab,
    readonly node: Namespace,
    readonly client: Namespace,
    readonly agent: Agent,
    readonly backends: readonly { id: string; v4: string; v6: string; space: Namespace }[],
  ) {}

  static async build(t: Teardown, count = 2): Promise<EdgeStage> {
    const lab = new NetLab(t)
    const node = await lab.namespace('node')
    const client = await lab.namespace('client')
    await wireEdge(lab, client, node)
    await lab.bridge(node, 'br0', ['10.1.0.1/24', 'fd00:1::1/64'])
    await client.ip('route', 'add', '10.1.0.0/24', 'via', EDGE.node4)
    await client.ip('route', 'add', 'fd00:1::/64', 'via', EDGE.node6)
    const backends = []
    for (let at = 0; at < count; at++) backends.push(await addBackend(lab, node, at))
    return new EdgeStage(lab, node, client, new Agent(lab, node, 'node'), backends)
  }

  definition(mode: string, service: object = {}): Definition {
    return {
      agent: { edge: { interfaces: ['eth*'], mode } },
      networks: [
        {
          name: 'net1',
          subnets: ['10.1.0.0/24', 'fd00:1::/64'],
          reserved: ['10.1.0.1', 'fd00:1::1'],
          attach: { bridge: 'br0' },
          edge: true,
        },
      ],
      services: [
        {
          name: 'web',
          network: 'net1',
          vip: [EDGE.near4, EDGE.near6, EDGE.far4, EDGE.far6],
          ports: [80, '53/udp'],
          publish: ['8080:80', '5353:53/udp'],
          backends: this.backends.map(({ v4, v6, id }) => ({ address: [v4, v6], slot: id })),
          ...service,
        },
      ],
    }
  }

  async start(definition: Definition): Promise<void> {
    this.agent.write(definition)
    this.agent.start('--detach-on-exit')
    await this.agent.ready()
  }

  curl(url: string, ...args: string[]): Promise<RunResult> {
    return this.client.run('curl', ['-sS', '--max-time', '10', ...args, url], { mayFail: true })
  }
}

/** Joins a client to a NIC of a node that routes. */
export async function wireEdge(lab: NetLab, client: Namespace, node: Namespace): Promise<void> {
  await lab.wire(
    {
      space: client,
      link: 'eth0',
      addresses: [`${EDGE.client4}/24`, `${EDGE.client6}/64`],
    },
    { space: node, link: 'eth0', addresses: [`${EDGE.node4}/24`, `${EDGE.node6}/64`] },
  )
  await client.run('ethtool', ['-K', 'eth0', 'tx', 'off'])
  await node.sysctl('net.ipv4.ip_forward', '1')
  await node.sysctl('net.ipv6.conf.all.forwarding', '1')
}

async function addBackend(lab: NetLab, node: Namespace, at: number) {
  const v4 = `10.1.0.${10 + at}`
  const v6 = `fd00:1::${(10 + at).toString(16)}`
  const id = `backend-${at}`
  const space = await lab.container(node, `b${at}`, {
    addresses: [`${v4}/24`, `${v6}/64`],
    bridge: 'br0',
  })
  await space.ip('route', 'add', 'default', 'via', '10.1.0.1')
  await space.ip('route', 'add', 'default', 'via', 'fd00:1::1')
  const server = space.spawn(process.execPath, [join(import.meta.dirname, 'peer.js'), id])
  await server.printed(/ready/)
  return { id, v4, v6, space }
}
