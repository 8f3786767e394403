/** One real engine in a namespace, a compose project, an agent beside it, and a client outside. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { ServiceView } from '../../src/api/schema.js'
import { Agent } from '../lib/agent.js'
import { DockerEngine, engineWaitMs, image } from '../lib/engine.js'
import { type Daemon, type Namespace, NetLab, run, until } from '../lib/netns.js'

export const OUTSIDE = { node: '198.51.100.1', client: '198.51.100.8' } as const
export const NETWORK = 'shop_front'
const SUBNETS = { four: '10.44.0.0/24', six: 'fd44::/64' } as const

/** As somebody would write it who has never heard of fairlead, but for the labels. */
const PROJECT = {
  version: '2.4',
  services: {
    web: {
      ...{ image, command: 'serve', networks: ['front'] },
      // It serves on for a while when it is told to stop, as servers do that finish their requests.
      ...{ environment: { GRACE: '4' }, stop_grace_period: '20s' },
      healthcheck: {
        ...{ test: ['CMD-SHELL', 'test ! -e /tmp/sick'] },
        ...{ interval: '1s', timeout: '20s', retries: 1 },
      },
      labels: { 'fairlead.publish': '8080:80' },
    },
    client: {
      ...{ image, command: 'serve', networks: ['front'] },
      labels: { 'fairlead.dns': 'true' },
    },
  },
  networks: {
    front: {
      enable_ipv6: true,
      ipam: {
        config: [
          { subnet: SUBNETS.four, gateway: '10.44.0.1' },
          { subnet: SUBNETS.six, gateway: 'fd44::1' },
        ],
      },
    },
  },
}

export class ComposeStage {
  readonly lab = new NetLab(undefined, 'fc')
  engine!: DockerEngine
  agent!: Agent
  node!: Namespace
  /** A host with a wire to the node. */
  client!: Namespace

  /** An engine without containers, and an agent with no service in its file. */
  static async build(): Promise<ComposeStage> {
    const stage = new ComposeStage()
    try {
      await stage.#build()
    } catch (error) {
      await stage.close()
      throw error
    }
    return stage
  }

  async #build(): Promise<void> {
    const { lab } = this
    this.node = await lab.namespace('node')
    this.client = await lab.namespace('outer')
    await lab.wire(
      { space: this.node, link: 'out0', addresses: [`${OUTSIDE.node}/24`] },
      { space: this.client, link: 'eth0', addresses: [`${OUTSIDE.client}/24`] },
    )
    // A wire carries whole checksums.
    await this.client.run('ethtool', ['-K', 'eth0', 'tx', 'off'])
    this.engine = await DockerEngine.start(lab, this.node, 'node')
    this.agent = new Agent(lab, this.node, 'node')
    this.agent.write({
      networks: [],
      services: [],
      agent: {
        docker: { socket: this.engine.socket },
        edge: { interfaces: ['out0'] },
        log: { format: 'pretty' },
      },
    })
    this.agent.start()
    await this.agent.ready(engineWaitMs)
    mkdirSync(this.#folder)
    writeFileSync(join(this.#folder, 'docker-compose.yml'), stringify(PROJECT))
  }

  /** Its name is the project's. */
  get #folder(): string {
    return join(this.engine.folder, 'shop')
  }

  /** Runs docker-compose in the project's folder. */
  async compose(...args: string[]): Promise<void> {
    const file = join(this.#folder, 'docker-compose.yml')
    const host = `unix://${this.engine.socket}`
    await run('/usr/bin/docker-compose', ['--host', host, '--file', file, ...args], {
      timeoutMs: engineWaitMs,
    })
  }

  /** Short ids of a service's running containers. */
  async containers(service: string): Promise<string[]> {
    const label = `label=com.docker.compose.service=${service}`
    const listed = await this.engine.docker('ps', '--quiet', '--filter', label)
    return listed.split('\n').filter(Boolean)
  }

  service(name: string): Promise<ServiceView> {
    return this.agent.api.service(NETWORK, name)
  }

  /** Waits until kernel and DNS have so many active backends of a family, and no other ones. */
  async settled(name: string, active: number): Promise<ServiceView> {
    return until(
      `${name} to have ${active} backends`,
      async () => {
        const service = await this.service(name)
        const backends = service.backends.filter(({ address }) => !address.includes(':'))
        const { desired, answering } = await this.agent.revision()
        const good = backends.filter(({ state }) => state === 'active').length
        const others = backends.length - good
        if (good === active && others === 0 && desired === answering) return service
        throw new Error(JSON.stringify([backends, await this.agent.api.problems()]))
      },
      engineWaitMs,
    )
  }

  /** Starts a program of the host in the client container's network namespace. */
  async within(...command: string[]): Promise<Daemon> {
    const [id = ''] = await this.containers('client')
    const { NetworkSettings } = await this.engine.inspect(id)
    return this.lab.start('nsenter', [`--net=${NetworkSettings.SandboxKey}`, ...command])
  }

  async close(): Promise<void> {
    const { agent, engine } = this as Partial<Pick<ComposeStage, 'agent' | 'engine'>>
    await agent?.stop()
    await engine?.stop()
    await this.lab.close()
  }
}
