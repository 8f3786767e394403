/** An agent that is killed, over and over: nothing of it is seen on the wire. */
import { readdirSync } from 'node:fs'
import t from 'tap'
import { LoadScene } from '../lib/loadScene.js'
import { sleep } from '../lib/netns.js'
import { seeded } from '../lib/seeded.js'

const KILLS_READY = 30
const KILLS_STARTING = 4
const SEED = 20_260_101
const MAX_DELAY_MS = 700

t.setTimeout(400_000)

t.test('34 killed agents, and no request fails', async (t) => {
  const scene = await LoadScene.build(t, 3)
  const { agent } = scene.stage
  agent.write(scene.definition([0, 1, 2]))
  agent.start()
  await agent.ready(60_000)
  await scene.startLoads()
  await scene.loaded(({ ok, kept }) => ok > 0 && kept > 0)
  const pins = (directory: string) => readdirSync(`${agent.pins}/${directory}`).sort()
  const before = { links: pins('links'), maps: pins('maps') }
  const next = seeded(SEED)
  let kills = 0
  const kill = async (): Promise<void> => {
    await agent.stop('SIGKILL')
    kills++
    agent.start()
  }
  for (let round = 0; round < KILLS_READY; round++) {
    await sleep(next() * MAX_DELAY_MS)
    await kill()
    await agent.ready(60_000)
  }
  for (let round = 0; round < KILLS_STARTING; round++) {
    await kill()
    await sleep(next() * 1_200)
  }
  await kill()
  await agent.ready(60_000)
  t.equal(kills, KILLS_READY + KILLS_STARTING + 1)
  for (const load of scene.loads) {
    const { failed, errors, ok, kept, slowest, ids } = await load.tally()
    t.equal(failed, 0, `${load.path}: no request failed, no connection ended`)
    t.same(errors, [])
    t.ok(ok > 1000, `${load.path}: ${ok} requests`)
    t.ok(kept > 1000, `${load.path}: ${kept} answers on kept connections`)
    t.equal(Object.keys(ids).length, 3, 'every backend was used')
    t.comment(`${load.path}: ${ok} requests, ${kept} kept, slowest ${slowest} ms`)
  }
  t.same({ links: pins('links'), maps: pins('maps') }, before, 'nothing was left behind or lost')
  await agent.stop()
})
