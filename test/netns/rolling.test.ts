/** Every backend of a service is replaced, one after the other, while long transfers run. */
import t from 'tap'
import { type EchoServer, LoadScene } from '../lib/loadScene.js'
import { sleep, until } from '../lib/netns.js'

const BACKENDS = 32
/** A second and more each. */
const TRANSFER_BYTES = 1_000_000

t.setTimeout(400_000)

t.test('32 backends are replaced, and neither a request nor a transfer fails', async (t) => {
  const scene = await LoadScene.build(t, 0)
  const { agent, lab } = scene.stage
  const servers = new Map<number, EchoServer>()
  const add = async (at: number) => servers.set(at, await scene.addBackend(at))
  for (let at = 0; at < BACKENDS; at++) await add(at)
  const active = [...servers.keys()]
  agent.write(scene.definition(active))
  agent.start('--detach-on-exit')
  await agent.ready()
  await scene.startLoads('--transfer', String(TRANSFER_BYTES))
  await scene.loaded(({ transfers }) => transfers > 0)
  let drained = 0
  for (let at = 0; at < BACKENDS; at++) {
    await add(BACKENDS + at)
    active.shift()
    active.push(BACKENDS + at)
    await agent.apply(scene.definition(active, [at]))
    const leaving = servers.get(at)
    if (leaving === undefined) throw new Error(`no server ${at}`)
    if ((await leaving.connections()) > 0) drained++
    await until(
      `the transfers of backend ${at} to end`,
      async () => (await leaving.connections()) === 0,
      60_000,
    )
    // A datagram may be on its way, and an answer.
    await sleep(50)
    await agent.apply(scene.definition(active))
    await leaving.stop()
    await lab.remove(leaving.space)
  }
  t.ok(drained > BACKENDS / 4, `${drained} backends had transfers to finish`)
  await sleep(1_000)
  for (const load of scene.loads) {
    const { ok, transfers, failed, errors, ids, slowest } = await load.tally()
    t.equal(failed, 0, `${load.path}: nothing failed`)
    t.same(errors, [])
    t.ok(ok > 1000, `${load.path}: ${ok} requests`)
    t.ok(transfers > 100, `${load.path}: ${transfers} transfers of ${TRANSFER_BYTES} bytes`)
    t.ok(Object.keys(ids).length > BACKENDS, 'old and new backends were used')
    t.comment(`${load.path}: ${ok} requests, ${transfers} transfers, slowest ${slowest} ms`)
  }
  await agent.stop()
})
