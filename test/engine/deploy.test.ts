/**
 * The container image on a real engine: its root file system made by deploy/rootfs.sh, run by the compose
 * file and by the stack file as they are, but for paths of an engine that is a test's own.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { parse, stringify } from 'yaml'
import { cgroup2Mount } from '../../src/host/mounts.js'
import { DockerEngine, engineWaitMs, image } from '../lib/engine.js'
import { type Namespace, NetLab, type RunResult, run, until } from '../lib/netns.js'

const deploy = join(import.meta.dirname, '../../../deploy')
/** NET_BIND_SERVICE, NET_ADMIN, NET_RAW, SYS_ADMIN. */
const capabilities = [10, 12, 13, 21]

interface Mount {
  type: string
  source?: string
  target: string
}
interface ServiceFile {
  services: { agent: { image: string; volumes: Mount[]; build?: unknown } }
}

class Scene {
  private constructor(
    readonly lab: NetLab,
    readonly folder: string,
    readonly node: Namespace,
    readonly engine: DockerEngine,
  ) {}

  static async build(t: ConstructorParameters<typeof NetLab>[0]): Promise<Scene> {
    const lab = new NetLab(t)
    const folder = mkdtempSync(join(tmpdir(), `${lab.prefix}-`))
    const umount = () => execFileSync('umount', ['--lazy', folder], { stdio: 'ignore' })
    lab.atClose(() => rmSync(folder, { recursive: true, force: true }))
    // On a machine with systemd all mounts are shared. Here the engine's have to be, for `rslave`.
    await run('mount', ['--bind', folder, folder])
    lab.atClose(umount)
    await run('mount', ['--make-shared', folder])
    const node = await lab.namespace('node')
    await node.ip('link', 'add', 'eth0', 'type', 'bridge')
    await node.ip('address', 'add', '192.0.2.1/24', 'dev', 'eth0')
    await node.ip('link', 'set', 'eth0', 'up')
    process.env['TMPDIR'] = folder
    const engine = await DockerEngine.start(lab, node, 'node1')
    lab.atClose(() => rmSync(join('/sys/fs/bpf', lab.prefix), { recursive: true, force: true }))
    mkdirSync(join('/sys/fs/bpf', lab.prefix), { mode: 0o700 })
    return new Scene(lab, folder, node, engine)
  }

  /** Makes the image of what is installed and built. */
  async importImage(): Promise<void> {
    const tree = join(this.folder, 'tree')
    await run('bash', [join(deploy, 'rootfs.sh'), '--installed', tree])
    const changes = [
      'ENTRYPOINT ["fairlead"]',
      'CMD ["agent", "--config", "/etc/fairlead/fairlead.yaml"]',
    ].flatMap((change) => ['--change', change])
    const load = ['docker', '--host', `unix://${this.engine.socket}`, 'import', ...changes, '-']
    // Packed and unpacked in one go: it is large.
    const pack = ['-c', 'tar -C "$0" -c . | "$@"', tree, ...load, 'fairlead:latest']
    await run('sh', pack, { timeoutMs: engineWaitMs })
    rmSync(tree, { recursive: true })
  }

  /** A file of deploy/ with the paths of this engine and pins of this test. @returns its path */
  adapt(name: string): string {
    const file = parse(readFileSync(join(deploy, name), 'utf8')) as ServiceFile
    const sources: Record<string, string> = {
      '/var/run/docker.sock': this.engine.socket,
      '/var/run/docker/netns': join(this.engine.execRoot, 'netns'),
      '/var/lib/docker/swarm/certificates': join(
        ...([this.engine.folder, 'data/swarm/certificates'] as const),
      ),
      '/sys/fs/bpf': join('/sys/fs/bpf', this.lab.prefix),
      '/sys/fs/cgroup': cgroup2Mount() ?? '',
    }
    const { agent } = file.services
    delete agent.build
    for (const volume of agent.volumes) {
      const source = sources[volume.source ?? '']
      if (source === undefined) continue
      // The engine tells where these are, and there they have to be.
      if (/\/(netns|certificates)$/.test(volume.target)) volume.target = source
      volume.source = source
    }
    const path = join(this.folder, name)
    writeFileSync(path, stringify(file))
    const settings = readFileSync(join(deploy, 'container.yaml'), 'utf8')
    writeFileSync(join(this.folder, 'container.yaml'), settings)
    return path
  }

  compose(file: string, ...args: string[]): Promise<RunResult> {
    const env = { ...process.env, DOCKER_HOST: `unix://${this.engine.socket}` }
    const project = ['--project-name', 'fairlead', '--file', file]
    return run('docker-compose', [...project, ...args], { env, timeoutMs: engineWaitMs })
  }

  /** Waits until the agent in a container answers, with so many services. */
  async agent(filter: string): Promise<string> {
    return until(
      'the agent to answer in its container',
      async () => {
        const id = await this.engine.docker('ps', '--quiet', '--filter', filter)
        if (id === '') throw new Error(await this.engine.docker('ps', '--all', '--no-trunc'))
        const { code, stdout, stderr } = await this.engine.exec(id, 'fairlead', 'status', '--json')
        if (code !== 0) throw new Error(stderr + (await this.engine.try('logs', id)).stdout)
        const { revision } = JSON.parse(stdout) as { revision: { answering: number } }
        return revision.answering > 0 && id
      },
      engineWaitMs,
    )
  }

  /** Who answers at an address, asked four times from within a container. */
  async ask(container: string, host: string): Promise<string[]> {
    const answers = new Set<string>()
    for (let request = 0; request < 4; request++) {
      const url = `http://${host}/`
      const done = await this.engine.exec(container, 'wget', '-q', '-O', '-', url)
      answers.add(done.stdout.trim() || `failed: ${done.stderr}`)
    }
    return [...answers].sort()
  }

  /** What an agent in a container says of itself. */
  async diagnosis(container: string): Promise<string> {
    const asked = ['status', 'problems', 'services'].map((what) =>
      this.engine.exec(container, 'fairlead', what),
    )
    const said = (await Promise.all(asked)).map(({ stdout, stderr }) => stdout + stderr)
    const log = await this.engine.try('logs', '--tail', '20', container)
    return [...said, log.stdout].join('\n')
  }

  /** Waits for what an agent in a container has to bring about; says how it is if that fails. */
  async waitFor(what: string, agent: string, check: () => Promise<boolean>): Promise<void> {
    await until(what, check, engineWaitMs).catch(async (cause: unknown) => {
      throw new Error(`${what}\n${await this.diagnosis(agent)}`, { cause })
    })
  }

  /** The capabilities of a container's main process, as numbers. */
  async capabilities(container: string): Promise<number[]> {
    const { State } = await this.engine.inspect(container)
    const status = readFileSync(`/proc/${State.Pid}/status`, 'utf8')
    const set = BigInt(`0x${/^CapBnd:\s*(\S+)/m.exec(status)?.[1] ?? '0'}`)
    return Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => (set >> BigInt(bit)) & 1n)
  }
}

t.test('the Dockerfile copies what is there, and installs what the image needs', async (t) => {
  const lines = readFileSync(join(deploy, 'Dockerfile'), 'utf8').replaceAll('\\\n', ' ').split('\n')
  const copied = lines
    .filter((line) => line.startsWith('COPY') && !line.includes('--from'))
    .flatMap((line) => line.split(/\s+/).slice(1, -1))
  t.ok(copied.length > 3)
  for (const path of copied) t.ok(existsSync(join(deploy, '..', path)), path)
  // The very command of the file, but for what it is handed to.
  const install = lines.find((line) => line.includes('apt-get install')) ?? ''
  const awk = /awk '([^']+)'/.exec(install)?.[1] ?? ''
  const { stdout } = await run('awk', [awk, join(deploy, 'packages.txt')])
  t.ok(stdout.split('\n').includes('libbpf1'), stdout)
  t.notOk(stdout.includes('docker.io'))
})

t.test('the image, by compose and as a stack', async (t) => {
  const scene = await Scene.build(t)
  const { engine } = scene
  await scene.importImage()

  await t.test('compose: a container’s VIP is served by a container', async (t) => {
    const labels = ['--label', 'fairlead.service=web', '--network', 'net1']
    await engine.docker('network', 'create', '--subnet', '10.44.0.0/24', 'net1')
    await engine.docker('run', '-d', '--name', 'client', '--network', 'net1', image, 'serve')
    const file = scene.adapt('compose.yaml')
    await scene.compose(file, 'up', '--detach')
    const agent = await scene.agent('label=com.docker.compose.service=agent')
    t.same(await scene.capabilities(agent), capabilities)
    // Later than the agent: its mount of the namespaces has to follow.
    const replicas = await Promise.all(
      ['one', 'two'].map((name) =>
        engine.docker('run', '-d', '--name', name, ...labels, image, 'serve'),
      ),
    )
    const names = replicas.map((id) => id.slice(0, 12)).sort()
    const vip = await until(
      'both replicas to serve',
      async () => {
        const { stdout, stderr } = await engine.exec(agent, 'fairlead', 'show', 'web', '--json')
        if (stdout === '') throw new Error(stderr)
        const { vips, backends } = JSON.parse(stdout) as { vips: string[]; backends: object[] }
        return backends.length === 2 && vips[0]
      },
      engineWaitMs,
    )
    await scene.waitFor('the VIP to lead to both, at connect()', agent, async () => {
      const answers = await scene.ask('client', vip)
      if (answers.join() !== names.join()) throw new Error(answers.join())
      const { stdout } = await engine.exec(agent, 'fairlead', 'show', 'web', '--json')
      return /"path": *"sock"/.test(stdout)
    })
    const ping = await engine.exec('client', 'ping', '-c', '1', '-W', '5', vip)
    t.equal(ping.code, 0, ping.stdout + ping.stderr)
    const problems = await engine.exec(agent, 'fairlead', 'problems')
    t.equal(problems.stdout.trim(), 'no problems')

    await scene.compose(file, 'stop')
    t.same(await scene.ask('client', vip), names, 'traffic outlives the agent’s container')
    await scene.compose(
      file,
      ...['run', '--rm', 'agent', 'detach', '--config', '/etc/fairlead/fairlead.yaml'],
    )
    // A connection would wait for half a minute.
    const gone = await engine.exec('client', 'ping', '-c', '1', '-W', '2', vip)
    t.not(gone.code, 0, 'nothing is left')
    await scene.compose(file, 'down', '--volumes')
    await engine.docker('rm', '--force', 'one', 'two', 'client')
  })

  await t.test('stack: a swarm’s VIP is served by a global service', async (t) => {
    await engine.docker('swarm', 'init', '--advertise-addr', '192.0.2.1')
    await engine.docker('network', 'create', '--driver', 'overlay', 'back')
    const create = ['service', 'create', '--detach', '--no-resolve-image', '--network', 'back']
    await engine.docker(...create, '--name', 'vote', '--replicas', '2', image, 'serve')
    await engine.docker(...create, '--name', 'client', image, 'serve')
    const file = scene.adapt('stack.yaml')
    await engine.docker('stack', 'deploy', '--resolve-image', 'never', '-c', file, 'fairlead')
    const agent = await scene.agent('label=com.docker.swarm.service.name=fairlead_agent')
    t.same(await scene.capabilities(agent), capabilities)
    const client = await until('the client', () =>
      engine.docker('ps', '--quiet', '--filter', 'label=com.docker.swarm.service.name=client'),
    )
    await scene.waitFor('the VIP to lead to both tasks', agent, async () => {
      const answers = await scene.ask(client, 'vote')
      if (answers.length === 2 && !answers.join().includes('failed')) return true
      throw new Error(answers.join())
    })
    await engine.docker('stack', 'rm', 'fairlead')
    await until('the agent to be gone', async () => {
      const left = await engine.docker('ps', '--quiet', '--filter', `id=${agent}`)
      return left === ''
    })
    const answers = await scene.ask(client, 'vote')
    t.notMatch(answers.join(), 'failed', 'traffic outlives the service')
    await engine.docker('swarm', 'leave', '--force')
  })

  await engine.stop()
})
