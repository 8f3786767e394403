/**
 * The stage of the socket path's tests: a node with a bridge, a client, and backends that answer
 * TCP on 8080 and UDP on 5353 with their id. No namespace has a default route, so what is not
 * balanced goes nowhere.
 */
import { join } from 'node:path'
import { type Daemon, type Namespace, NetLab } from './netns.js'
import { SockPath, type Teardown } from './sockPath.js'

const PEER = join(import.meta.dirname, '../../../test/lib/sock_peer.py')

/** What `exchange` and `converse` of sock_peer.py tell. */
export interface Exchange {
  /** Of the backend. */
  readonly id: string
  /** The client's address and port as the backend sees them. */
  readonly seen: [string, number]
  /** getpeername() of the client. */
  readonly peer: [string, number]
  /** Payload bytes that the client sent. */
  readonly sent: number
  readonly received: number
  readonly intact: boolean
}

/** Backend id, and the address and port that the answer came from. */
export type Heard = [string, string, number]

/** An errno's name, and the seconds it took. */
export type Failure = [string, number]

export const address4 = (host: number): string => `10.50.0.${host}`
export const address6 = (host: number): string => `fd50::${host.toString(16)}`

export class SockScene {
  private constructor(
    readonly lab: NetLab,
    readonly node: Namespace,
    readonly client: Namespace,
    readonly backends: readonly Namespace[],
  ) {}

  /** Backend n, from 1 on, is `b<n>` at host number n of both subnets; the client is 100. */
  static async build(t: Teardown, count: number): Promise<SockScene> {
    const lab = new NetLab(t)
    const node = await lab.namespace('node')
    await lab.bridge(node, 'br0')
    const container = (name: string, host: number): Promise<Namespace> =>
      lab.container(node, name, {
        addresses: [`${address4(host)}/24`, `${address6(host)}/64`],
        bridge: 'br0',
      })
    const client = await container('client', 100)
    const backends: Namespace[] = []
    for (let at = 1; at <= count; at++) {
      const space = await container(`b${at}`, at)
      const args = [PEER, 'serve', `b${at}`, address4(at), address6(at)]
      await space.spawn('python3', args).printed(/ready/)
      backends.push(space)
    }
    return new SockScene(lab, node, client, backends)
  }

  /** A further container beside the client. */
  container(name: string, host: number): Promise<Namespace> {
    return this.lab.container(this.node, name, {
      addresses: [`${address4(host)}/24`, `${address6(host)}/64`],
      bridge: 'br0',
    })
  }

  /**
   * Attaches the socket path, with rows for all backends: b<n> has id n (IPv4) and n + 100 (IPv6),
   * both of service `service(n)`.
   */
  async balance(t: Teardown, service: (backend: number) => number): Promise<SockPath> {
    const path = SockPath.load(t)
    this.backends.forEach((_, at) => {
      path.backend(at + 1, address4(at + 1), service(at + 1))
      path.backend(at + 101, address6(at + 1), service(at + 1))
    })
    await path.attach()
    return path
  }

  /** Runs a program with sock_peer.py's names; resolves to what it gave to `out`. */
  async python<T>(program: string, space: Namespace = this.client): Promise<T> {
    const { stdout } = await space.run('python3', [PEER, 'run', program], { timeoutMs: 90_000 })
    return JSON.parse(stdout) as T
  }

  /** The same, but left running, for programs that wait for a line on stdin. */
  start(program: string, space: Namespace = this.client): Daemon {
    return space.spawn('python3', ['-u', PEER, 'run', program])
  }
}
