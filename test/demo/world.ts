/**
 * The stage of the scene: two nodes on a wire, a VXLAN overlay between their bridges, the containers
 * and the file that both agents read. Nothing here configures an ARP entry, a neighbour or a MAC.
 */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { Daemon, NetLab, type Namespace } from '../lib/netns.js'

export const VIP4 = '10.0.0.9'
export const VIP6 = 'fd00:a::9'
export const CLIENT4 = '10.0.0.8'
export const CLIENT6 = 'fd00:a::8'

const command = join(import.meta.dirname, '../../src/cli/fairlead.js')

export interface Replica {
  readonly id: string
  readonly slot: string
  readonly space: Namespace
  readonly addresses: readonly string[]
  readonly server: Daemon
  state: 'active' | 'draining'
}

export interface Node {
  readonly name: string
  readonly space: Namespace
  /** The bridge's addresses: where this node's agent answers DNS. */
  readonly addresses: readonly string[]
  agent?: Daemon
}

/** What the agents' files say, apart from the replicas. */
export interface Plan {
  readonly mode: 'vip' | 'dnsrr'
  /** Whether sockets are balanced at connect(); without, every packet takes the tc path. */
  readonly sockets: boolean
}

export class World {
  readonly lab: NetLab
  readonly folder = mkdtempSync(join(tmpdir(), 'fairlead-demo-'))
  readonly nodes: Node[] = []
  readonly replicas: Replica[] = []
  client!: Namespace
  private ids = 0

  constructor() {
    this.lab = new NetLab(undefined, 'fd')
    this.lab.atClose(() => rmSync(this.folder, { recursive: true, force: true }))
  }

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
    const node = { name, space, addresses }
    this.nodes.push(node)
    // For an agent that had to be killed: it cannot remove its own pins.
    this.lab.atClose(() => rmSync(this.pinsOf(node), { recursive: true, force: true }))
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
    const server = space.spawn(process.execPath, [join(import.meta.dirname, 'vote.js'), id])
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

  /** Writes both agents' files, by rename as editors do. */
  write(plan: Plan): void {
    for (const node of this.nodes) {
      const file = this.fileOf(node)
      writeFileSync(`${file}.new`, stringify(this.configuration(node, plan)))
      renameSync(`${file}.new`, file)
    }
  }

  fileOf(node: Node): string {
    return join(this.folder, `${node.name}.yaml`)
  }

  socketOf(node: Node): string {
    return join(this.folder, `${node.name}.sock`)
  }

  private pinsOf(node: Node): string {
    return `/sys/fs/bpf/${this.lab.prefix}-${node.name}`
  }

  private configuration(node: Node, plan: Plan): object {
    const backends = this.replicas.map(({ addresses, slot, id, state }) => ({
      address: addresses,
      ...{ slot, hostname: id, state },
    }))
    return {
      version: 1,
      agent: {
        node: node.name,
        socket: this.socketOf(node),
        metrics: '127.0.0.1:9753',
        state: join(this.folder, `${node.name}.state.json`),
        pins: this.pinsOf(node),
        dns: { upstreams: [] },
      },
      networks: [
        {
          name: 'overlay1',
          subnets: ['10.0.0.0/24', 'fd00:a::/64'],
          reserved: this.nodes.flatMap(({ addresses }) => addresses),
          attach: {
            bridge: 'br0',
            sockets: plan.sockets ? [`/run/netns/${this.lab.prefix}-client`] : [],
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

  startAgents(): void {
    for (const node of this.nodes) {
      node.agent = node.space.spawn(process.execPath, [
        ...[command, 'agent', '--config', this.fileOf(node), '--detach-on-exit'],
      ])
    }
  }

  async stopAgents(): Promise<void> {
    await Promise.all(this.nodes.map(async ({ agent }) => agent?.stop('SIGTERM', 8_000)))
  }

  /** Runs the `fairlead` command against a node's agent. */
  async fairlead(at: number, ...args: string[]): Promise<string> {
    const node = this.node(at)
    const done = await node.space.run(process.execPath, [
      ...[command, ...args, '--socket', this.socketOf(node)],
    ])
    return done.stdout
  }

  async close(): Promise<void> {
    await this.stopAgents()
    await this.lab.close()
  }
}
