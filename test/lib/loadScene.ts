/**
 * Load on VIPs over every path: a client whose packets are balanced at its veth, one whose sockets are,
 * and one outside, behind the node's NIC.
 */
import { join } from 'node:path'
import type { Definition } from './agent.js'
import { EDGE, wireEdge } from './edgeStage.js'
import type { Tally } from './load.js'
import { type Daemon, type Namespace, until } from './netns.js'
import { NODE4, NODE6, Stage, VIP4, VIP6, type Teardown } from './stage.js'

export type LoadPath = 'tc' | 'sock' | 'xdp'

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

  async until(has: (tally: Tally) => boolean): Promise<void> {
    await until(`the load of ${this.path}`, async () => has(await this.tally()), 60_000)
  }

  async stop(): Promise<void> {
    await this.daemon.stop()
  }
}

/** A backend that can say whether it is still in use. */
export class EchoServer {
  constructor(
    readonly space: Namespace,
    private readonly daemon: Daemon,
  ) {}

  async connections(): Promise<number> {
    const at = this.daemon.stdout.length
    this.daemon.child.stdin?.write('\n')
    const match = await until(
      'the backend',
      () => /connections (\d+)\n/.exec(this.daemon.stdout.slice(at)) ?? undefined,
    )
    return Number(match[1])
  }

  async stop(): Promise<void> {
    await this.daemon.stop('SIGKILL')
  }
}

export class LoadScene {
  readonly loads: Load[] = []

  private constructor(
    readonly stage: Stage,
    readonly sockets: Namespace,
    readonly outside: Namespace,
  ) {}

  static async build(t: Teardown, backends: number): Promise<LoadScene> {
    const stage = await Stage.build(t, 0)
    const addresses = ['10.1.0.7/24', 'fd00:1::7/64']
    const sockets = await stage.lab.container(stage.node, 'sclient', { addresses, bridge: 'br0' })
    const outside = await stage.lab.namespace('outside')
    await wireEdge(stage.lab, outside, stage.node)
    await outside.ip('route', 'add', '10.1.0.0/24', 'via', EDGE.node4)
    await outside.ip('route', 'add', 'fd00:1::/64', 'via', EDGE.node6)
    const scene = new LoadScene(stage, sockets, outside)
    for (let at = 0; at < backends; at++) await scene.addBackend(at)
    return scene
  }

  async addBackend(at: number): Promise<EchoServer> {
    const space = await this.stage.lab.container(this.stage.node, `b${at}`, {
      addresses: this.addresses(at).map((address, i) => `${address}/${i === 0 ? 24 : 64}`),
      bridge: 'br0',
    })
    await space.ip('route', 'add', 'default', 'via', NODE4)
    await space.ip('route', 'add', 'default', 'via', NODE6)
    const program = join(import.meta.dirname, 'echo.js')
    const daemon = space.spawn(process.execPath, [program, `backend-${at}`])
    await daemon.printed(/ready/)
    return new EchoServer(space, daemon)
  }

  addresses(at: number): [string, string] {
    return [`10.1.0.${20 + at}`, `fd00:1::1:${at.toString(16)}`]
  }

  network(): object {
    return {
      name: 'net1',
      subnets: ['10.1.0.0/24', 'fd00:1::/64'],
      attach: { bridge: 'br0', sockets: [this.sockets.path] },
      edge: true,
    }
  }

  /** The whole file for some services. */
  state(...services: object[]): Definition {
    const agent = { edge: { interfaces: ['eth*'], mode: 'native' } }
    return { agent, networks: [this.network()], services }
  }

  service(backends: readonly object[], extra: object = {}): object {
    const ports = [7, '7/udp']
    return { name: 'web', network: 'net1', vip: [VIP4, VIP6], ports, backends, ...extra }
  }

  definition(backends: readonly number[], draining: readonly number[] = []): Definition {
    const row = (at: number, state: string) => ({ address: this.addresses(at), state })
    const rows = [
      ...backends.map((at) => row(at, 'active')),
      ...draining.map((at) => row(at, 'draining')),
    ]
    return this.state(this.service(rows))
  }

  async startLoads(...args: string[]): Promise<void> {
    for (const [path, space] of [
      ['tc', this.stage.client],
      ['sock', this.sockets],
      ['xdp', this.outside],
    ] as const)
      this.loads.push(await Load.start(path, space, [...args, VIP4, VIP6]))
  }

  /** Waits for a tally of each load; not the same moment's, for both may work by turns. */
  async loaded(has: (tally: Tally) => boolean): Promise<void> {
    for (const load of this.loads) await load.until(has)
  }
}
