/** Load on VIPs over both paths: one client whose packets are balanced, one whose sockets are. */
import { join } from 'node:path'
import type { Tally } from './load.js'
import { type Daemon, type Namespace, until } from './netns.js'
import { Stage, VIP4, VIP6, type Teardown } from './stage.js'

export type LoadPath = 'tc' | 'sock'

/** A load.js process and its tally. */
export class Load {
  private constructor(
    readonly path: LoadPath,
    private readonly daemon: Daemon,
  ) {}

  static async start(path: LoadPath, space: Namespace, args: readonly string[]): Promise<Load> {
    const program = join(import.meta.dirname, 'load.js')
    const daemon = space.spawn(process.execPath, [program, ...args])
    await daemon.printed(/loading/)
    return new Load(path, daemon)
  }

  /** What happened since the last call. */
  async tally(): Promise<Tally> {
    const at = this.daemon.stdout.length
    this.daemon.child.stdin?.write('\n')
    const line = await until(
      `the tally of ${this.path}`,
      () => /\{.*\}\n/.exec(this.daemon.stdout.slice(at))?.[0],
    )
    return JSON.parse(line) as Tally
  }

  async stop(): Promise<void> {
    await this.daemon.stop()
  }
}

export class LoadScene {
  readonly loads: Load[] = []

  private constructor(
    readonly stage: Stage,
    readonly sockets: Namespace,
  ) {}

  static async build(t: Teardown, backends: number): Promise<LoadScene> {
    const stage = await Stage.build(t, 0)
    const addresses = ['10.1.0.7/24', 'fd00:1::7/64']
    const sockets = await stage.lab.container(stage.node, 'sclient', { addresses, bridge: 'br0' })
    const scene = new LoadScene(stage, sockets)
    for (let at = 0; at < backends; at++) await scene.addBackend(at)
    return scene
  }

  async addBackend(at: number): Promise<Namespace> {
    const space = await this.stage.lab.container(this.stage.node, `b${at}`, {
      addresses: this.addresses(at).map((address, i) => `${address}/${i === 0 ? 24 : 64}`),
      bridge: 'br0',
    })
    const program = join(import.meta.dirname, 'echo.js')
    await space.spawn(process.execPath, [program, `backend-${at}`]).printed(/ready/)
    return space
  }

  addresses(at: number): [string, string] {
    return [`10.1.0.${20 + at}`, `fd00:1::1:${at.toString(16)}`]
  }

  network(): object {
    return {
      name: 'net1',
      subnets: ['10.1.0.0/24', 'fd00:1::/64'],
      attach: { bridge: 'br0', sockets: [this.sockets.path] },
    }
  }

  service(backends: readonly object[], extra: object = {}): object {
    const ports = [7, '7/udp']
    return { name: 'web', network: 'net1', vip: [VIP4, VIP6], ports, backends, ...extra }
  }

  definition(backends: readonly number[], extra: object = {}) {
    const rows = backends.map((at) => ({ address: this.addresses(at) }))
    return { networks: [this.network()], services: [this.service(rows)], ...extra }
  }

  async startLoads(...args: string[]): Promise<void> {
    for (const [path, space] of [
      ['tc', this.stage.client],
      ['sock', this.sockets],
    ] as const)
      this.loads.push(await Load.start(path, space, [...args, VIP4, VIP6]))
  }
}
