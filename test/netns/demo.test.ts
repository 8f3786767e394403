/** The scene, twice at a time: it checks itself, and leaves nothing behind. */
import { join } from 'node:path'
import t from 'tap'
import { leftovers } from '../lib/leftovers.js'
import { run } from '../lib/netns.js'

/** Of a stage's lab. */
const OURS = /^\/(?:run\/netns|sys\/fs\/bpf|etc\/netns)\/fd[^/]*$/

t.test('two scenes at a time hold, and clean up', async (t) => {
  const before = leftovers(OURS)
  const scene = join(import.meta.dirname, '../demo/scene.js')
  const both = await Promise.all(
    [1, 2].map(() => run(process.execPath, [scene], { timeoutMs: 110_000, mayFail: true })),
  )
  for (const { code, stdout, stderr } of both) {
    t.equal(code, 0, stderr)
    t.match(stdout, /all \d+ checks hold/)
  }
  t.same(leftovers(OURS), before)
})
