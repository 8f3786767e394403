/** `npm run demo:trouble`, which checks itself: a real Prometheus, its alerts. It leaves nothing behind. */
import { join } from 'node:path'
import t from 'tap'
import { run } from '../lib/netns.js'

t.test('what goes wrong is seen in every way', { timeout: 280_000 }, async (t) => {
  const { code, stdout, stderr } = await run(
    process.execPath,
    [join(import.meta.dirname, 'scene.js')],
    { timeoutMs: 270_000, mayFail: true },
  )
  t.equal(code, 0, `${stdout}\n${stderr}`)
  for (const alert of ['Slow', 'Unhealthy', 'Refuses'])
    t.match(stdout, new RegExp(`alert FairleadBackend${alert}: `))
  t.match(stdout, /all \d+ checks hold/)
})
