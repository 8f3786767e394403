import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Turns } from '../../../src/dataplane/turns.js'

t.test('one at a time, and one more for all that ask meanwhile', async (t) => {
  let underWay = 0
  let ended = 0
  const turns = new Turns(async () => {
    t.equal(++underWay, 1)
    await sleep(5)
    underWay--
    ended++
  })
  const first = turns.settled()
  turns.ask()
  turns.ask()
  turns.ask()
  await first
  t.equal(ended, 2)
  await turns.settled()
  turns.ask()
  await turns.settled()
  t.equal(ended, 3)
})

t.test('close waits for the turn under way, and lets go of who waits', async (t) => {
  let ended = 0
  const turns = new Turns(async () => {
    await sleep(5)
    ended++
  })
  turns.ask()
  turns.ask()
  const waiting = turns.settled()
  await turns.close()
  await turns.close()
  await waiting
  t.equal(ended, 1)
  turns.ask()
  await turns.settled()
  t.equal(ended, 1)
  t.ok(turns.closed)
})
