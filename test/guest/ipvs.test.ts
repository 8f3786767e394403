/**
 * What `ipvsadm-save -n` says after real commands on a kernel with IPVS is what the tests of the import
 * read (test/vectors/ipvs). The kernel is a guest: this one need not have IPVS.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { SAVED, runIpvs } from './ipvs.js'

// Also when it is run by itself, where tap allows 30 s.
t.setTimeout(240_000)

t.test('ipvsadm saves the rules that the import is tested with', async (t) => {
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  const { saved, restored, complaints } = await runIpvs(stop.signal)
  if (process.env['FAIRLEAD_RECORD'] !== undefined) writeFileSync(SAVED, saved)
  t.equal(complaints, '', 'no command is refused')
  t.equal(saved, readFileSync(SAVED, 'utf8'))
  t.equal(restored, saved, 'its own parser reads them')
})
