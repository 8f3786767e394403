/** Aims are judged by values, or by the interval that a value lies in. */
import t from 'tap'
import { aimCells, judge, judgeInterval } from '../../../bench/frame/aims.js'

const less = { aim: 'a', of: 'b', bound: 1.05, better: 'less' } as const
const more = { ...less, bound: 0.97, better: 'more' } as const

t.test('a value is on the side of the bound that is better, or is not', (t) => {
  t.equal(judge(less, 1.05).outcome, 'met')
  t.equal(judge(less, 1.06).outcome, 'missed')
  t.equal(judge(more, 0.97).outcome, 'met')
  t.equal(judge(more, 0.96).outcome, 'missed')
  t.end()
})

t.test('an interval with the bound inside decides nothing', (t) => {
  const outcome = (aimed: typeof less | typeof more, low: number, high: number) =>
    judgeInterval(aimed, { ratio: (low + high) / 2, low, high }).outcome
  t.equal(outcome(less, 0.9, 1.04), 'met')
  t.equal(outcome(less, 1.04, 1.2), 'undecided')
  t.equal(outcome(less, 1.06, 1.2), 'missed')
  t.equal(outcome(more, 0.98, 1), 'met')
  t.equal(outcome(more, 0.9, 1), 'undecided')
  t.equal(outcome(more, 0.9, 0.95), 'missed')
  t.end()
})

t.test('a line of the table says all of it', (t) => {
  t.same(aimCells(judge({ ...less, unit: 'ms' }, 1.5)), [
    ...['a', 'b', '1.50 ms', 'at most 1.05', 'missed'],
  ])
  t.same(aimCells(judgeInterval(more, { ratio: 0.98, low: 0.96, high: 1 })), [
    ...['a', 'b', '0.980 (0.960–1.000)', 'at least 0.97', 'undecided'],
  ])
  t.end()
})
