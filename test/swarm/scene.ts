/**
 * `npm run demo:swarm`: two real Docker engines, a swarm of both, an overlay network, and the commands of
 * the scene, with an agent on the manager and one on the worker. This kernel has no IPVS, or need not
 * have: what answers at a VIP is fairlead. Checks all that it shows, exits 1 when anything differs, and
 * leaves nothing behind.
 */
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { engineWaitMs, image } from '../lib/engine.js'
import { check, checked, print, title } from '../lib/narrate.js'
import { type Daemon, until } from '../lib/netns.js'
import { type SwarmNode, SwarmStage } from './stage.js'

const KEY = 'overlay1/vote'

interface Tally {
  readonly ok: number
  readonly failed: number
  readonly ids: Readonly<Record<string, number>>
  readonly errors: readonly string[]
}

class Scene {
  private constructor(private readonly stage: SwarmStage) {}

  static async play(stage: SwarmStage): Promise<void> {
    const scene = new Scene(stage)
    await scene.create()
    await scene.names()
    await scene.resolve()
    await scene.balance()
    await scene.publish()
    await scene.hosted()
    await scene.scale()
    await scene.kill()
    await scene.restart()
    await scene.update()
    await scene.drain()
    await scene.remove()
  }

  private async docker(...args: string[]): Promise<string> {
    const output = await this.stage.docker(...args)
    print('manager', ['docker', ...args], output)
    return output
  }

  /** Runs a program of the client container of a node. */
  private async client(node: SwarmNode, ...command: string[]): Promise<string> {
    const id = await this.stage.container(node, 'client')
    const { code, stdout, stderr } = await node.engine.exec(id, ...command)
    if (code !== 0)
      throw new Error(`${command.join(' ')} on ${node.name}: exit ${code} ${stdout}${stderr}`)
    return stdout.trim()
  }

  private async create(): Promise<void> {
    title('two engines become a swarm, beside agents that run already')
    await this.stage.join()
    print('manager', ['docker', 'node', 'ls'], await this.stage.docker('node', 'ls'))
    await this.docker('network', 'create', '--driver', 'overlay', 'overlay1')
    const create = ['service', 'create', '--quiet', '--no-resolve-image', '--network', 'overlay1']
    await this.docker(...create, '--name', 'client', '--mode', 'global', image, 'serve')
    const vote = ['--name', 'vote', '--replicas', '2', '--publish', '8080:80']
    await this.docker(...create, ...vote, image, 'serve')
    await this.stage.settled(KEY, 2)
    const [vip = ''] = (await this.stage.service(this.stage.manager, KEY)).vips
    const given = await this.vip()
    check(`the VIP is the swarm's own, ${given}`, vip === given, vip)
    for (const node of this.stage.nodes) {
      const { vips, backends } = await this.stage.service(node, KEY)
      const known = `${vips.join()} ${backends
        .map(({ slot }) => slot)
        .sort()
        .join()}`
      check(`${node.name} knows the VIP and both slots`, known === `${given} 1,2`, known)
    }
  }

  /** The service's VIP on overlay1, as the swarm has it; there is one on the ingress network, too. */
  private async vip(): Promise<string> {
    const id = await this.stage.docker('network', 'inspect', '--format', '{{.Id}}', 'overlay1')
    const format = '{{json .Endpoint.VirtualIPs}}'
    const vips = JSON.parse(
      await this.stage.docker('service', 'inspect', '--format', format, 'vote'),
    ) as { NetworkID: string; Addr: string }[]
    return vips.find(({ NetworkID }) => NetworkID === id)?.Addr.split('/')[0] ?? ''
  }

  private async names(): Promise<void> {
    title("Docker's resolver gives the VIP, and the tasks for dnsrr")
    const create = ['service', 'create', '--quiet', '--no-resolve-image', '--network', 'overlay1']
    const dnsrr = ['--endpoint-mode', 'dnsrr', '--name', 'rr', '--replicas', '2']
    const publish = ['--label', 'fairlead.publish=8090:80']
    await this.docker(...create, ...dnsrr, ...publish, image, 'serve')
    await this.stage.settled('overlay1/rr', 2)
    const vip = await this.vip()
    for (const node of this.stage.nodes) {
      check(
        `vote is ${vip} on ${node.name}`,
        (await this.client(node, 'nslookup', 'vote')).includes(`Address: ${vip}`) ||
          (await this.client(node, 'nslookup', 'vote')).includes(vip),
      )
      const { mode, vips } = await this.stage.service(node, 'overlay1/rr')
      check(`rr is in mode dnsrr on ${node.name}`, mode === 'dnsrr' && vips.length === 0)
    }
    await this.stage.settled('docker_gwbridge/rr', 2)
    const published = await this.stage.allContainers('rr')
    for (const node of this.stage.nodes) {
      const asked = await this.fromOutside(node, 8090, 4)
      check(
        `rr, which Swarm cannot publish, is published by a label on ${node.name}`,
        this.alternates(asked, published, node),
        asked.join(' | '),
      )
    }
    await this.docker('service', 'rm', 'rr')
    const label = ['service', 'update', '--quiet', '--no-resolve-image', '--detach', '--label-add']
    await this.docker(...label, 'fairlead.ttl=30s', 'vote')
    for (const node of this.stage.nodes) {
      const labelled = async (): Promise<boolean> =>
        (await this.stage.service(node, KEY)).ttlSeconds === 30
      await until('the label to be taken up', labelled, engineWaitMs)
      check(`a label of the service is taken up on ${node.name}`, true)
    }
  }

  private async resolve(): Promise<void> {
    title('fairlead answers in containers that ask for it: stacks, slots, tasks')
    const create = ['service', 'create', '--quiet', '--no-resolve-image', '--network', 'overlay1']
    const inStack = (stack: string) => ['--container-label', `com.docker.stack.namespace=${stack}`]
    for (const stack of ['shop', 'blog'])
      await this.docker(...create, ...inStack(stack), '--name', `${stack}_db`, image, 'serve')
    const asker = ['--name', 'asker', '--mode', 'global', '--container-label', 'fairlead.dns=true']
    await this.docker(...create, ...asker, ...inStack('shop'), image, 'serve')
    for (const name of ['shop_db', 'blog_db']) await this.stage.settled(`overlay1/${name}`, 1)
    await this.stage.settled(KEY, 2)
    for (const node of this.stage.nodes) {
      const id = await this.stage.container(node, 'asker')
      const dig = async (...args: string[]): Promise<string> => {
        const asked = await this.stage.within(node, id, 'dig', '@127.0.0.11', '+short', ...args)
        await asked.exited
        return asked.stdout.trim().split('\n').sort().join()
      }
      const { vips, backends } = await this.stage.service(node, KEY)
      const slot = (of: string): string => backends.find((each) => each.slot === of)?.address ?? ''
      const stacked = async (name: string): Promise<string> =>
        (await this.stage.service(node, `overlay1/${name}`)).vips.join()
      await until(
        'fairlead to answer',
        async () => (await dig('db')) === (await stacked('shop_db')),
      )
      const expected: [string, string][] = [
        ['vote', vips.join()],
        ['db.blog', await stacked('blog_db')],
        ['1.vote', slot('1')],
        ['vote.2', slot('2')],
        ['tasks.vote', [slot('1'), slot('2')].sort().join()],
        ['asker', await stacked('asker')],
        ['tasks.vote.overlay1', [slot('1'), slot('2')].sort().join()],
      ]
      for (const [name, address] of expected) {
        const given = await dig(name)
        check(`${name} is ${address} on ${node.name}`, given === address && address !== '', given)
      }
      const container = (await node.engine.docker('inspect', '--format', '{{.Name}}', id)).slice(1)
      check('a container’s own name is as the engine has it', (await dig(container)) !== '')
    }
    await this.docker('service', 'rm', 'asker', 'shop_db', 'blog_db')
  }

  /** Who answers `count` requests for http://vote/ in a node's client. */
  private async ask(node: SwarmNode, count: number): Promise<Map<string, number>> {
    const answers = new Map<string, number>()
    for (let request = 0; request < count; request++) {
      const id = await this.client(node, 'wget', '-q', '-O', '-', 'http://vote/')
      answers.set(id, (answers.get(id) ?? 0) + 1)
    }
    return answers
  }

  private async balance(): Promise<void> {
    title('wget http://vote/ alternates between the replicas of both nodes')
    const replicas = await this.stage.allContainers('vote')
    const vip = await this.vip()
    for (const node of this.stage.nodes) {
      const before = await this.connections(node, 'sock')
      const answers = await this.ask(node, 6)
      print(
        `client on ${node.name}`,
        ['wget', '-q', '-O', '-', 'http://vote/'],
        [...answers].join('\n'),
      )
      check(
        `both replicas, three times each, from ${node.name}`,
        [...answers.keys()].sort().join() === [...replicas].sort().join() &&
          [...answers.values()].join() === '3,3',
      )
      const counted = (await this.connections(node, 'sock')) - before
      check('the socket path carried them', counted === 6, String(counted))
      const ping = await this.client(node, 'ping', '-c', '2', '-W', '5', vip)
      print(`client on ${node.name}`, ['ping', '-c', '2', vip], ping)
      check('the VIP answers ping', ping.includes('0% packet loss'))
      await this.traced(node, vip)
    }
  }

  private async connections({ agent }: SwarmNode, path: string): Promise<number> {
    return agent.metric('fairlead_connections_total', 'service="vote"', `path="${path}"`)
  }

  /** Raw SYNs pass the socket hooks by: they are balanced at the container's interface. */
  private async traced(node: SwarmNode, vip: string): Promise<void> {
    const before = await this.connections(node, 'tc')
    const id = await this.stage.container(node, 'client')
    const command = ['traceroute', '-T', '-n', '-q', '4', '-w', '5', '-p', '80', vip]
    const traced = await this.stage.within(node, id, ...command)
    await traced.exited
    const answered = traced.stdout.trim().split('\n').at(-1) ?? ''
    check('raw SYNs are answered from the VIP', answered.includes(`${vip} `), traced.stdout)
    check('the tc path carried those', (await this.connections(node, 'tc')) > before)
  }

  /** What `count` requests from outside to a port of a node are answered: container and client. */
  private async fromOutside(node: SwarmNode, port: number, count: number): Promise<string[]> {
    const url = `http://${node.outside.node}:${port}/cgi-bin/client`
    const answers: string[] = []
    for (let request = 0; request < count; request++) {
      const { stdout } = await this.stage.client.run('curl', ['-sS', '--max-time', '10', url])
      // The server has one socket for both families.
      answers.push(stdout.trim().replace(/\[::ffff:([\d.]+)\]$/, '$1'))
    }
    print('outside', ['curl', url], answers.join('\n'))
    return answers
  }

  /** Each container as often as the others, and all of them see the client. */
  private alternates(
    answers: readonly string[],
    containers: readonly string[],
    { outside }: SwarmNode,
  ): boolean {
    const each = answers.length / containers.length
    return containers.every(
      (id) => answers.filter((answer) => answer === `${id} ${outside.client}`).length === each,
    )
  }

  private async publish(): Promise<void> {
    title('the published port, from outside: all tasks on every node, and they see the client')
    const key = 'docker_gwbridge/vote'
    await this.stage.settled(key, 2)
    const tasks = await this.stage.allContainers('vote')
    for (const node of this.stage.nodes) {
      const asked = await this.fromOutside(node, 8080, 4)
      check(
        `${node.name} answers by its own task and the other node's, which see ${node.outside.client}`,
        this.alternates(asked, tasks, node),
        asked.join(' | '),
      )
    }
    const [first, second] = this.stage.nodes
    if (first === undefined || second === undefined) throw new Error('no nodes')
    for (const [on, other] of [
      [first, second],
      [second, first],
    ] as const) {
      const solo = ['--name', 'solo', '--constraint', `node.hostname==${on.name}`]
      await this.docker(
        ...['service', 'create', '--quiet', '--no-resolve-image', ...solo],
        ...['--publish', '8082:80', '--publish', '5353:7/udp', image, 'serve'],
      )
      await this.stage.settled('docker_gwbridge/solo', 1)
      const [task = ''] = await this.stage.containers(on, 'solo')
      const asked = await this.fromOutside(other, 8082, 2)
      check(
        `${other.name}, without a task, answers by that of ${on.name}`,
        this.alternates(asked, [task], other),
        asked.join(' | '),
      )
      await this.datagrams(on, task)
      await this.bulk(other)
      await this.docker('service', 'rm', 'solo')
      await this.forgotten('docker_gwbridge', 'solo')
    }
  }

  /** What the engine publishes by itself. */
  private async hosted(): Promise<void> {
    title('a port of mode host stays what the engine makes of it')
    await this.docker(
      ...['service', 'create', '--quiet', '--no-resolve-image', '--mode', 'global'],
      ...['--name', 'hosted', '--publish', 'mode=host,target=80,published=8090', image, 'serve'],
    )
    for (const node of this.stage.nodes) {
      await until(
        'its task',
        async () => (await this.stage.containers(node, 'hosted')).length === 1,
        engineWaitMs,
      )
      const asked = await this.fromOutside(node, 8090, 2)
      check(
        `${node.name} answers by its own task, which sees ${node.outside.client}`,
        this.alternates(asked, await this.stage.containers(node, 'hosted'), node),
        asked.join(' | '),
      )
      const ours = (await node.agent.api.services()).filter(({ name }) => name === 'hosted')
      check(`fairlead has no service of it on ${node.name}`, ours.length === 0)
    }
    await this.docker('service', 'rm', 'hosted')
  }

  /** UDP, as every node answers it by the one task. */
  private async datagrams(on: SwarmNode, task: string): Promise<void> {
    const program = join(import.meta.dirname, 'datagrams.js')
    const server = await this.stage.within(on, task, process.execPath, program, 'serve', '7', task)
    await server.printed(/ready/)
    for (const node of this.stage.nodes) {
      const ask = [program, 'ask', node.outside.node, '5353', '3']
      const { stdout } = await this.stage.client.run(process.execPath, ask)
      const answers = stdout.trim().split('\n')
      check(
        `datagrams to ${node.name} reach it, and it sees ${node.outside.client}`,
        this.alternates(answers, [task], node),
        answers.join(' | '),
      )
    }
    await server.stop()
  }

  /** Larger than any packet, through the tunnel and back. */
  private async bulk({ outside, name }: SwarmNode): Promise<void> {
    const url = `http://${outside.node}:8082/cgi-bin/bulk`
    const { stdout } = await this.stage.client.run('curl', [
      ...[
        '-sS',
        '--max-time',
        '20',
        '--output',
        '/dev/null',
        '--write-out',
        '%{size_download}',
        url,
      ],
    ])
    check(`3 MB arrive by way of ${name}`, stdout === '3000000', stdout)
  }

  private async forgotten(network: string, service: string): Promise<void> {
    for (const node of this.stage.nodes)
      await until(
        `${node.name} to forget ${network}/${service}`,
        async () =>
          !(await node.agent.api.services()).some(
            (each) => each.name === service && each.network === network,
          ),
        engineWaitMs,
      )
  }

  /** Requests from every node's client, one after the other, until `tallies` is called. */
  private async load(): Promise<{ tallies: () => Promise<Tally[]>; stop: () => Promise<void> }> {
    const url = `http://${await this.vip()}/`
    const program = join(import.meta.dirname, '../demo/requests.js')
    const running: Daemon[] = []
    for (const node of this.stage.nodes) {
      const id = await this.stage.container(node, 'client')
      running.push(await this.stage.within(node, id, process.execPath, program, url))
    }
    const tallies = async (): Promise<Tally[]> =>
      Promise.all(
        running.map(async (daemon) => {
          const lines = daemon.stdout.split('\n').length
          daemon.child.stdin?.write('\n')
          await until('a tally', () => daemon.stdout.split('\n').length > lines, engineWaitMs)
          return JSON.parse(daemon.stdout.trim().split('\n').at(-1) ?? '') as Tally
        }),
      )
    const stop = async (): Promise<void> => {
      await Promise.all(running.map(async (daemon) => daemon.stop()))
    }
    return { tallies, stop }
  }

  /** While requests go on from both nodes: nothing may fail, and so many replicas are used in the end. */
  private async under(what: string, change: () => Promise<void>, replicas: number): Promise<void> {
    const load = await this.load()
    await change()
    this.none(what, await load.tallies())
    // As many requests for each as it takes to see all of them, and that there are no others.
    const used = this.stage.nodes.map(() => new Set<string>())
    let asked = 0
    await until(
      `${replicas} replicas to answer`,
      async () => {
        const tallies = await load.tallies()
        this.none('and after', tallies, false)
        for (const [i, { ids }] of tallies.entries())
          for (const id of Object.keys(ids)) used[i]?.add(id)
        asked += Math.min(...tallies.map(({ ok }) => ok))
        return asked >= 5 * replicas
      },
      engineWaitMs,
    )
    const counts = used.map(({ size }) => size)
    check(
      `${replicas} replicas answer on every node`,
      counts.every((count) => count === replicas),
      counts.join(),
    )
    await load.stop()
  }

  private none(what: string, tallies: readonly Tally[], told = true): void {
    const ok = tallies.reduce((sum, tally) => sum + tally.ok, 0)
    const failed = tallies.reduce((sum, tally) => sum + tally.failed, 0)
    if (!told && failed === 0) return
    check(`${what}: ${ok} requests, none failed`, failed === 0, JSON.stringify(tallies))
  }

  private async scale(): Promise<void> {
    title('docker service scale, up and down, with requests running on both nodes')
    const scaled = async (count: number): Promise<void> => {
      await this.docker('service', 'scale', '--detach', `vote=${count}`)
      await this.stage.settled(KEY, count)
    }
    await this.under('scaled to 4', async () => scaled(4), 4)
    await this.under('scaled to 2', async () => scaled(2), 2)
  }

  private async kill(): Promise<void> {
    title('a killed container is replaced under the same VIP')
    const [, node] = this.stage.nodes
    if (node === undefined) throw new Error('no second node')
    const vip = await this.vip()
    const before = await this.stage.allContainers('vote')
    const [victim = ''] = await this.stage.containers(node, 'vote')
    await node.engine.docker('kill', victim)
    console.log(` ${node.name}$ docker kill ${victim}`)
    await until(
      'another container',
      async () => {
        const now = await this.stage.allContainers('vote')
        return now.length === 2 && now.some((id) => !before.includes(id))
      },
      engineWaitMs,
    )
    await this.stage.settled(KEY, 2)
    for (const each of this.stage.nodes) {
      const answers = await this.ask(each, 4)
      check(
        `both replicas answer at ${vip} on ${each.name}`,
        [...answers.values()].join() === '2,2' && !answers.has(victim),
        [...answers].join(' '),
      )
    }
    check('the VIP is the same', (await this.vip()) === vip)
  }

  private async restart(): Promise<void> {
    title('the agents are killed and come back, with requests running on both nodes')
    const again = async (): Promise<void> => {
      for (const { name, agent } of this.stage.nodes) {
        await agent.process?.stop('SIGKILL')
        console.log(` ${name}$ kill -KILL AGENT`)
        agent.start('--detach-on-exit')
        await agent.ready(engineWaitMs)
      }
      await this.stage.settled(KEY, 2)
    }
    await this.under('agents restarted', again, 2)
  }

  private async update(): Promise<void> {
    title('a rolling update and its rollback, with requests running on both nodes')
    const change = ['service', 'update', '--quiet', '--detach', '--no-resolve-image']
    const forth = ['--update-order', 'start-first', '--update-delay', '1s']
    const back = ['--rollback-order', 'start-first', '--rollback-delay', '1s']
    await this.renewed('updated', ...change, ...forth, ...back, '--env-add', 'VERSION=2', 'vote')
    await this.renewed('rolled back', 'service', 'rollback', '--quiet', '--detach', 'vote')
  }

  /** A change that replaces both containers. */
  private async renewed(what: string, ...command: string[]): Promise<void> {
    const before = await this.stage.allContainers('vote')
    await this.under(
      what,
      async () => {
        await this.docker(...command)
        await until(
          'new containers only',
          async () => {
            const now = await this.stage.allContainers('vote')
            return now.length === 2 && now.every((id) => !before.includes(id))
          },
          2 * engineWaitMs,
        )
        await this.stage.settled(KEY, 2)
      },
      2,
    )
  }

  private async drain(): Promise<void> {
    title('a node is drained: its tasks move')
    const [first, second] = this.stage.nodes
    if (first === undefined || second === undefined) throw new Error('no nodes')
    const attached = async (): Promise<boolean> =>
      (await second.agent.api.status()).attachments.some(({ network }) => network === 'overlay1')
    check(`overlay1 is attached on ${second.name}`, await attached())
    await this.docker('node', 'update', '--availability', 'drain', second.name)
    await until(
      'its tasks to move',
      async () => (await this.stage.containers(first, 'vote')).length === 2,
      engineWaitMs,
    )
    await this.stage.settled(KEY, 2, [first])
    const answers = await this.ask(first, 4)
    check('both replicas answer', [...answers.values()].join() === '2,2', [...answers].join(' '))
    await until(
      'nothing to be attached on the drained node',
      async () => !(await attached()),
      engineWaitMs,
    )
    check('nothing of it is attached there any more', true)
    await this.docker('node', 'update', '--availability', 'active', second.name)
    await this.stage.container(second, 'client')
    await this.stage.settled(KEY, 2)
    const again = await this.ask(second, 4)
    check('and on that node once it is back', [...again.values()].join() === '2,2')
  }

  private async remove(): Promise<void> {
    title('what is removed is gone')
    await this.docker('service', 'rm', 'vote')
    for (const node of this.stage.nodes)
      await until(
        `${node.name} to forget vote`,
        async () => !(await node.agent.api.services()).some(({ name }) => name === 'vote'),
        engineWaitMs,
      )
    check('no agent knows the service', true)
  }
}

const stage = await SwarmStage.build('fs')
try {
  await Scene.play(stage)
  console.log(`\nall ${checked()} checks hold`)
} catch (error) {
  console.error(error)
  for (const { name, agent } of stage.nodes)
    console.error(`\n${name}: ${stripVTControlCharacters(agent.lastWords())}`)
  process.exitCode = 1
} finally {
  await stage.close()
}
