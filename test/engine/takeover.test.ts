/**
 * Beside an engine that balances by itself: a service moves to fairlead by a label, and back, and what is
 * not labelled passes untouched; at the end nothing of ours is left. The swarm is real. In place of IPVS,
 * which this kernel need not have, a server stands where the engine has its balancer: it has the VIPs in
 * the network's balancer namespace, and answers `engine`.
 */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Agent } from '../lib/agent.js'
import { censusOf, idsOf, mapHas, stillThere } from '../lib/census.js'
import { DockerEngine, engineWaitMs, image } from '../lib/engine.js'
import { type Daemon, type Namespace, NetLab, run, until } from '../lib/netns.js'

t.setTimeout(280_000)

/** Answers every line with `engine`, and HTTP as well. */
const ENGINES_OWN = `
import socket, threading
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('0.0.0.0', 80))
s.listen(64)
print('ready', flush=True)
def serve(c):
  try:
    first = c.recv(4096)
    if first.startswith(b'GET'):
      c.sendall(b'HTTP/1.0 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\nengine')
    while first and not first.startswith(b'GET'):
      c.sendall(b'engine\\n')
      first = c.recv(4096)
  except OSError: pass
  c.close()
while True:
  threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
`

/** A connection that is held: each line of stdin is sent, and what comes of it printed. */
const HOLD = `
import socket, sys
s = socket.create_connection((sys.argv[1], 80), timeout=10)
print('open', flush=True)
for line in sys.stdin:
  try:
    s.sendall(b'hello\\n')
    print(line.strip(), (s.recv(4096) or b'closed').split()[0].decode(), flush=True)
  except OSError as e:
    print(line.strip(), type(e).__name__, flush=True)
`

class Scene {
  vips = new Map<string, string>()
  overlay = ''
  balancer = ''

  private constructor(
    readonly lab: NetLab,
    readonly node: Namespace,
    readonly engine: DockerEngine,
    readonly agent: Agent,
  ) {}

  static async build(t: ConstructorParameters<typeof NetLab>[0]): Promise<Scene> {
    const lab = new NetLab(t)
    const node = await lab.namespace('node')
    const other = await lab.namespace('other')
    await lab.wire(
      { space: node, link: 'eth0', addresses: ['192.0.2.1/24'] },
      { space: other, link: 'eth0', addresses: ['192.0.2.2/24'] },
    )
    const engine = await DockerEngine.start(lab, node, 'node')
    const agent = new Agent(lab, node, 'node')
    agent.write({
      networks: [],
      services: [],
      agent: {
        docker: { socket: engine.socket },
        edge: { interfaces: ['eth0'] },
        log: { format: 'pretty' },
      },
    })
    const scene = new Scene(lab, node, engine, agent)
    await scene.#swarm()
    return scene
  }

  async #swarm(): Promise<void> {
    const { engine } = this
    await engine.docker('swarm', 'init', '--advertise-addr', '192.0.2.1')
    await engine.docker('network', 'create', '--driver', 'overlay', 'overlay1')
    const create = ['service', 'create', '--quiet', '--no-resolve-image', '--network', 'overlay1']
    for (const [name, replicas] of [
      ['client', 1],
      ['vote', 2],
      ['other', 1],
    ] as const)
      await engine.docker(...create, '--name', name, '--replicas', `${replicas}`, image, 'serve')
    const id = await engine.docker('network', 'inspect', '--format', '{{.Id}}', 'overlay1')
    for (const name of ['vote', 'other']) {
      const format = '{{json .Endpoint.VirtualIPs}}'
      const told = await engine.docker('service', 'inspect', '--format', format, name)
      const vips = JSON.parse(told) as { NetworkID: string; Addr: string }[]
      const vip = vips.find(({ NetworkID }) => NetworkID === id)?.Addr.split('/')[0] ?? ''
      this.vips.set(name, vip)
    }
    const folder = join(engine.execRoot, 'netns')
    const at = (pattern: RegExp): string => {
      const name = readdirSync(folder).find((each) => pattern.test(each))
      if (name === undefined)
        throw new Error(`no ${String(pattern)}: ${readdirSync(folder).join()}`)
      return join(folder, name)
    }
    this.overlay = at(new RegExp(`^\\d+-${id.slice(0, 8)}`))
    this.balancer = at(new RegExp(`^lb_${id.slice(0, 6)}`))
    for (const vip of this.vips.values())
      await this.in(this.balancer, 'ip', 'address', 'add', `${vip}/32`, 'dev', 'eth0')
    await this.start(this.balancer, 'python3', '-c', ENGINES_OWN).printed(/ready/)
  }

  vip(name: string): string {
    return this.vips.get(name) ?? ''
  }

  async in(path: string, ...command: string[]): Promise<string> {
    return (await run('nsenter', [`--net=${path}`, ...command])).stdout
  }

  start(path: string, ...command: string[]): Daemon {
    return this.lab.start('nsenter', [`--net=${path}`, ...command])
  }

  async containers(service: string): Promise<string[]> {
    const label = `label=com.docker.swarm.service.name=${service}`
    const listed = await this.engine.docker('ps', '--quiet', '--filter', label)
    return listed.split('\n').filter(Boolean)
  }

  async clientSpace(): Promise<string> {
    const [id = ''] = await this.containers('client')
    return (await this.engine.inspect(id)).NetworkSettings.SandboxKey
  }

  /** Who answers `count` requests from the client container, sorted. */
  async ask(service: string, count: number): Promise<string[]> {
    const space = await this.clientSpace()
    const answers: string[] = []
    for (let request = 0; request < count; request++) {
      const url = `http://${this.vip(service)}/`
      const args = [`--net=${space}`, 'curl', '-sS', '--max-time', '20', url]
      const { stdout, stderr } = await run('nsenter', args, { mayFail: true })
      answers.push(stdout.trim() || stderr.trim())
    }
    return answers.sort()
  }

  async hold(service: string): Promise<(word: string) => Promise<string>> {
    const held = this.start(await this.clientSpace(), 'python3', '-c', HOLD, this.vip(service))
    await held.printed(/open/)
    return async (word) => {
      held.child.stdin?.write(`${word}\n`)
      const [, result = ''] = await held.printed(new RegExp(`^${word} (.*)$`, 'm'))
      return result
    }
  }

  async label(service: string, ...change: string[]): Promise<void> {
    await this.engine.docker(
      ...['service', 'update', '--quiet', '--detach', '--no-resolve-image', ...change, service],
    )
  }

  /** Waits until the agent serves these, in the kernel and in DNS. */
  async serves(...names: string[]): Promise<void> {
    await until(
      `the agent to serve ${names.join() || 'nothing'}`,
      async () => {
        const { desired, answering } = await this.agent.revision()
        const found = await this.agent.api.services()
        const whole = found.every(({ backends }) =>
          backends.every(({ state }) => state === 'active'),
        )
        const named = found.map(({ name }) => name).sort()
        return named.join() === names.join() && whole && desired === answering
      },
      engineWaitMs,
    )
  }

  async attached(): Promise<boolean> {
    const { attachments } = await this.agent.api.status()
    return attachments.some(({ network }) => network === 'overlay1')
  }

  hasRow(service: string): Promise<boolean> {
    return mapHas(`${this.agent.pins}/maps/vips4`, this.vip(service))
  }

  /** Frames of a ping to a VIP, from the IP header on: as the client sends them, and as they arrive. */
  async frames(service: string): Promise<{ sent: string[]; arrived: string[] }> {
    const vip = this.vip(service)
    const space = await this.clientSpace()
    const seen = async (path: string): Promise<Daemon> => {
      const dump = ['-i', 'any', '-n', '-x', '-c', '3', '--immediate-mode', '-l']
      const daemon = this.start(path, 'tcpdump', ...dump, `icmp[0] = 8 and dst ${vip}`)
      await until('tcpdump', () => daemon.stderr.includes('listening on'))
      return daemon
    }
    const captures = await Promise.all([space, this.balancer].map(seen))
    await this.in(space, 'ping', '-c', '3', '-i', '0.2', '-W', '5', '-s', '64', vip)
    await Promise.all(captures.map(async (daemon) => daemon.exited))
    const bytes = captures.map(({ stdout }) =>
      stdout.split(/\n(?=\S)/).map((packet) =>
        packet
          .replace(/^.*\n/, '')
          .replace(/^\s+0x[0-9a-f]+:\s*/gm, '')
          .trim(),
      ),
    )
    return { sent: bytes[0] ?? [], arrived: bytes[1] ?? [] }
  }

  async census(): Promise<Record<string, string[]>> {
    const [vote = ''] = await this.containers('vote')
    const { NetworkSettings } = await this.engine.inspect(vote)
    return {
      node: await censusOf(this.node.path),
      overlay: await censusOf(this.overlay),
      balancer: await censusOf(this.balancer),
      client: await censusOf(await this.clientSpace()),
      task: await censusOf(NetworkSettings.SandboxKey),
    }
  }
}

t.test('a service is taken over by a label, and given back', async (t) => {
  const scene = await Scene.build(t)
  const { agent, engine } = scene
  const tasks = async (): Promise<string[]> => (await scene.containers('vote')).sort()
  await until('the tasks', async () => (await tasks()).length === 2, engineWaitMs)
  await until('the client', async () => (await scene.containers('client')).length === 1)
  t.same(await scene.ask('vote', 2), ['engine', 'engine'], 'before there is an agent')
  const before = await scene.census()
  for (const [name, lines] of Object.entries(before))
    t.ok(lines.length > 100, `${name} has ${lines.length} lines`)

  agent.start('--takeover', 'labelled')
  await agent.ready(engineWaitMs)
  const engines = await scene.hold('vote')

  await t.test('an agent that is told nothing leaves all to the engine', async (t) => {
    const { takeover } = await agent.api.status()
    t.same(takeover, { mode: 'labelled', names: [] })
    t.same(await agent.api.services(), [])
    t.notOk(await scene.attached(), 'nothing is attached to the network')
    t.notOk(await scene.hasRow('vote'))
    t.same(await scene.ask('vote', 2), ['engine', 'engine'])
    t.equal(await engines('one'), 'engine', 'a connection of the engine goes on')
  })

  let ours!: (word: string) => Promise<string>
  await t.test('a label takes a service over; the other one stays the engine’s', async (t) => {
    await scene.label('vote', '--label-add', 'fairlead.enable=true')
    await scene.serves('vote')
    t.ok(await scene.hasRow('vote'))
    t.notOk(await scene.hasRow('other'))
    const [one = '', two = ''] = await tasks()
    t.same(await scene.ask('vote', 4), [one, one, two, two])
    t.equal(await engines('two'), 'ConnectionResetError', 'a connection of the engine is reset')
    t.same(await scene.ask('other', 2), ['engine', 'engine'])
    const { sent, arrived } = await scene.frames('other')
    t.equal(sent.length, 3)
    t.same(arrived, sent, 'byte for byte')
    ours = await scene.hold('vote')
  })

  await t.test('without the label it is the engine’s again', async (t) => {
    await scene.label('vote', '--label-rm', 'fairlead.enable')
    await scene.serves()
    await until('nothing to be attached', async () => !(await scene.attached()), engineWaitMs)
    t.notOk(await scene.hasRow('vote'))
    t.match(
      await ours('one'),
      /^Connection(?:Reset|Aborted)Error$/,
      'a connection of ours is reset',
    )
    t.same(await scene.ask('vote', 2), ['engine', 'engine'])
  })

  await t.test('detach gives everything back', async (t) => {
    await scene.label('vote', '--label-add', 'fairlead.ttl=3s')
    await scene.serves('vote')
    const [one = '', two = ''] = await tasks()
    t.same(await scene.ask('vote', 2), [one, two], 'any label of ours will do')
    const ids = await idsOf(agent.pins)
    t.ok(
      ids.maps.length > 5 && ids.programs.length > 5 && ids.links.length > 3,
      JSON.stringify(ids),
    )
    await agent.stop()
    t.same(await scene.ask('vote', 2), [one, two], 'an agent that ends leaves it as it is')
    const args = [agent.program, 'detach', '--config', agent.file]
    const detach = scene.node.spawn(process.execPath, args)
    t.equal(await detach.exited, 0, detach.stderr)
    t.same(await scene.ask('vote', 2), ['engine', 'engine'])
    // Programs go when the last processor has left them.
    const nothing = { maps: [], programs: [], links: [] }
    const gone = async () => JSON.stringify(await stillThere(ids)) === JSON.stringify(nothing)
    await until('the kernel to let go', gone).catch(() => undefined)
    t.same(await stillThere(ids), nothing, 'no map, program or link')
    t.notOk(existsSync(agent.pins))
    t.same(
      await scene.census(),
      before,
      'addresses, routes, filters, rules and settings are as before',
    )
  })

  await engine.docker('swarm', 'leave', '--force')
  await engine.stop()
})
