/**
 * The benchmark's guest on every subject that needs it, and one of ours: each is set up, carries what it
 * is measured with, and is counted alike in every round. Figures themselves no test holds.
 */
import t from 'tap'
import { casesOf } from '../../bench/guest/cases.js'
import { documentOf, unsteady } from '../../bench/guest/document.js'
import { countInGuest } from '../../bench/guest/guest.js'
import { SUBJECTS } from '../../bench/subjects/subjects.js'

// Also when it is run by itself, where tap allows 30 s.
t.setTimeout(280_000)

const skip =
  process.geteuid?.() !== 0 && process.env['CI'] === undefined ? 'needs root' : (false as const)
const OURS = 'fairlead-tc'
const ROUNDS = 3

t.test('every subject is counted', { skip, timeout: 270_000 }, async (t) => {
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  const chosen = SUBJECTS.filter(
    ({ name, family }) => name === 'direct' || family === 'ipvs' || name === OURS,
  )
  const subjects = chosen.map(({ name }) => ({ name, services: 2 }))
  const plan = { subjects, rounds: ROUNDS, scale: 0.5, profile: false }
  const document = documentOf(await countInGuest(plan, stop.signal, { limitSeconds: 250 }), ROUNDS)
  t.match(document.kernel, /^6\.1\./)
  t.ok(Math.abs(document.calibration - 1) < 0.01, 'time is a count of instructions')
  t.same(document.failed, [])
  t.same(document.leftOut, [])
  t.same(
    document.rows.map((row) => `${row.subject} ${row.case}`).sort(),
    chosen.flatMap((one) => casesOf(one).map((of) => `${one.name} ${of.name}`)).sort(),
  )
  t.same(unsteady(document), [], 'most rounds agree within 2 %')
  const frames = (subject: string) =>
    document.rows.find((row) => row.subject === subject && row.case === 'frames')?.instructions
      .median ?? NaN
  t.ok(frames('direct') > 1000, 'a packet takes more than a thousand instructions')
  t.ok(frames('ipvs-nat') > frames('direct'), 'to translate is more than to route')
  t.ok(frames('ipvs-swarm') > frames('ipvs-nat'), 'as Swarm has it is more than that')
})
