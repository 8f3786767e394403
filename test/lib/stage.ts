/**
 * One node with a bridge, a client and some backends on one network, and an agent that knows them: the
 * smallest place where traffic to a VIP is real. Nothing here sets a MAC, neighbour or ARP entry.
 */
import { join } from 'node:path'
import { Agent, type Definition } from './agent.js'
import { type Daemon, type Namespace, NetLab, type RunResult } from './netns.js'

export interface Teardown {
  teardown(callback: () => Promise<void>): void
}

export interface StagedBackend {
  readonly id: string
  readonly v4: string
  readonly v6: string
  readonly space: Namespace
  readonly server: Daemon
}

export const VIP4 = '10.1.0.9'
export const VIP6 = 'fd00:1::9'
export const CLIENT4 = '10.1.0.8'
export const CLIENT6 = 'fd00:1::8'
export const NODE4 = '10.1.0.2'
export const NODE6 = 'fd00:1::2'

export class Stage {
  private constructor(
    readonly lab: NetLab,
    readonly node: Namespace,
    readonly client: Namespace,
    readonly backends: StagedBackend[],
    readonly agent: Agent,
  ) {}

  /** Builds it and starts `count` backends; the agent is not started. */
  static async build(t: Teardown, count = 2): Promise<Stage> {
    const lab = new NetLab(t)
    const node = await lab.namespace('node')
    await lab.bridge(node, 'br0', [`${NODE4}/24`, `${NODE6}/64`])
    const client = await lab.container(node, 'client', {
      addresses: [`${CLIENT4}/24`, `${CLIENT6}/64`],
      bridge: 'br0',
    })
    client.resolver([NODE4])
    const stage = new Stage(lab, node, client, [], new Agent(lab, node, 'node'))
    for (let at = 0; at < count; at++) await stage.addBackend(at)
    return stage
  }

  async addBackend(at: number): Promise<StagedBackend> {
    const v4 = `10.1.0.${10 + at}`
    const v6 = `fd00:1::${(10 + at).toString(16)}`
    const id = `backend-${at}`
    const space = await this.lab.container(this.node, `b${at}`, {
      addresses: [`${v4}/24`, `${v6}/64`],
      bridge: 'br0',
    })
    const server = space.spawn(process.execPath, [join(import.meta.dirname, 'peer.js'), id])
    await server.printed(/ready/)
    const backend = { id, v4, v6, space, server }
    this.backends.push(backend)
    return backend
  }

  network(sockets: boolean): object {
    return {
      name: 'net1',
      subnets: ['10.1.0.0/24', 'fd00:1::/64'],
      reserved: [NODE4, NODE6],
      attach: { bridge: 'br0', sockets: sockets ? [this.client.path] : [] },
      dns: { listen: [NODE4, `[${NODE6}]:53`] },
    }
  }

  /** The service `web` of all backends: HTTP on 80, UDP on 53. */
  service(extra: object = {}): object {
    return {
      name: 'web',
      network: 'net1',
      vip: [VIP4, VIP6],
      ports: [80, '53/udp'],
      backends: this.backends.map(({ v4, v6, id }) => ({ address: [v4, v6], slot: id })),
      ...extra,
    }
  }

  definition(sockets: boolean, ...services: object[]): Definition {
    return {
      networks: [this.network(sockets)],
      services: services.length > 0 ? services : [this.service()],
    }
  }

  /** Starts the agent on a definition and waits until it carries traffic. */
  async start(definition: Definition): Promise<void> {
    this.agent.write(definition)
    this.agent.start('--detach-on-exit')
    await this.agent.ready()
  }

  /** curl, on the client. */
  curl(url: string, ...args: string[]): Promise<RunResult> {
    return this.client.run('curl', ['-sS', '--max-time', '10', ...args, url], { mayFail: true })
  }

  /** A short Python program on the client: sockets without any library between. */
  python(program: string, ...args: string[]): Promise<RunResult> {
    return this.client.run('python3', ['-c', program, ...args], {
      mayFail: true,
      timeoutMs: 60_000,
    })
  }
}
