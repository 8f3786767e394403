/**
 * The stage of the scene: two nodes on a wire, a VXLAN overlay between their bridges, the containers
 * and the file that both agents read. Nothing here configures an ARP entry, a neighbour or a MAC.
 */
import { join } from 'node:path'
import { Agent, type Definition } from '../lib/agent.js'
import { type Daemon, NetLab, type Namespace } from '../lib/netns.js'

export const VIP4 = '10.0.0.9'
export const VIP6 = 'fd00:a::9'
export const CLIENT4 = '10.0.0.8'
export const CLIENT6 = 'fd00:a::8'

export interface Replica {
  readonly id: string
  readonly slot: string
  readonly space: Namespace
  readonly addresses: readonly string[]
  readonly server: Daemon
  state: 'active' | 'draining'
}

export interface Node {
  readonly space: Namespace
  readonly agent: Agent
  /** The bridge's addresses: where this node's agent answers DNS. */
  readonly addresses: readonly string[]
}

/** What the agents' files say, apart from the replicas. */
export interface Plan {
  readonly mode: 'vip' | 'dnsrr'
  /** Whether sockets are balanced at connect(); without, every packet takes the tc path. */
  readonly sockets: boolean
}

export class World {
  readonly lab = new NetLab(undefined, 'fd')
  readonly nodes: Node[] = []
  readonly replicas: Replica[] = []
  client!: Namespace
  private ids = 0

  async build(): Promise<void> {
    const [one, two] = [await this.lab.namespace('node1'), await this.lab.namespace('node2')]
    await this.lab.wire(
      { space: one, link: 'eth0', addresses: ['192.0.2.1/24'] },
      { space: two, link: 'eth0', addresses: ['192.0.2.2/24'] },
    )
    await this.addNode('node1', one, '192.0.2.1', '192.0.2.2', ['10.0.0.2', 'fd00:a::2'])
    await this.addNode('node2', two, '192.0.2.2', '192.0.2.1', ['10.0.0.3', 'fd00:a::3'])
    this.client = await this.lab.container(one, 'client', {
      addresses: [`${CLIENT4}/24`, `${CLIENT6}/64`],
      bridge: 'br0',
    })
    this.client.resolver(['10.0.0.2'])
  }

  private async addNode(
    name: string,
    space: Namespace,
    local: string,
    remote: string,
    addresses: readonly [string, string],
  ): Promise<void> {
    await this.lab.bridge(space, 'br0', [`${addresses[0]}/24`, `${addresses[1]}/64`])
    await space.ip(
      ...['link', 'add', 'vxlan0', 'type', 'vxlan', 'id', '42', 'dstport', '4789'],
      ...['local', local, 'remote', remote, 'dev', 'eth0'],
    )
    await space.ip('link', 'set', 'vxlan0', 'master', 'br0', 'up')
    this.nodes.push({ space, addresses, agent: new Agent(this.lab, space, name) })
  }

  node(at: number): Node {
    const node = this.nodes[at]
    if (!node) throw new Error(`no node ${at}`)
    return node
  }

  /** Starts a replica of vote on a node. It is not in the agents' files until `write`. */
  async addReplica(at: number, slot: string, host: number): Promise<Replica> {
    const id = `${(0xc0ffee + this.ids * 4099).toString(16)}${slot}${(this.ids++).toString(16)}`
    const addresses = [`10.0.0.${host}`, `fd00:a::${host.toString(16)}`]
    const space = await this.lab.container(this.node(at).space, `v${this.ids}`, {
      addresses: [`${addresses[0] ?? ''}/24`, `${addresses[1] ?? ''}/64`],
      bridge: 'br0',
    })
    const server = space.spawn(process.execPath, [join(import.meta.dirname, '../lib/peer.js'), id])
    await server.printed(/ready/)
    const replica: Replica = { id, slot, space, addresses, server, state: 'active' }
    this.replicas.push(replica)
    return replica
  }

  async killReplica(replica: Replica): Promise<void> {
    await replica.server.stop('SIGKILL')
    await this.lab.remove(replica.space)
    this.replicas.splice(this.replicas.indexOf(replica), 1)
  }

  /** What one node's agent is to do: the same on both but for where its DNS listens. */
  definition(node: Node, plan: Plan): Definition {
    const backends = this.replicas.map(({ addresses, slot, id, state }) => ({
      address: addresses,
      ...{ slot, hostname: id, state },
    }))
    return {
      networks: [
        {
          name: 'overlay1',
          subnets: ['10.0.0.0/24', 'fd00:a::/64'],
          reserved: this.nodes.flatMap(({ addresses }) => addresses),
          attach: {
            bridge: 'br0',
            // The client lives on node1; both agents would see its namespace on this one machine.
            sockets: plan.sockets && node === this.node(0) ? [this.client.path] : [],
          },
          dns: { listen: node.addresses },
        },
      ],
      services: [
        { name: 'client', network: 'overlay1', vip: '10.0.0.7', backends: [CLIENT4] },
        {
          name: 'vote',
          network: 'overlay1',
          mode: plan.mode,
          ...(plan.mode === 'vip' ? { vip: [VIP4, VIP6], ports: [80] } : {}),
          backends,
        },
      ],
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map(async ({ agent }) => agent.stop()))
    await this.lab.close()
  }
}
