/** Another version of the programs, with records of another shape, put in place under load. */
import { existsSync } from 'node:fs'
import t from 'tap'
import { BpfMap } from 'libbpf-ts'
import { LoadScene } from '../lib/loadScene.js'
import { run, sleep, until } from '../lib/netns.js'
import { buildObjects, WIDER } from '../lib/otherLayout.js'

t.setTimeout(240_000)

t.test('flows are taken into another layout and back, under load', async (t) => {
  const wider = await buildObjects(t, WIDER)
  const scene = await LoadScene.build(t, 3)
  const { agent } = scene.stage
  agent.write(scene.definition([0, 1, 2]))
  agent.start()
  await agent.ready()
  await scene.startLoads()
  const layout = (name: string) => {
    using map = BpfMap.openPinned(`${agent.pins}/maps/${name}`)
    return { size: map.valueSize, rows: map.count() }
  }
  await until('flows', () => layout('flows4').rows > 50 && layout('flows6').rows > 50)
  const narrow = { flow: layout('flows4').size, backend: layout('backends').size }

  const settled = async () => {
    await agent.ready()
    await until('the former maps to go', () => !existsSync(`${agent.pins}/former`))
  }
  const check = async (what: string) => {
    for (const load of scene.loads) {
      const { failed, errors, ok, kept, slowest } = await load.tally()
      t.equal(failed, 0, `${what}: ${load.path}: no request failed, no connection ended`)
      t.same(errors, [], what)
      t.ok(ok > 50 && kept > 50, `${what}: ${load.path}: ${ok} requests, ${kept} kept`)
      t.comment(`${what}: ${load.path}: slowest ${slowest} ms`)
    }
  }
  for (const round of [1, 2]) {
    const flows = layout('flows4').rows
    await agent.stop(round === 2 ? 'SIGTERM' : 'SIGKILL')
    agent.start('--objects', wider)
    await settled()
    t.ok(layout('flows4').size > narrow.flow, 'the flows have the wider layout')
    t.ok(layout('backends').size > narrow.backend, 'the backends too')
    t.ok(layout('flows4').rows >= flows, 'no flow was left behind')
    await sleep(1_000)
    await check(`round ${round}, wider`)
    await agent.stop('SIGKILL')
    agent.start()
    await settled()
    t.equal(layout('flows4').size, narrow.flow)
    await sleep(1_000)
    await check(`round ${round}, back`)
  }
  // Killed while it is at it, and each time with the other objects.
  for (let at = 0; at < 8; at++) {
    await agent.stop('SIGKILL')
    agent.start(...(at % 2 === 0 ? ['--objects', wider] : []))
    await sleep(300 + at * 100)
  }
  await agent.stop('SIGKILL')
  agent.start()
  await settled()
  await sleep(1_000)
  await check('killed in between')
  t.equal(layout('flows4').size, narrow.flow)
  await agent.stop()
})

t.test('a record that lost its meaning is refused, and what runs goes on', async (t) => {
  const other = await buildObjects(t, [
    ['struct flow4_key {\n', 'struct flow4_key {\n\t__u32 zone;\n'],
  ])
  const scene = await LoadScene.build(t, 1)
  const { agent } = scene.stage
  agent.write(scene.definition([0]))
  agent.start()
  await agent.ready()
  await agent.stop()
  agent.start('--objects', other)
  await agent.process?.exited
  t.match(agent.lastWords(), /map flows4: key zone is new/)
  await run('test', ['-e', `${agent.pins}/maps/flows4`])
  t.notOk(existsSync(`${agent.pins}/next`))
  agent.start('--detach-on-exit')
  await agent.ready()
  await agent.stop()
})
