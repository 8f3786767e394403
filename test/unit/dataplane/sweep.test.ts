import t from 'tap'
import { pauseMs } from '../../../src/dataplane/sweep.js'

/** Of a core, of which a hundredth is promised. */
const share = (seconds: number) => seconds / (seconds + pauseMs(seconds) / 1000)

t.test('a sweep that takes longer comes more seldom', (t) => {
  t.equal(pauseMs(0.14), 28_000, 'a million rows')
  for (const seconds of [0.025, 0.1, 0.5, 2, 30]) {
    t.ok(share(seconds) < 0.005, `${seconds} s cost less than half a hundredth`)
    t.ok(share(seconds) > 0.0049, 'and not much less: rows that nobody needs have to go')
  }
  t.end()
})

t.test('one that takes next to nothing comes every five seconds', (t) => {
  t.equal(pauseMs(0), 5_000)
  t.equal(pauseMs(0.02), 5_000)
  t.ok(pauseMs(0.03) > 5_000)
  t.end()
})
