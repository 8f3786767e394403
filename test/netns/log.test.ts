/** What the agent logs: one line an event, with the revision, and nothing of what packets carry. */
import t from 'tap'
import { until } from '../lib/netns.js'
import { Stage, VIP4, VIP6 } from '../lib/stage.js'

interface Line {
  readonly level: number
  readonly time: number
  readonly msg: string
  readonly revision: number
  readonly [field: string]: unknown
}

const SECRET = 'nobody-else-is-to-read-this'

t.test('JSON: each line is an event, and changes are as the API tells them', async (t) => {
  const stage = await Stage.build(t, 2)
  const health = { type: 'tcp', port: 80, interval: '500ms', timeout: '500ms', fall: 2 }
  const definition = (weight: number) => {
    const backends = stage.backends.map(({ v4 }, at) => ({
      ...{ address: v4, weight: at === 0 ? weight : 1 },
    }))
    const agent = { log: { level: 'debug' } }
    return { ...stage.definition(true, stage.service({ backends, health })), agent }
  }
  await stage.start(definition(1))
  const { agent } = stage
  for (const host of [VIP4, `[${VIP6}]`])
    await stage.curl(`http://${host}/${SECRET}`, '--data', SECRET, '--connect-timeout', '1')
  await agent.apply(definition(5))
  await stage.backends[1]?.server.stop('SIGKILL')
  await until('the check to fail', () => agent.process?.stdout.includes('"backend-state"'))
  const changes = await agent.api.changes()
  t.equal(await agent.stop(), 0)

  const text = agent.process?.stdout ?? ''
  t.equal(agent.process?.stderr, '')
  t.notMatch(text, SECRET)
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)
  for (const { level, time, msg, revision } of lines) {
    t.ok([20, 30, 40, 50].includes(level), `${msg}: ${level}`)
    t.ok(Math.abs(Date.now() - time) < 600_000, msg)
    t.ok(Number.isInteger(revision), `${msg}: ${revision}`)
  }
  const told = changes.filter(({ kind }) => !kind.startsWith('problem')).reverse()
  for (const kind of ['started', 'backend-weight', 'backend-state'])
    t.ok(
      told.some((change) => change.kind === kind),
      kind,
    )
  for (const { kind, revision, subject, backend, from, to } of told) {
    const found = lines.filter(
      (line) => line.msg === kind && line.revision === revision && line['backend'] === backend,
    )
    t.match(found, [{ subject, ...(from && { from, to }) }], kind)
    t.equal(found.length, 1, `${kind} once`)
  }
  const found = lines.find(({ msg }) => msg === 'backend fails its check')
  t.equal(found?.level, 40, 'a warning')
})

t.test('pretty: the same for eyes, in colour on a terminal alone', async (t) => {
  const stage = await Stage.build(t, 1)
  const { agent } = stage
  agent.write(stage.definition(false))
  agent.start('--detach-on-exit', '--log-format', 'pretty')
  await agent.ready()
  t.equal(await agent.stop(), 0)
  const plain = agent.process?.stdout ?? ''
  for (const line of plain.trimEnd().split('\n'))
    t.match(line, /^\[[\d:.]+\] (DEBUG|INFO|WARN|ERROR): \S.* \{.*"revision":\d+.*\}$/)
  t.match(plain, /INFO: new state .*"services":1/)

  const words = [process.execPath, agent.program, 'agent', '--config', agent.file]
  const line = [...words, '--detach-on-exit', '--log-format', 'pretty'].join(' ')
  const terminal = stage.node.spawn('script', ['-qefc', line, '/dev/null'])
  await terminal.printed(/new state/)
  t.ok(terminal.stdout.includes('\u001b['), 'colours')
  await terminal.stop()
})
