/** Every subject of the benchmark that this kernel has carries what it is measured with. */
import t from 'tap'
import { hostCasesOf } from '../../bench/host/cases.js'
import { hostDocument } from '../../bench/host/document.js'
import { measureHost } from '../../bench/host/rounds.js'
import { SUBJECTS } from '../../bench/subjects/subjects.js'

t.setTimeout(280_000)

t.test('every subject is measured', async (t) => {
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  const run = await measureHost({
    ...{ title: 'host', rounds: 1, quick: true, cpu: 0, budgetMs: Infinity, stop: stop.signal },
    places: SUBJECTS.map((subject) => ({ subject, cases: hostCasesOf(subject) })),
    progress: () => undefined,
  })
  const { rows, failed, leftOut } = hostDocument(run)
  t.same(failed, [])
  // The kernel may lack IPVS; whatever else is missing would go unnoticed.
  const absent = new Set(leftOut.map(({ subject }) => subject))
  t.same(
    [...absent].filter((name) => !name.startsWith('ipvs')),
    [],
  )
  t.same(
    rows.map((row) => `${row.subject} ${row.case}`).sort(),
    SUBJECTS.filter(({ name }) => !absent.has(name))
      .flatMap((one) => hostCasesOf(one).map((of) => `${one.name} ${of.name}`))
      .sort(),
  )
  for (const { subject, case: name, figure } of rows)
    t.ok(figure.median > 0 && Number.isFinite(figure.median), `${subject} ${name}`)
})
