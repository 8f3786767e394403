/** A swarm of two real engines on a wire, each in namespaces of its own, with an agent on each node. */
import type { ServiceView } from '../../src/api/schema.js'
import { Agent } from '../lib/agent.js'
import { DockerEngine, engineWaitMs } from '../lib/engine.js'
import { type Daemon, NetLab, type Namespace, run, until } from '../lib/netns.js'

export interface SwarmNode {
  readonly name: string
  readonly address: string
  /** Towards the client outside: the node's address and the client's. */
  readonly outside: { readonly node: string; readonly client: string }
  readonly space: Namespace
  readonly engine: DockerEngine
  readonly agent: Agent
}

export class SwarmStage {
  /** A host that is in no swarm, with a wire to each node. */
  client!: Namespace

  private constructor(
    readonly lab: NetLab,
    readonly nodes: readonly SwarmNode[],
  ) {}

  /**
   * Two engines, which know nothing of each other yet, and their agents.
   *
   * @param prefix   of what is made, by which a test tells its own
   * @param settings of both agents, besides those that they need here
   */
  static async build(prefix: string, settings: object = {}): Promise<SwarmStage> {
    const nodes: SwarmNode[] = []
    const stage = new SwarmStage(new NetLab(undefined, prefix), nodes)
    try {
      const { lab } = stage
      const [one, two] = [await lab.namespace('node1'), await lab.namespace('node2')]
      await lab.wire(
        { space: one, link: 'eth0', addresses: ['192.0.2.1/24'] },
        { space: two, link: 'eth0', addresses: ['192.0.2.2/24'] },
      )
      // A wire carries whole checksums.
      for (const space of [one, two]) await space.run('ethtool', ['-K', 'eth0', 'tx', 'off'])
      stage.client = await lab.namespace('client')
      const engines = await Promise.all([
        DockerEngine.start(lab, one, 'node1'),
        DockerEngine.start(lab, two, 'node2'),
      ])
      for (const [i, engine] of engines.entries()) {
        const outside = { node: `198.51.${100 + i}.1`, client: `198.51.${100 + i}.8` }
        const link = `out${i}`
        await lab.wire(
          { space: engine.space, link: 'out0', addresses: [`${outside.node}/24`] },
          { space: stage.client, link, addresses: [`${outside.client}/24`] },
        )
        // A wire carries whole checksums.
        await stage.client.run('ethtool', ['-K', link, 'tx', 'off'])
        const agent = new Agent(lab, engine.space, engine.name)
        agent.write({
          networks: [],
          services: [],
          agent: {
            docker: { socket: engine.socket },
            edge: { interfaces: ['out0'] },
            log: { format: 'pretty' },
            ...settings,
          },
        })
        agent.start('--detach-on-exit')
        await agent.ready(engineWaitMs)
        const { name, space } = engine
        nodes.push({ name, address: `192.0.2.${i + 1}`, outside, space, engine, agent })
      }
    } catch (error) {
      await stage.close()
      throw error
    }
    return stage
  }

  /** The first node makes a swarm, the other one joins it as a worker. */
  async join(): Promise<void> {
    const [manager, worker] = this.nodes
    if (!manager || !worker) throw new Error('no nodes')
    await manager.engine.docker('swarm', 'init', '--advertise-addr', manager.address)
    const token = await manager.engine.docker('swarm', 'join-token', '--quiet', 'worker')
    await worker.engine.docker('swarm', 'join', '--token', token, `${manager.address}:2377`)
  }

  get manager(): SwarmNode {
    const [manager] = this.nodes
    if (!manager) throw new Error('no nodes')
    return manager
  }

  /** Runs the client at the manager. @returns its output, trimmed */
  docker(...args: string[]): Promise<string> {
    return this.manager.engine.docker(...args)
  }

  /** Ids of a service's running containers on one node, short as their host names are. */
  async containers({ engine }: SwarmNode, service: string): Promise<string[]> {
    const label = `label=com.docker.swarm.service.name=${service}`
    return (await engine.docker('ps', '--quiet', '--filter', label)).split('\n').filter(Boolean)
  }

  async allContainers(service: string): Promise<string[]> {
    const found = await Promise.all(this.nodes.map(async (node) => this.containers(node, service)))
    return found.flat()
  }

  /** The service's one container on a node. */
  async container(node: SwarmNode, service: string): Promise<string> {
    return until(
      `a container of ${service} on ${node.name}`,
      async () => (await this.containers(node, service))[0],
      engineWaitMs,
    )
  }

  /** @param key `network/service` */
  service({ agent }: SwarmNode, key: string): Promise<ServiceView> {
    const [network = '', name = ''] = key.split('/')
    return agent.api.service(network, name)
  }

  /** Waits until all nodes answer with so many active backends and no other ones. */
  async settled(key: string, active: number, nodes = this.nodes): Promise<void> {
    for (const node of nodes)
      await until(
        `${key} to have ${active} backends on ${node.name}`,
        async () => {
          const { backends } = await this.service(node, key)
          const { desired, answering } = await node.agent.revision()
          const asExpected =
            backends.length === active && backends.every(({ state }) => state === 'active')
          if (asExpected && desired === answering) return true
          throw new Error(JSON.stringify([backends, await node.agent.api.problems()]))
        },
        engineWaitMs,
      )
  }

  /** Starts a program of the host in a container's network namespace. */
  async within(node: SwarmNode, container: string, ...command: string[]): Promise<Daemon> {
    const { NetworkSettings } = await node.engine.inspect(container)
    return this.lab.start('nsenter', [`--net=${NetworkSettings.SandboxKey}`, ...command])
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map(async ({ agent }) => agent.stop()))
    // Tasks are ended by their engines; what is left is removed with the lab.
    for (const { engine } of this.nodes)
      await run('/usr/bin/docker', ['--host', `unix://${engine.socket}`, 'swarm', 'leave', '-f'], {
        mayFail: true,
        timeoutMs: engineWaitMs,
      })
    await Promise.all(this.nodes.map(async ({ engine }) => engine.stop()))
    await this.lab.close()
  }
}
