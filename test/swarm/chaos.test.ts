/**
 * Three minutes of what goes wrong in a swarm of two real engines, in a random order: services scaled,
 * containers killed, nodes drained, engines restarted and halted, agents killed. At each pause what the
 * swarm wants, what the kernel has and what names lead to are the same, by the manager's API, bpftool
 * and dig; and requests are answered. FAIRLEAD_SEED repeats an order.
 */
import { randomInt } from 'node:crypto'
import t, { type Test } from 'tap'
import { seeded } from '../lib/seeded.js'
import { image } from '../lib/engine.js'
import { run, sleep } from '../lib/netns.js'
import { kernelView, type KernelView } from './kernelView.js'
import { type SwarmNode, SwarmStage } from './stage.js'
import {
  gatewayAddresses,
  networkId,
  settledSwarm,
  type SwarmState,
  type SwarmTask,
} from './swarmView.js'
import { reasonOf } from '../../src/reason.js'

const CHAOS_MS = 180_000
const SETTLE_MS = 110_000
const DNS_PORT = '5300'
const NETWORK = 'overlay1'
const LIMITS = { services: 64, backends: 512, slots: 4096, vips: 512, ports: 256, flows: 4096 }

const seed = Number(process.env['FAIRLEAD_SEED'] ?? randomInt(1 << 30))
const random = seeded(seed)
const below = (count: number): number => Math.floor(random() * count)

function pick<T>(items: readonly T[]): T {
  const item = items[below(items.length)]
  if (item === undefined) throw new Error('nothing to pick from')
  return item
}

const list = (texts: Iterable<string>): string => [...texts].sort().join(' ')

class Chaos {
  #overlay = ''
  readonly done = new Map<string, number>()

  constructor(
    private readonly t: Test,
    private readonly stage: SwarmStage,
  ) {}

  async prepare(): Promise<void> {
    const { stage } = this
    await stage.join()
    await stage.docker('network', 'create', '--driver', 'overlay', NETWORK)
    this.#overlay = await networkId(stage.manager.engine.socket, NETWORK)
    const create = ['service', 'create', '--quiet', '--detach', '--no-resolve-image']
    const on = ['--network', NETWORK, '--restart-delay', '200ms']
    await stage.docker(...create, ...on, '--name', 'client', '--mode', 'global', image, 'serve')
    const vote = ['--name', 'vote', '--replicas', '3', '--publish', '8080:80']
    await stage.docker(...create, ...on, ...vote, image, 'serve')
  }

  async burst(): Promise<void> {
    for (let left = 1 + below(2); left > 0; left--) {
      const [name, action] = this.#next()
      this.done.set(name, (this.done.get(name) ?? 0) + 1)
      await action()
      await sleep(below(1_500))
    }
  }

  /** Has every kind of action had its turn? */
  get dealt(): boolean {
    return this.#actions.every(([name]) => this.done.has(name))
  }

  /** As from a pack of cards, so that each has its turn. */
  #next(): readonly [string, () => Promise<void>] {
    if (this.#pack.length === 0) this.#pack = [...this.#actions]
    const [card] = this.#pack.splice(below(this.#pack.length), 1)
    if (card === undefined) throw new Error('no card')
    return card
  }

  #pack: (readonly [string, () => Promise<void>])[] = []
  readonly #actions: readonly (readonly [string, () => Promise<void>])[] = [
    ['scale', async () => this.#scale()],
    ['scale', async () => this.#scale()],
    ['kill', async () => this.#kill()],
    ['kill', async () => this.#kill()],
    ['drain', async () => this.#drain()],
    ['restart', async () => this.#restart()],
    ['halt', async () => this.#halt()],
    ['agent', async () => this.#killAgent()],
    ['agent', async () => this.#killAgent()],
  ]

  async #scale(): Promise<void> {
    const count = 1 + below(5)
    this.t.comment(`scale to ${count}`)
    await this.stage.docker('service', 'scale', '--detach', `vote=${count}`)
  }

  async #kill(): Promise<void> {
    const node = pick(this.stage.nodes)
    const found = await this.stage.containers(node, 'vote')
    if (found.length === 0) return
    const victim = pick(found)
    this.t.comment(`kill ${victim} on ${node.name}`)
    // It may have ended by itself meanwhile.
    await run('/usr/bin/docker', ['--host', `unix://${node.engine.socket}`, 'kill', victim], {
      mayFail: true,
    })
  }

  /** Out of use for a while, and back. */
  async #drain(): Promise<void> {
    const { name } = pick(this.stage.nodes)
    this.t.comment(`drain ${name}`)
    await this.stage.docker('node', 'update', '--availability', 'drain', name)
    await sleep(1_000 + below(3_000))
    if (random() < 0.5) await this.settled('drained')
    this.t.comment(`${name} is active`)
    await this.stage.docker('node', 'update', '--availability', 'active', name)
  }

  async #restart(): Promise<void> {
    const { name, engine } = pick(this.stage.nodes)
    this.t.comment(`restart the engine of ${name}`)
    await engine.stop()
    await sleep(below(2_000))
    await engine.run()
  }

  /** The kernel needs no engine: what was balanced is so all the while. */
  async #halt(): Promise<void> {
    const { name, engine } = pick(this.stage.nodes)
    this.t.comment(`halt the engine of ${name}`)
    engine.process?.child.kill('SIGSTOP')
    await sleep(2_000 + below(6_000))
    engine.process?.child.kill('SIGCONT')
  }

  async #killAgent(): Promise<void> {
    const { name, agent } = pick(this.stage.nodes)
    this.t.comment(`kill the agent of ${name}`)
    await agent.stop('SIGKILL')
    await sleep(below(2_000))
    agent.start('--detach-on-exit')
  }

  /** Waits until all agree, or says who does not. */
  async settled(what: string): Promise<void> {
    const started = Date.now()
    for (;;) {
      const differs = await this.#difference().catch((error: unknown) => reasonOf(error))
      const seconds = ((Date.now() - started) / 1000).toFixed(1)
      if (differs === '') {
        this.t.pass(`${what}: swarm, kernel and names agree after ${seconds} s`)
        return
      }
      if (Date.now() - started > SETTLE_MS) throw new Error(`${what}, seed ${seed}: ${differs}`)
      await sleep(400)
    }
  }

  /** @returns empty text when nothing differs */
  async #difference(): Promise<string> {
    const { nodes, manager } = this.stage
    const before = await settledSwarm(manager.engine.socket, nodes.length)
    for (const node of nodes) {
      const kernel = await kernelView(node.agent.pins)
      const differs =
        (await this.#kernelDiffers(node, before, kernel)) ?? (await this.#namesDiffer(node, before))
      if (differs !== undefined) return `${node.name}: ${differs}`
    }
    for (const node of nodes) {
      const failed = await this.#unanswered(node, before)
      if (failed !== undefined) return `${node.name}: ${failed}`
    }
    return ''
  }

  async #kernelDiffers(
    node: SwarmNode,
    swarm: SwarmState,
    { services, aliases, peers }: KernelView,
  ): Promise<string | undefined> {
    const gateway = await gatewayAddresses(node.engine.socket)
    const vote = tasksOf(swarm, 'vote')
    const here = [...swarm.services.values()]
      .flatMap(({ tasks }) => tasks)
      .filter((task) => task.node === node.name)
    const own = (task: SwarmTask): string => gateway.get(task.container) ?? 'unknown'
    const published = vote.map((task) => (here.includes(task) ? own(task) : this.#ingress(task)))
    const wanted = new Map([
      ['docker_gwbridge/vote', list(published)],
      // A worker knows of a network that it has containers on.
      ...(node === this.stage.manager || here.length > 0
        ? [[`${NETWORK}/vote`, list(vote.map((task) => this.#address(task)))] as const]
        : []),
    ])
    const found = [...services].filter(([name]) => name.endsWith('/vote'))
    for (const [name, { ring }] of found)
      if (wanted.get(name) !== list(ring))
        return `the ring of ${name} is ${list(ring)}, not ${wanted.get(name) ?? 'none'}`
    if (found.length !== wanted.size) return `the kernel has ${list(services.keys())}`
    const ports = list(services.get('docker_gwbridge/vote')?.published ?? [])
    if (ports !== 'tcp/8080 -> 80') return `published: ${ports}`
    const vips = services.get(`${NETWORK}/vote`)?.vips
    if (vips !== undefined && list(vips) !== this.#vip(swarm)) return `VIPs: ${list(vips)}`
    const names = here.flatMap((task) =>
      [...task.addresses.values()].map((address) => `${address}=${own(task)}`),
    )
    const known = [...aliases].map(([alias, address]) => `${alias}=${address}`)
    if (list(known) !== list(names)) return `aliases are ${list(known)}, not ${list(names)}`
    const others = this.stage.nodes.filter((each) => each !== node).map(({ address }) => address)
    return list(peers) === list(others) ? undefined : `peers are ${list(peers)}`
  }

  /** As the host asks the agent, and a container the engine. */
  async #namesDiffer(node: SwarmNode, swarm: SwarmState): Promise<string | undefined> {
    const client = tasksOf(swarm, 'client').find((task) => task.node === node.name)
    const tasks = list(tasksOf(swarm, 'vote').map((task) => this.#address(task)))
    const vip = this.#vip(swarm)
    const asked: (readonly [string, string, Promise<string>])[] = []
    const host = ['@127.0.0.1', '-p', DNS_PORT]
    if (client !== undefined || node === this.stage.manager)
      asked.push(
        [`vote.${NETWORK}`, vip, this.#dig(node.space.path, ...host, `vote.${NETWORK}`)],
        ['tasks', tasks, this.#dig(node.space.path, ...host, `tasks.vote.${NETWORK}`)],
      )
    if (client !== undefined) {
      const space = await this.#sandbox(node, client)
      asked.push(
        ['vote, by a container,', vip, this.#dig(space, '@127.0.0.11', 'vote')],
        ['tasks.vote, by a container,', tasks, this.#dig(space, '@127.0.0.11', 'tasks.vote')],
      )
    }
    for (const [name, wanted, answer] of asked) {
      const found = await answer
      if (found !== wanted) return `${name} is ${found}, not ${wanted}`
    }
    return undefined
  }

  /** Requests to the VIP and from outside: none fails, and each task answers. Else it is asked again. */
  async #unanswered(node: SwarmNode, swarm: SwarmState): Promise<string | undefined> {
    const vote = tasksOf(swarm, 'vote')
    const wanted = list(vote.map(({ container }) => container.slice(0, 12)))
    const client = tasksOf(swarm, 'client').find((task) => task.node === node.name)
    const ways = [[this.stage.client.path, `http://${node.outside.node}:8080/`]]
    if (client !== undefined)
      ways.push([await this.#sandbox(node, client), `http://${this.#vip(swarm)}/`])
    for (const [space = '', url = ''] of ways) {
      const urls = Array.from({ length: vote.length * 2 }, () => url)
      const { code, stdout, stderr } = await run(
        'nsenter',
        [`--net=${space}`, 'curl', '-sS', '--no-keepalive', '--max-time', '8']
          .concat('-H', 'connection: close')
          .concat(urls),
        { mayFail: true },
      )
      const answers = stdout.trim().split('\n')
      if (code !== 0 || answers.length !== urls.length) return `${url}: ${stderr}${stdout}`
      if (list(new Set(answers)) !== wanted) return `${url} is answered by ${list(answers)}`
    }
    return undefined
  }

  async #dig(namespace: string, ...args: string[]): Promise<string> {
    const dig = ['dig', '+short', '+tries=1', '+time=3', ...args]
    // What it prints says what is wrong, too.
    const { stdout } = await run('nsenter', [`--net=${namespace}`, ...dig], { mayFail: true })
    return list(stdout.trim().split('\n'))
  }

  async #sandbox({ engine }: SwarmNode, { container }: SwarmTask): Promise<string> {
    return (await engine.inspect(container)).NetworkSettings.SandboxKey
  }

  #vip(swarm: SwarmState): string {
    return swarm.services.get('vote')?.vips.get(this.#overlay) ?? ''
  }

  #address(task: SwarmTask): string {
    return task.addresses.get(this.#overlay) ?? ''
  }

  /** Of the two networks that the service is on. */
  #ingress({ addresses }: SwarmTask): string {
    return [...addresses].find(([id]) => id !== this.#overlay)?.[1] ?? ''
  }
}

function tasksOf(swarm: SwarmState, service: string): readonly SwarmTask[] {
  return swarm.services.get(service)?.tasks ?? []
}

// Also for tap's own process, which would end the file earlier.
t.setTimeout(540_000)

t.test('three minutes of chaos', { timeout: 520_000 }, async (t) => {
  t.comment(`FAIRLEAD_SEED=${seed}`)
  const stage = await SwarmStage.build('fx', {
    limits: LIMITS,
    dns: { listen: [`127.0.0.1:${DNS_PORT}`], upstreams: [] },
  })
  const chaos = new Chaos(t, stage)
  try {
    await chaos.prepare()
    await chaos.settled('at the start')
    const ends = Date.now() + CHAOS_MS
    for (let round = 1; Date.now() < ends || !chaos.dealt; round++) {
      await chaos.burst()
      await chaos.settled(`pause ${round}`)
    }
    t.comment([...chaos.done].map(([name, count]) => `${name}: ${count}`).join(', '))
  } catch (error) {
    for (const { name, agent } of stage.nodes) t.comment(`${name}: ${agent.lastWords()}`)
    throw error
  } finally {
    await stage.close()
  }
})
