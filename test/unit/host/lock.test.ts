import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { lockDirectory } from '../../../src/host/lock.js'

t.test('one holder at a time, and nobody after it', async (t) => {
  const path = mkdtempSync(join(tmpdir(), 'fl-lock-'))
  t.teardown(() => rmSync(path, { recursive: true }))
  const first = await lockDirectory(path)
  await t.rejects(lockDirectory(path), {
    code: 'HOST',
    message: `${path} is in use by an agent that runs`,
  })
  // A child that outlives its parent must not keep the lock.
  execFileSync('true')
  first.close()
  first.close()
  const second = await lockDirectory(path)
  second.close()
})
