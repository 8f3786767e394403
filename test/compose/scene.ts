/**
 * `npm run demo:docker`: one real Docker engine, a project of docker-compose, and an agent whose file has
 * no service in it. Checks all that it shows, exits 1 when anything differs, and leaves nothing behind.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { engineWaitMs } from '../lib/engine.js'
import { check, checked, print, title } from '../lib/narrate.js'
import { type Daemon, until } from '../lib/netns.js'
import { ComposeStage, OUTSIDE } from './stage.js'

interface Tally {
  readonly ok: number
  readonly failed: number
  readonly errors: readonly string[]
}

class Scene {
  #vip4 = ''
  #vip6 = ''

  private constructor(private readonly stage: ComposeStage) {}

  static async play(stage: ComposeStage): Promise<void> {
    const scene = new Scene(stage)
    await scene.up()
    await scene.names()
    await scene.balance()
    await scene.publish()
    await scene.scale()
    await scene.replace()
    await scene.health()
    await scene.restart()
    await scene.leave()
  }

  private async compose(...args: string[]): Promise<void> {
    print('node', ['docker-compose', ...args])
    await this.stage.compose(...args)
  }

  /** Runs a program of the client container. */
  private async client(...command: string[]): Promise<string> {
    const [id = ''] = await this.stage.containers('client')
    const { code, stdout, stderr } = await this.stage.engine.exec(id, ...command)
    if (code !== 0) throw new Error(`${command.join(' ')}: exit ${code} ${stdout}${stderr}`)
    return stdout.trim()
  }

  private async up(): Promise<void> {
    title('a compose project is started beside an agent that knows of no service')
    check('the agent has none', (await this.stage.agent.api.services()).length === 0)
    await this.compose('up', '--detach', '--scale', 'web=2')
    const { vips } = await this.stage.settled('web', 2)
    this.#vip4 = vips.find((vip) => !vip.includes(':')) ?? ''
    this.#vip6 = vips.find((vip) => vip.includes(':')) ?? ''
    check(`web has a VIP of each family, ${vips.join(' and ')}`, !!this.#vip4 && !!this.#vip6)
  }

  private async names(): Promise<void> {
    title('the name resolves to the VIP')
    const told = await this.client('nslookup', 'web')
    print('client', ['nslookup', 'web'], told)
    check(`web is ${this.#vip4}`, told.includes(this.#vip4))
    check(`and ${this.#vip6}`, told.includes(this.#vip6))
  }

  /** Who answers `count` requests of the client container. */
  private async ask(host: string, count: number): Promise<Map<string, number>> {
    const answers = new Map<string, number>()
    for (let request = 0; request < count; request++) {
      const id = await this.client('wget', '-q', '-O', '-', `http://${host}/`)
      answers.set(id, (answers.get(id) ?? 0) + 1)
    }
    return answers
  }

  private async balance(): Promise<void> {
    title('requests alternate between the containers, by name and in both families')
    const replicas = (await this.stage.containers('web')).sort().join()
    for (const host of ['web', `[${this.#vip6}]`]) {
      const answers = await this.ask(host, 4)
      print('client', ['wget', '-q', '-O', '-', `http://${host}/`], [...answers].join('\n'))
      check(
        'both, twice each',
        [...answers.keys()].sort().join() === replicas && [...answers.values()].join() === '2,2',
        [...answers].join(' '),
      )
    }
    for (const vip of [this.#vip4, this.#vip6]) {
      const ping = await this.client('ping', '-c', '2', '-W', '5', vip)
      print('client', ['ping', '-c', '2', vip], ping)
      check('the VIP answers ping', ping.includes('0% packet loss'))
    }
  }

  private async publish(): Promise<void> {
    title('a port published by a label: containers see the client outside')
    const url = `http://${OUTSIDE.node}:8080/cgi-bin/client`
    const ids = new Set<string>()
    for (let request = 0; request < 4; request++) {
      const { stdout } = await this.stage.client.run('curl', ['-sS', '--max-time', '10', url])
      // The server has one socket for both families.
      const [id = '', seen] = stdout.trim().replace('::ffff:', '').replace(/[[\]]/g, '').split(' ')
      ids.add(id)
      if (request === 0) print('outside', ['curl', url], stdout)
      check(`${id} sees ${OUTSIDE.client}`, seen === OUTSIDE.client, stdout)
    }
    check('both containers answer', ids.size === 2)
  }

  /** Requests one after the other from the client's namespace, while something changes. */
  private async under(what: string, change: () => Promise<void>): Promise<void> {
    const program = join(import.meta.dirname, '../demo/requests.js')
    const requests = await this.stage.within(process.execPath, program, `http://${this.#vip4}/`)
    await until('requests to begin', async () => (await tally(requests)).ok > 0)
    await change()
    const { ok, failed, errors } = await tally(requests)
    check(`${what}: ${ok} requests, none failed`, ok > 0 && failed === 0, errors.join())
    await requests.stop()
  }

  private async scale(): Promise<void> {
    title('scaled up and down with requests running')
    const to = async (count: number): Promise<void> => {
      await this.compose('up', '--detach', '--no-recreate', '--scale', `web=${count}`)
      await this.stage.settled('web', count)
    }
    await this.under('from 2 to 4 and back', async () => {
      await to(4)
      const answers = await this.ask(this.#vip4, 4)
      // Requests of the other client are in between.
      check('four containers have answered, or as many as were asked', answers.size > 1)
      await to(2)
    })
  }

  private async replace(): Promise<void> {
    title('a container is killed, and another one takes its place under the same VIP')
    const [victim = '', other = ''] = await this.stage.containers('web')
    print('node', ['docker', 'rm', '-f', victim])
    await this.stage.engine.docker('rm', '-f', victim)
    await this.stage.settled('web', 1)
    check('the other one answers', (await this.ask(this.#vip4, 2)).get(other) === 2)
    await this.compose('up', '--detach', '--no-recreate', '--scale', 'web=2')
    const { vips } = await this.stage.settled('web', 2)
    check('the VIP is the same', vips.includes(this.#vip4))
    const answers = await this.ask(this.#vip4, 4)
    check('the new one answers', answers.size === 2 && !answers.has(victim), [...answers].join(' '))
  }

  private async health(): Promise<void> {
    title('an unhealthy container leaves, and returns when it is well')
    const [sick = '', well = ''] = await this.stage.containers('web')
    await this.stage.engine.exec(sick, 'touch', '/tmp/sick')
    await this.#states('active,down')
    check('the other one answers', (await this.ask(this.#vip4, 3)).get(well) === 3)
    await this.stage.engine.exec(sick, 'rm', '/tmp/sick')
    await this.stage.settled('web', 2)
    check('both answer again', (await this.ask(this.#vip4, 4)).size === 2)
  }

  async #states(expected: string): Promise<void> {
    await until(
      `web to be ${expected}`,
      async () => {
        const { backends } = await this.stage.service('web')
        const four = backends.filter(({ address }) => !address.includes(':'))
        const { desired, answering } = await this.stage.agent.revision()
        const states = four.map(({ state }) => state).sort()
        return states.join() === expected && desired === answering
      },
      engineWaitMs,
    )
  }

  private async restart(): Promise<void> {
    title('the agent is killed and comes back, with requests running')
    const { agent } = this.stage
    await this.under('agent restarted', async () => {
      print('node', ['kill', '-KILL', 'AGENT'])
      await agent.stop('SIGKILL')
      check('the VIP answers without an agent', (await this.ask(this.#vip4, 2)).size > 0)
      agent.start()
      await agent.ready(engineWaitMs)
      await this.stage.settled('web', 2)
    })
  }

  private async leave(): Promise<void> {
    title('the agent ends, and detach takes everything back')
    const { agent } = this.stage
    await agent.stop()
    check('it still answers', (await this.ask(this.#vip4, 2)).size === 2)
    // Not by `ip netns exec`: it mounts /sys anew, without bpffs.
    const args = [agent.program, 'detach', '--config', agent.file]
    const detach = this.stage.node.spawn(process.execPath, args)
    const code = await detach.exited
    print('node', ['fairlead', 'detach', '--config', 'FILE'], detach.stdout)
    check('detach succeeds', code === 0, detach.stderr)
    check('its pins are gone', !existsSync(agent.pins))
    const [id = ''] = await this.stage.containers('client')
    const wget = ['wget', '-q', '-T', '2', '-O', '-', `http://${this.#vip4}/`]
    check('nobody has the VIP', (await this.stage.engine.exec(id, ...wget)).code !== 0)
    const direct = await this.client('wget', '-q', '-O', '-', 'http://web/')
    const replicas = await this.stage.containers('web')
    check("the engine's own way is as it was", replicas.includes(direct), direct)
  }
}

async function tally(requests: Daemon): Promise<Tally> {
  const from = requests.stdout.length
  requests.child.stdin?.write('\n')
  await until('a tally', () => requests.stdout.slice(from).endsWith('\n'), engineWaitMs)
  return JSON.parse(requests.stdout.slice(from)) as Tally
}

const started = Date.now()
const stage = await ComposeStage.build()
try {
  await Scene.play(stage)
  title(`all ${checked()} checks hold, ${((Date.now() - started) / 1000).toFixed(1)} s`)
} catch (error) {
  console.error(error)
  console.error(`\nagent: ${stripVTControlCharacters(stage.agent.lastWords())}`)
  process.exitCode = 1
} finally {
  await stage.close()
}
