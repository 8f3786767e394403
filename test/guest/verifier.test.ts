/**
 * Every program is accepted by the oldest kernel that is supported, Debian 12's 6.1, and carries
 * packets there. The kernel is a guest on an emulated processor: no KVM, no network, no disk.
 */
import t, { type Test } from 'tap'
import { cpio } from '../lib/guest/cpio.js'
import { runGuest } from './run.js'
import { rows } from './table.js'
import { verifyAll, type KernelReport } from './verify.js'

// Also when it is run by itself, where tap allows 30 s.
t.setTimeout(240_000)

const skip =
  process.geteuid?.() !== 0 && process.env['CI'] === undefined ? 'needs root' : (false as const)

function accepted(t: Test, { objects }: KernelReport): void {
  t.ok(objects.length >= 2, 'there are objects')
  for (const { object, variant, programs, error, lacks } of objects) {
    if (lacks !== undefined) {
      t.comment(`${object}: done without, for want of ${lacks}`)
      continue
    }
    t.equal(error ?? '', '', `${object} ${variant}`)
    t.ok(Object.keys(programs).length > 0, `${object} ${variant} has programs`)
    for (const [name, count] of Object.entries(programs)) t.ok(count > 0, `${name} was verified`)
  }
}

t.test('6.1 and the running kernel accept every program', { skip, timeout: 230_000 }, async (t) => {
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  const here = verifyAll()
  accepted(t, here)
  const guest = await runGuest(stop.signal)
  t.match(guest.release, /^6\.1\./)
  accepted(t, guest)
  const lacking = new Set(guest.objects.filter(({ lacks }) => lacks).map(({ object }) => object))
  const names = ({ objects }: KernelReport) =>
    objects
      .filter(({ object }) => !lacking.has(object))
      .map(({ object, programs }) => [object, Object.keys(programs)])
  t.same(names(guest), names(here), 'the same programs')
  t.equal(guest.fuzz.failure, '', 'packets fare as they should')
  t.ok(guest.fuzz.translated > guest.fuzz.packets / 20, 'packets were translated')
  for (const { program, instructions } of rows([guest, here]))
    t.comment(`${program}: ${[...instructions].map((pair) => pair.join(' ')).join(', ')}`)
})

t.test('the archive is one that cpio reads', (t) => {
  const archive = cpio(new Map([['/a/b', Buffer.from('text')]]))
  t.equal(archive.length % 4, 0)
  t.equal(archive.toString('latin1', 0, 6), '070701')
  t.match(archive.toString('latin1'), 'a/b\0')
  t.match(archive.toString('latin1'), 'TRAILER!!!')
  t.end()
})
