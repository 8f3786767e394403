/**
 * The ways by which a packet may reach a service, each with one client, some backends and one service
 * `web`: for what has to hold on all of them.
 */
import { join } from 'node:path'
import { type BpfMap, BpfMap as Maps } from 'libbpf-ts'
import { readTick } from '../../src/host/clock.js'
import type { Agent, Definition } from './agent.js'
import { EDGE, EdgeStage } from './edgeStage.js'
import type { Daemon, Namespace, NetLab } from './netns.js'
import { Stage, VIP4, VIP6, type Teardown } from './stage.js'

/** The socket hooks; tc on a veth; XDP on a NIC with tc behind it. */
export type WayName = 'sock' | 'tc' | 'xdp'

export interface WayBackend {
  readonly id: string
  readonly v4: string
  readonly v6: string
  readonly space: Namespace
}

interface FlowRow {
  readonly flow: { readonly last_seen: number }
}

export class Way {
  private constructor(
    readonly name: WayName,
    readonly lab: NetLab,
    readonly node: Namespace,
    readonly client: Namespace,
    readonly agent: Agent,
    readonly backends: readonly WayBackend[],
    /** The VIP of either family. */
    readonly hosts: readonly [string, string],
    /** Of `web` with these fields changed, or of no service. */
    readonly definition: (service: object | null) => Definition,
  ) {}

  /** Builds it; the agent is not started. */
  static async build(t: Teardown, name: WayName, count = 2): Promise<Way> {
    if (name === 'xdp') {
      const stage = await EdgeStage.build(t, count)
      const { lab, node, client, agent, backends } = stage
      return new Way(name, lab, node, client, agent, backends, [EDGE.near4, EDGE.near6], (change) =>
        served(stage.definition('native', change ?? {}), change),
      )
    }
    const stage = await Stage.build(t, count)
    const { lab, node, client, agent, backends } = stage
    return new Way(name, lab, node, client, agent, backends, [VIP4, VIP6], (change) =>
      served(stage.definition(name === 'sock', stage.service(change ?? {})), change),
    )
  }

  /** Starts the agent and waits until it carries traffic. */
  async start(service: object = {}, agent: object = {}): Promise<void> {
    const definition = this.definition(service)
    this.agent.write({ ...definition, agent: { ...definition.agent, ...agent } })
    this.agent.start('--detach-on-exit')
    await this.agent.ready()
  }

  /** Changes the service, or takes it away. */
  apply(service: object | null): Promise<void> {
    return this.agent.apply(this.definition(service))
  }

  /** Rows of the service's file for some of the backends. */
  rows(...at: number[]): object[] {
    return at.map((index) => {
      const backend = this.backends[index]
      if (!backend) throw new RangeError(`there is no backend ${index}`)
      return { address: [backend.v4, backend.v6], slot: backend.id }
    })
  }

  /** Starts echo.js on every backend: TCP and UDP on port 7. */
  async echo(): Promise<void> {
    for (const { id, space } of this.backends) await serveEcho(space, id)
  }

  /** A Python program on the client that is spoken to by lines. */
  python(program: string, ...args: string[]): Dialogue {
    return new Dialogue(this.client.spawn('python3', ['-u', '-c', program, ...args]))
  }

  /** Makes every flow look as if its last packet had come so much earlier. */
  async age(seconds: number): Promise<void> {
    const { hz } = await readTick()
    for (const name of ['flows4', 'flows6', 'embryonic4', 'embryonic6']) {
      using map: BpfMap = Maps.openPinned(`${this.agent.pins}/maps/${name}`)
      for (const [key, value] of [...map.entries()]) {
        const { flow, ...row } = value as unknown as FlowRow
        const last_seen = (flow.last_seen - seconds * hz) >>> 0
        map.set(key, { ...row, flow: { ...flow, last_seen } })
      }
    }
  }
}

/** @param addresses that datagrams are answered from; none: whichever the kernel chooses */
export async function serveEcho(
  space: Namespace,
  id: string,
  ...addresses: string[]
): Promise<void> {
  const program = join(import.meta.dirname, 'echo.js')
  await space.spawn(process.execPath, [program, id, ...addresses]).printed(/ready/)
}

function served(definition: Definition, change: object | null): Definition {
  return change ? definition : { ...definition, services: [] }
}

/** A process that prints one line, at first and for every line that it is given. */
export class Dialogue {
  #lines = 0

  constructor(readonly daemon: Daemon) {}

  /** The next line that it prints. */
  async line(timeoutMs?: number): Promise<string> {
    const pattern = new RegExp(`^(?:.*\\n){${this.#lines}}(.*)\\n`)
    const [, text = ''] = await this.daemon.printed(pattern, timeoutMs)
    this.#lines++
    return text
  }

  /** Its answer to a line. */
  ask(question = '', timeoutMs?: number): Promise<string> {
    this.daemon.child.stdin?.write(`${question}\n`)
    return this.line(timeoutMs)
  }
}

/** A counter of the kernel's own for a namespace, by nstat's name. */
export async function kernelCounter(space: Namespace, name: string): Promise<number> {
  const { stdout } = await space.run('nstat', ['-asz', name])
  const match = new RegExp(`${name}\\s+(\\d+)`).exec(stdout)
  if (!match) throw new Error(`nstat does not know ${name}: ${stdout}`)
  return Number(match[1])
}
