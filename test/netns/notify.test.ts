/** What a real agent tells its service manager, and when. */
import t from 'tap'
import { until } from '../lib/netns.js'
import { NotifySocket } from '../lib/notifySocket.js'
import { Stage, VIP4 } from '../lib/stage.js'

t.test('ready when it answers, alive while it works, stopping at its end', async (t) => {
  const stage = await Stage.build(t, 1)
  const { agent } = stage
  const socket = await NotifySocket.open(stage.lab)
  agent.write(stage.definition(false))
  agent.environment = { ...process.env, NOTIFY_SOCKET: socket.path, WATCHDOG_USEC: '1000000' }
  agent.start('--detach-on-exit')
  const [ready] = await socket.heard('READY=1')
  const { desired, answering } = await agent.revision()
  t.ok(desired > 0 && answering >= 1, 'not before kernel and DNS have a state')
  t.match((await stage.curl(`http://${VIP4}/`)).stdout, /backend/)
  t.same(ready?.lines, ['READY=1', 'STATUS=1 service on 1 network'])
  t.equal(ready?.pid, agent.process?.child.pid, 'in the name of the main process')

  await socket.heard('WATCHDOG=1', 3)
  agent.process?.child.kill('SIGSTOP')
  await until('silence', async () => {
    const fed = socket.count('WATCHDOG=1')
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    return socket.count('WATCHDOG=1') === fed
  })
  const fed = socket.count('WATCHDOG=1')
  agent.process?.child.kill('SIGCONT')
  await socket.heard('WATCHDOG=1', fed + 2)

  agent.process?.child.kill('SIGHUP')
  await socket.heard('RELOADING=1')
  await socket.heard('READY=1', 2)
  agent.write('version: 1\nnetworks: [\n')
  await socket.heard('STATUS=1 service on 1 network; 1 problem')
  agent.process?.child.kill('SIGHUP')
  await socket.heard('READY=1', 3)

  t.equal(await agent.stop(), 0)
  const lines = socket.messages.flatMap((message) => message.lines)
  t.same(lines.slice(-2), ['STOPPING=1', 'STATUS=ending'], 'the last word')
  t.notMatch(agent.lastWords(), 'could not be told')
})
