/** The Docker source on a real engine: services of its containers, from their birth to their end. */
import { join } from 'node:path'
import t from 'tap'
import type { ServiceView } from '../../src/api/schema.js'
import { Agent } from '../lib/agent.js'
import { DockerEngine, engineWaitMs, image } from '../lib/engine.js'
import { type Daemon, NetLab, run, until } from '../lib/netns.js'

const compose = (service: string, number: number): string[] => [
  ...['--label', 'com.docker.compose.project=shop'],
  ...['--label', `com.docker.compose.service=${service}`],
  ...['--label', `com.docker.compose.container-number=${number}`],
]

class Scene {
  private constructor(
    readonly lab: NetLab,
    readonly engine: DockerEngine,
    readonly agent: Agent,
  ) {}

  /** An engine with network `net1`, a container `client` on it, and an agent that knows of neither. */
  static async build(t: ConstructorParameters<typeof NetLab>[0]): Promise<Scene> {
    const lab = new NetLab(t)
    const node = await lab.namespace('node')
    // Containers live on while the engine is restarted.
    const engine = await DockerEngine.start(lab, node, 'node1', ['--live-restore'])
    await engine.docker(
      ...['network', 'create', '--subnet', '10.44.0.0/24', '--gateway', '10.44.0.1'],
      ...['--ipv6', '--subnet', 'fd44::/64', '--gateway', 'fd44::1', 'net1'],
    )
    await engine.docker('run', '-d', '--name', 'client', '--network', 'net1', image, 'serve')
    const agent = new Agent(lab, node, 'node1')
    agent.write({
      networks: [],
      services: [],
      agent: { docker: { socket: engine.socket, dns: true }, log: { format: 'pretty' } },
    })
    agent.start('--detach-on-exit')
    await agent.ready(engineWaitMs)
    return new Scene(lab, engine, agent)
  }

  async run(name: string, ...options: string[]): Promise<string> {
    const args = ['--network', 'net1', '--stop-timeout', '5', ...options, image, 'serve']
    const id = await this.engine.docker('run', '-d', '--name', name, ...args)
    return id.slice(0, 12)
  }

  service(name: string): Promise<ServiceView> {
    return this.agent.api.service('net1', name)
  }

  /** Waits until a service's backends have these states, in the kernel and in DNS. */
  states(name: string, ...expected: string[]): Promise<ServiceView> {
    return until(
      `${name} to be ${expected.join(', ') || 'empty'}`,
      async () => {
        const service = await this.service(name)
        const states = service.backends.filter(({ address }) => !address.includes(':'))
        const { desired, answering } = await this.agent.revision()
        const asExpected = states.map(({ state }) => state).join() === expected.join()
        if (asExpected && desired === answering) return service
        throw new Error(JSON.stringify(service.backends))
      },
      engineWaitMs,
    )
  }

  async problems(): Promise<string> {
    return JSON.stringify(await this.agent.api.problems())
  }

  async sandbox(container: string): Promise<string> {
    return (await this.engine.inspect(container)).NetworkSettings.SandboxKey
  }

  /** Runs a program of the host in a container's network namespace. */
  async within(container: string, file: string, args: readonly string[]): Promise<Daemon> {
    return this.lab.start('nsenter', [`--net=${await this.sandbox(container)}`, file, ...args])
  }

  /** Who answers `count` requests from the client container. */
  async ask(host: string, count: number): Promise<Map<string, number>> {
    const answers = new Map<string, number>()
    for (let request = 0; request < count; request++) {
      const { code, stdout, stderr } = await this.engine.exec(
        ...(['client', 'wget', '-q', '-O', '-', `http://${host}/`] as const),
      )
      const key = code === 0 ? stdout.trim() : `failed: ${code} ${stderr.trim()} ${stdout}`
      answers.set(key, (answers.get(key) ?? 0) + 1)
    }
    return answers
  }
}

/** A line of requests.js. */
interface Tally {
  readonly ok: number
  readonly errors: readonly string[]
}

t.test('containers of one engine', async (t) => {
  const scene = await Scene.build(t)
  const { engine, agent } = scene

  const one = await scene.run('web-1', ...compose('web', 1))
  const two = await scene.run('web-2', ...compose('web', 2))
  const { vips, backends } = await scene.states('web', 'active', 'active')
  const [vip = '', vip6 = ''] = vips

  await t.test(
    'a compose service has a name, a VIP for each family and its containers',
    async (t) => {
      t.match(vip, /^10\.44\.0\.(19[2-9]|2\d\d)$/, 'from the part that the engine uses last')
      t.match(vip6, /^fd44::/)
      t.same(backends.map(({ slot }) => slot).sort(), ['1', '1', '2', '2'])
      const questions = ['+short', '@10.44.0.1', 'web', 'AAAA', 'web', 'A']
      const dig = await scene.within('client', 'dig', questions)
      await dig.exited
      t.same(dig.stdout.trim().split('\n').sort(), [vip, vip6].sort(), 'at the gateway')
    },
  )

  await t.test('its VIP is balanced at connect(), and answers ping by tc', async (t) => {
    for (const host of [vip, `[${vip6}]`]) {
      const answers = await scene.ask(host, 6)
      t.same([...answers].sort(), [[one, 3] as const, [two, 3] as const].sort(), host)
    }
    t.equal(await agent.metric('fairlead_connections_total', 'service="web"', 'path="sock"'), 12)
    const { code, stdout } = await engine.exec('client', 'ping', '-c', '2', '-W', '5', vip)
    t.equal(code, 0, stdout)
  })

  await t.test('packets are balanced at the container, without its sockets', async (t) => {
    // The client's namespace seen from a name that is not the engine's is the same one, so a raw
    // packet is what passes the socket hooks by: a SYN of nping would do, traceroute is at hand.
    const syn = ['-T', '-n', '-w', '5', '-p', '80', vip]
    const traced = await scene.within('client', 'traceroute', syn)
    await traced.exited
    t.match(traced.stdout, new RegExp(`\\b${vip.replaceAll('.', '\\.')}\\b.*ms`), traced.stderr)
    t.ok((await agent.metric('fairlead_connections_total', 'service="web"', 'path="tc"')) > 0)
  })

  await t.test('more replicas join, one that is told to stop serves what it has', async (t) => {
    const program = join(import.meta.dirname, '../demo/requests.js')
    const requests = await scene.within('client', process.execPath, [program, `http://${vip}/`])
    const three = await scene.run('web-3', ...compose('web', 3), '-e', 'GRACE=3')
    await scene.states('web', 'active', 'active', 'active')
    // The API tells a backend before it is used.
    let asked = 0
    const heard = async (): Promise<string> => {
      requests.child.stdin?.write('\n')
      const lines = new RegExp(`(?:.*\\n){${++asked}}`)
      return (await requests.printed(lines))[0]
    }
    await until('a request to the third replica', async () => (await heard()).includes(three))
    const stopping = engine.docker('stop', '--time', '20', 'web-3')
    await scene.states('web', 'active', 'active', 'draining')
    await stopping
    await scene.states('web', 'active', 'active')
    const text = await heard()
    const tallies = text.match(/.+/g)?.map((line) => JSON.parse(line) as Tally) ?? []
    const errors = tallies.flatMap((tally) => tally.errors)
    t.same(errors, [])
    const ok = tallies.reduce((sum, tally) => sum + tally.ok, 0)
    t.ok(ok > 10, `${ok} requests`)
    await requests.stop()
    await engine.docker('rm', 'web-3')
  })

  await t.test('a container with a HEALTHCHECK joins when it is healthy', async (t) => {
    const check = ['--health-cmd', 'test -e /tmp/well', '--health-interval', '1s']
    await scene.run('slow', ...compose('slow', 1), ...check, '--health-retries', '1')
    const { vips } = await scene.states('slow', 'down')
    t.match([...(await scene.ask(vips[0] ?? '', 1)).keys()][0], /refused/i, 'refused until then')
    await engine.exec('slow', 'touch', '/tmp/well')
    await scene.states('slow', 'active')
    await engine.exec('slow', 'rm', '/tmp/well')
    await scene.states('slow', 'down')
    await engine.docker('rm', '-f', 'slow')
  })

  await t.test('labels say more; a mistake in one costs that service', async (t) => {
    await scene.run(
      'api-1',
      ...['--label', 'fairlead.service=api', '--label', 'fairlead.ports=8080:80'],
      ...['--label', 'fairlead.algorithm=wrr', '--label', 'fairlead.weight=7'],
    )
    const api = await scene.states('api', 'active')
    t.equal(api.algorithm, 'wrr')
    t.equal(api.backends[0]?.weight, 7)
    const [[, count] = []] = [...(await scene.ask(`${api.vips[0] ?? ''}:8080`, 2))]
    t.equal(count, 2)
    await scene.run(
      'bad-1',
      ...['--label', 'fairlead.service=bad', '--label', 'fairlead.algorithm=fastest'],
    )
    await until('the mistake to be told', async () => (await scene.problems()).includes('bad-1'))
    t.match(await scene.problems(), /container bad-1 label fairlead.algorithm/)
    await scene.run(
      'dns-1',
      ...['--label', 'fairlead.service=rr', '--label', 'fairlead.mode=dnsrr'],
    )
    t.equal((await scene.states('rr', 'active')).mode, 'dnsrr')
    await engine.docker('rm', '-f', 'api-1', 'bad-1', 'dns-1')
    await until('the mistake to go', async () => !(await scene.problems()).includes('bad-1'))
  })

  await t.test(
    'a killed container leaves at once; its successor serves under the same VIP',
    async (t) => {
      await engine.docker('kill', 'web-1')
      await scene.states('web', 'active')
      t.same([...(await scene.ask(vip, 4))], [[two, 4]])
      await engine.docker('start', 'web-1')
      const service = await scene.states('web', 'active', 'active')
      t.same(service.vips, vips)
      t.same([...(await scene.ask(vip, 4)).values()], [2, 2])
    },
  )

  await t.test('an engine that is killed is followed again; traffic does not notice', async (t) => {
    const sandbox = await scene.sandbox('client')
    await engine.process?.stop('SIGKILL')
    await until('the trouble to be told', async () => (await scene.problems()).includes('ENGINE'))
    for (let request = 0; request < 4; request++) {
      const curl = ['curl', '-sS', '--max-time', '10', `http://${vip}/`]
      const { code, stderr } = await run('nsenter', [`--net=${sandbox}`, ...curl])
      t.equal(code, 0, `without an engine: ${stderr}`)
    }
    await engine.run()
    await until(
      'the trouble to go',
      async () => !(await scene.problems()).includes('ENGINE'),
      engineWaitMs,
    )
    await scene.run('web-4', ...compose('web', 4))
    await scene.states('web', 'active', 'active', 'active')
    t.same([...(await scene.ask(vip, 6)).values()], [2, 2, 2])
  })

  await t.test('an engine that hangs is told of, and followed again', async (t) => {
    const sandbox = await scene.sandbox('client')
    const daemon = engine.process?.child
    daemon?.kill('SIGSTOP')
    await until(
      'the trouble to be told',
      async () => (await scene.problems()).includes('no answer within'),
      engineWaitMs,
    )
    for (let request = 0; request < 4; request++) {
      const curl = ['curl', '-sS', '--max-time', '10', `http://${vip}/`]
      const { code, stderr } = await run('nsenter', [`--net=${sandbox}`, ...curl])
      t.equal(code, 0, `without its answers: ${stderr}`)
    }
    daemon?.kill('SIGCONT')
    await until(
      'the trouble to go',
      async () => !(await scene.problems()).includes('ENGINE'),
      engineWaitMs,
    )
    t.match(agent.lastWords(), /no answer within/, 'the log has the cause')
    t.same([...(await scene.ask(vip, 6)).values()], [2, 2, 2])
  })

  await t.test('containers that end while they are attached leave nothing', async (t) => {
    const brief = Array.from({ length: 8 }, async (_, at) =>
      engine.try(
        ...['run', '--rm', '--network', 'net1', ...compose('web', 10 + at), image, 'ls', '/'],
      ),
    )
    await Promise.all(brief)
    await scene.states('web', 'active', 'active', 'active')
    t.same(await agent.api.problems(), [])
    t.same([...(await scene.ask(vip, 6)).values()], [2, 2, 2])
    await until('nothing of them to be attached', async () => {
      const ports = await engine.docker('ps', '--quiet')
      const { attachments } = await agent.api.status()
      const targets = attachments.filter(
        ({ network, hook }) => network === 'net1' && hook !== 'cgroup',
      )
      return new Set(targets.map(({ target }) => target)).size === ports.split('\n').length
    })
  })

  await t.test('an agent that comes later finds what is there', async (t) => {
    await agent.stop('SIGKILL')
    t.same([...(await scene.ask(vip, 3)).values()], [1, 1, 1], 'without an agent')
    agent.start('--detach-on-exit')
    await agent.ready(engineWaitMs)
    const service = await scene.states('web', 'active', 'active', 'active')
    t.same(service.vips, vips)
    t.same([...(await scene.ask(vip, 3)).values()], [1, 1, 1])
  })

  await t.test('names in a container, by fairlead and by the engine as before', async (t) => {
    const address = (await engine.inspect('client')).NetworkSettings.Networks['net1']?.IPAddress
    const outside = await scene.within('client', 'dnsmasq', [
      ...['--keep-in-foreground', '--conf-file=/dev/null', '--no-resolv', '--no-hosts'],
      ...['--user=root', '--pid-file=', '--bind-interfaces', `--listen-address=${address ?? ''}`],
      ...['--host-record=far.example,192.0.2.7', '--local=/example/'],
    ])
    const dns = ['--dns', address ?? '']
    await scene.run('asker', ...dns, '--label', 'fairlead.dns=true', '--network-alias', 'other')
    await scene.run('plain', ...dns)
    const [asker, plain] = [await scene.sandbox('asker'), await scene.sandbox('plain')]
    const ask = async (sandbox: string, ...args: string[]): Promise<string> => {
      const command = [`--net=${sandbox}`, 'dig', '@127.0.0.11', '+short', ...args]
      const { stdout } = await run('nsenter', command, { mayFail: true })
      return stdout.trim().split('\n').sort().join(' ')
    }
    const engines = async (...args: string[]): Promise<string> => ask(plain, ...args)
    const own = async (...args: string[]): Promise<string> => ask(asker, ...args)
    await until('fairlead to answer', async () => (await own('web')) === vip, engineWaitMs)
    const { backends } = await scene.service('web')
    const of = (slot: string, family: 4 | 6): string[] =>
      backends.flatMap((each) =>
        each.slot === slot && each.address.includes(':') === (family === 6) ? each.address : [],
      )
    t.equal(await own('WEB', 'AAAA'), vip6)
    t.equal(await own('+tcp', 'web.net1'), vip)
    t.equal(await own('1.web'), of('1', 4).join())
    t.equal(await own('web.2', 'AAAA'), of('2', 6).join())
    t.equal((await own('tasks.web')).split(' ').length, 3)
    t.equal(await own('-x', vip), 'web.net1.')
    const inside = await engine.exec('asker', 'nslookup', 'web')
    t.match(inside.stdout, new RegExp(`127.0.0.11[^]*${vip.replaceAll('.', '\\.')}`), 'within')
    const fetched = await engine.exec('asker', 'wget', '-q', '-O', '-', 'http://web/')
    t.equal(fetched.code, 0, `by name: ${fetched.stderr}`)
    t.not(await engines('web'), vip, 'nobody else')

    const [back4, back6] = [of('1', 4).join(), of('1', 6).join()]
    const asBefore = [
      ...['web-1', 'other', 'asker', 'web-1.net1', 'far.example', 'far.example', 'MX'],
      ...['not.example', 'web-2', '+tcp', '-x', back4, '-x', back6],
    ]
    const compare = async (title: string): Promise<void> => {
      const [ours, theirs] = await Promise.all([own(...asBefore), engines(...asBefore)])
      t.equal(ours, theirs, title)
      t.match(ours, '192.0.2.7', title)
    }
    await compare('with an agent')
    t.equal(await own('web-1'), back4)

    await engine.process?.stop('SIGKILL')
    t.equal(await own('web'), vip, 'without an engine')
    await engine.run()
    await until(
      'the resolver of the engine that came',
      async () => (await engines('web-1')) === back4,
      engineWaitMs,
    )
    await compare('when the engine was restarted')

    await agent.stop('SIGKILL')
    await compare('at once, when it was killed')
    t.not(await own('web'), vip)
    agent.start('--detach-on-exit')
    await agent.ready(engineWaitMs)
    await until('fairlead to answer again', async () => (await own('web')) === vip, engineWaitMs)
    agent.process?.child.kill('SIGSTOP')
    await until(
      'the engine to answer for an agent that hangs',
      async () => (await own('+time=1', '+tries=1', 'far.example')) === '192.0.2.7',
    )
    await compare('beside an agent that hangs')
    agent.process?.child.kill('SIGCONT')
    await until('fairlead to answer again', async () => (await own('web')) === vip)
    await engine.docker('rm', '-f', 'asker', 'plain')
    await outside.stop()
  })

  await agent.stop()
  await engine.stop()
})
