/** `npm run demo:swarm`, which checks itself: real engines, a real swarm. It leaves nothing behind. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { run } from '../lib/netns.js'

/** What a stage is made of: namespaces, pins, folders and mounts. */
function left(): string[] {
  const list = (folder: string): string[] => {
    try {
      return readdirSync(folder).map((name) => `${folder}/${name}`)
    } catch {
      return []
    }
  }
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n')
  return [
    ...['/run/netns', '/sys/fs/bpf', '/tmp'].flatMap(list),
    ...mounts.map((line) => line.split(' ')[1] ?? ''),
  ].filter((path) => /\/fs\w+-node[12]\b/.test(path))
}

t.test('the scene holds, and cleans up', { timeout: 290_000 }, async (t) => {
  const before = left()
  const scene = join(import.meta.dirname, 'scene.js')
  const { code, stdout, stderr } = await run(process.execPath, [scene], {
    timeoutMs: 280_000,
    mayFail: true,
  })
  t.equal(code, 0, `${stdout}\n${stderr}`)
  t.match(stdout, /all \d+ checks hold/)
  t.same(left(), before)
})
