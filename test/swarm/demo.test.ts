/** `npm run demo:swarm`, which checks itself: real engines, a real swarm. It leaves nothing behind. */
import { join } from 'node:path'
import t from 'tap'
import { leftovers } from '../lib/leftovers.js'
import { run } from '../lib/netns.js'

/** Of the scene's lab; another test may have one of its own meanwhile. */
const OURS = /\/fs\w+-node[12]\b/

t.test('the scene holds, and cleans up', { timeout: 290_000 }, async (t) => {
  const before = leftovers(OURS)
  const scene = join(import.meta.dirname, 'scene.js')
  const { code, stdout, stderr } = await run(process.execPath, [scene], {
    timeoutMs: 280_000,
    mayFail: true,
  })
  t.equal(code, 0, `${stdout}\n${stderr}`)
  t.match(stdout, /all \d+ checks hold/)
  t.same(leftovers(OURS), before)
})
