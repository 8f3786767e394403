/** `npm run demo:docker`, which checks itself: a real engine, docker-compose. It leaves nothing behind. */
import { join } from 'node:path'
import t from 'tap'
import { leftovers } from '../lib/leftovers.js'
import { NetLab, run } from '../lib/netns.js'

/** Of a stage's lab. */
const OURS = /\/fc\w+-(?:node|outer)\b/
const scene = join(import.meta.dirname, 'scene.js')

t.test('the scene holds, and cleans up', { timeout: 190_000 }, async (t) => {
  const before = leftovers(OURS)
  const { code, stdout, stderr } = await run(process.execPath, [scene], {
    timeoutMs: 180_000,
    mayFail: true,
  })
  t.equal(code, 0, `${stdout}\n${stderr}`)
  t.match(stdout, /all \d+ checks hold/)
  t.same(leftovers(OURS), before)
})

t.test('it cleans up when it is interrupted', { timeout: 100_000 }, async (t) => {
  const before = leftovers(OURS)
  const lab = new NetLab(t)
  const interrupted = lab.start(process.execPath, [scene])
  await interrupted.printed(/docker-compose up/, 90_000)
  t.not(leftovers(OURS).length, before.length, 'it has made something')
  t.not(await interrupted.stop('SIGINT', 60_000), 0)
  t.same(leftovers(OURS), before)
})
