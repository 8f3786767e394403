/** The scene, twice at a time: it checks itself, and leaves nothing behind. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { run } from '../lib/netns.js'

function left(): string[] {
  const list = (folder: string): string[] => {
    try {
      return readdirSync(folder)
    } catch {
      return []
    }
  }
  const demo = (name: string): boolean => name.startsWith('fd')
  return [...list('/run/netns'), ...list('/sys/fs/bpf'), ...list('/etc/netns')].filter(demo)
}

t.test('two scenes at a time hold, and clean up', async (t) => {
  const before = left()
  const scene = join(import.meta.dirname, '../demo/scene.js')
  const both = await Promise.all(
    [1, 2].map(() => run(process.execPath, [scene], { timeoutMs: 110_000, mayFail: true })),
  )
  for (const { code, stdout, stderr } of both) {
    t.equal(code, 0, stderr)
    t.match(stdout, /all \d+ checks hold/)
  }
  t.same(left(), before)
})
