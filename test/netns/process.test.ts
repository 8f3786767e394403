/** The agent as a process: signals, and two of them. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Agent } from '../lib/agent.js'
import { run, until } from '../lib/netns.js'
import { Stage, VIP4 } from '../lib/stage.js'

const command = join(import.meta.dirname, '../../src/cli/fairlead.js')

t.test('SIGHUP reads the file, changed or not', async (t) => {
  const stage = await Stage.build(t, 1)
  await stage.start(stage.definition(false))
  const reads = () => stage.agent.process?.stdout.match(/"file read"/g)?.length ?? 0
  const before = reads()
  stage.agent.process?.child.kill('SIGHUP')
  await until('the file to be read', () => reads() > before)
  stage.agent.write('version: 1\nnetworks: [\n')
  await until('the mistake to be told', async () =>
    (await stage.agent.command('problems')).includes('YAML'),
  )
  stage.agent.process?.child.kill('SIGHUP')
  t.match((await stage.curl(`http://${VIP4}/`)).stdout, /backend/, 'a mistake ends nothing')
  t.ok(stage.agent.process?.running)
})

t.test('SIGTERM at any moment of the start leaves nothing, if so asked', async (t) => {
  const stage = await Stage.build(t, 0)
  const { agent } = stage
  agent.write(stage.definition(false))
  for (const step of ['maps', 'links', 'maps/flows4']) {
    agent.start('--detach-on-exit')
    await until(`the agent to have ${step}`, () => existsSync(`${agent.pins}/${step}`))
    t.equal(await agent.stop(), 0, step)
    t.notOk(existsSync(agent.pins), 'no pin is left')
  }
})

t.test('a second agent is refused, and detach while one runs', async (t) => {
  const stage = await Stage.build(t, 1)
  await stage.start(stage.definition(false))
  const second = async (settings: object): Promise<string> => {
    const other = new Agent(stage.lab, stage.node, 'other')
    const text = stage.agent.text({ ...stage.definition(false), agent: settings })
    other.write(text)
    other.start()
    t.equal(await other.process?.exited, 1)
    return other.lastWords()
  }
  t.match(await second({}), `another agent answers at ${stage.agent.socket}`)
  const elsewhere = { socket: join(stage.agent.folder, 'b.sock'), metrics: '127.0.0.1:9754' }
  t.match(await second(elsewhere), `${stage.agent.pins} is in use by an agent that runs`)
  const args = [command, 'detach', '--pins', stage.agent.pins]
  const { code, stderr } = await run(process.execPath, args, { mayFail: true })
  t.equal(code, 1)
  t.match(stderr, 'is in use by an agent that runs')
  t.match((await stage.curl(`http://${VIP4}/`)).stdout, /backend/, 'the first goes on')
  t.equal(await stage.agent.metric('fairlead_connections_total', 'path="tc"'), 1)
})
