import t from 'tap'
import { measureHz, nearestHz, readConfiguredHz, readTick } from '../../../src/host/clock.js'

t.test('a measured rate snaps to what a kernel can have', (t) => {
  t.equal(nearestHz(249), 250)
  t.equal(nearestHz(1003), 1000)
  t.equal(nearestHz(98.7), 100)
  t.equal(nearestHz(400), undefined)
  t.equal(nearestHz(Number.NaN), undefined)
  t.equal(nearestHz(0), undefined)
  t.end()
})

t.test('measuring agrees with the kernel configuration', async (t) => {
  const configured = readConfiguredHz()
  const measured = await measureHz()
  if (configured === undefined || measured === undefined) {
    t.pass('this kernel does not tell both')
    return
  }
  // 250 and 256 cannot be told apart in so short a time; 2.5 % do not matter to a timer.
  t.ok(Math.abs(measured / configured - 1) < 0.03, `${measured} against ${configured}`)
})

t.test('there is always a tick', async (t) => {
  const { hz } = await readTick()
  t.ok(hz >= 24 && hz <= 1200)
})
