/** The report says what the results' JSON says, and nothing of parts that are not there. */
import t from 'tap'
import { documentOf } from '../../../bench/guest/document.js'
import { linesOf } from '../../../bench/guest/plan.js'
import { sections } from '../../../bench/report/sections.js'

const said = [
  '@{"kind":"kernel","release":"6.1.0"}',
  '@{"kind":"calibrated","instructions":20.02}',
  'a line of the kernel',
  ...[100, 104, 102].map((instructions) =>
    counted({ subject: 'ipvs-nat', case: 'frames', instructions }),
  ),
  ...[50, 51, 53].map((instructions) =>
    counted({ subject: 'fairlead-tc', case: 'frames', instructions }),
  ),
  counted({ subject: 'fairlead-tc', case: 'frames', services: 10_000, instructions: 54 }),
  '@{"kind":"left out","subject":"nft","reason":"no nft"}',
  '@{"kind":"end"}',
  '@{"kind":"coun',
].join('\n')

function counted(line: object): string {
  return `@${JSON.stringify({ kind: 'counted', services: 1, ...line })}`
}

t.test("the guest's lines become medians, ratios and verdicts", (t) => {
  const document = documentOf(linesOf(said), 3)
  t.equal(document.calibration, 1.001)
  t.same(
    document.rows.map((row) => [row.subject, row.services, row.instructions.median, row.toIpvs]),
    [
      ['ipvs-nat', 1, 102, 1],
      ['fairlead-tc', 1, 51, 0.5],
      ['fairlead-tc', 10_000, 54, 54 / 102],
    ],
  )
  t.same(
    document.verdicts.map(({ ratio, most, met }) => [ratio, most, met]),
    [
      [0.5, 0.6, true],
      [54 / 51, 1.05, false],
    ],
  )
  t.end()
})

t.test('the report has them', (t) => {
  const machine = { kernel: 'k', arch: 'a', cpu: 'c', cpus: 2, load: 0, mitigations: {} }
  const guest = {
    ...documentOf(linesOf(said), 3),
    ...{ host: machine, versions: {}, emulator: { qemu: 'QEMU 7' } },
  }
  const text = sections({ guest }).join('\n')
  t.match(text, '| IPVS NAT | 102 (1.00) |')
  t.match(text, '| fairlead, tc | 51 (0.50) |')
  t.match(text, '| fairlead, tc, 10,000 services | 54 (0.53) |')
  t.match(text, 'Left out: nftables: no nft.')
  t.notMatch(text, 'DNS')
  t.same(sections({}).length, 2)
  t.end()
})
