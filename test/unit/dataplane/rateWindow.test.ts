/** How many events programs may tell of in how many jiffies. */
import t from 'tap'
import { rateWindow } from '../../../src/dataplane/flowEvents.js'

t.test('no more than the rate, and not much less, whatever the clock', (t) => {
  for (const hz of [100, 250, 300, 1000])
    for (const rate of [1, 2, 7, 9, 10, 19, 50, 99, 100, 997, 1000, 12_345, 100_000]) {
      const { jiffies, events } = rateWindow(rate, hz)
      const what = `${rate} at ${hz} Hz: ${events} in ${jiffies}`
      t.ok(Number.isInteger(jiffies) && Number.isInteger(events) && events > 0, what)
      t.ok(jiffies <= hz, what)
      const told = (events * hz) / jiffies
      t.ok(told <= rate && told >= rate * 0.9, `${what}: ${told}`)
    }
  t.same(rateWindow(1000, 250), { jiffies: 25, events: 100 })
  t.same(rateWindow(1, 250), { jiffies: 250, events: 1 })
  t.equal(rateWindow(0, 250).events, 0, 'nobody watches')
  t.end()
})
