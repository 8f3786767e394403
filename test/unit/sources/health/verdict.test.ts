import t from 'tap'
import { find, Tally } from '../../../../src/sources/health/verdict.js'
import { backend } from '../../model/fixtures.js'

/** `+` and `-` are results; the verdict after each: `u`p, `d`own. */
function verdicts(results: string, rise: number, fall: number): string {
  const tally = new Tally()
  return Array.from(results)
    .map((result) => {
      tally.add(result === '+', rise, fall)
      return tally.healthy === true ? 'u' : 'd'
    })
    .join('')
}

t.test('counts are of results in a row, not of all', (t) => {
  //                        the first decides
  t.equal(verdicts('+--+--+---', 2, 3), 'uuuuuuuuud', 'a success begins anew')
  t.equal(verdicts('-+-+-++', 2, 3), 'ddddddu', 'a failure begins anew')
  t.equal(verdicts('-', 2, 3), 'd', 'the first result decides')
  t.equal(verdicts('+-+-+-', 1, 1), 'ududud')
  t.end()
})

t.test('a turn is told once', (t) => {
  const tally = new Tally()
  const turns = Array.from('++---++').map((result) => tally.add(result === '+', 2, 2))
  t.same(turns, [true, false, false, true, false, false, true])
  t.equal(tally.consecutive, 2)
  tally.restart()
  t.equal(tally.healthy, true)
  t.equal(tally.consecutive, 0)
  t.equal(tally.add(false, 2, 2), false, 'after a restart the verdict stands until fall')
  t.equal(tally.add(false, 2, 2), true)
  t.end()
})

const [a, b, c] = ['10.0.0.1', '10.0.0.2', '10.0.0.3'] as const
const [a6, b6] = ['fd00::1', 'fd00::2'] as const
const failing =
  (...addresses: string[]) =>
  (address: string): boolean =>
    !addresses.includes(address)

t.test('those that fail are down; all that fail are not', (t) => {
  const backends = [backend(a), backend(b)]
  t.same([...find(backends, failing(a), undefined).states], [[a, 'down']])
  const none = find(backends, () => undefined, undefined)
  t.same([none.states.size, none.failOpen], [0, []], 'before any result')
  const all = find(backends, failing(a, b), undefined)
  t.same([all.states.size, all.failOpen], [0, [4]])
  t.end()
})

t.test('families are judged apart', (t) => {
  const backends = [backend(a), backend(b), backend(a6), backend(b6)]
  const found = find(backends, failing(a, a6, b6), undefined)
  t.same([...found.states], [[a, 'down']])
  t.same(found.failOpen, [6])
  t.end()
})

t.test('declared states', (t) => {
  const draining = backend(b, { state: 'draining' })
  const held = backend(c, { state: 'down' })
  t.same(
    [...find([backend(a), draining], failing(a), undefined).states],
    [[a, 'down']],
    'a draining one that works is better than failing open',
  )
  t.same(
    find([backend(a), held], failing(a), undefined).failOpen,
    [4],
    'one that is held down does not count',
  )
  t.same(find([held], failing(c), undefined).failOpen, [])
  t.end()
})

t.test('below quorum all are down, and nothing fails open', (t) => {
  const backends = [backend(a, { weight: 2 }), backend(b), backend(c)]
  const states = (quorum: number, ...bad: string[]) => find(backends, failing(...bad), quorum)
  t.same(states(2, b, c).belowQuorum, [], 'the weight counts')
  t.same([...states(2, b, c).states.keys()], [b, c])
  const lost = states(3, b, c)
  t.same([...lost.states.keys()], [a, b, c])
  t.same([lost.belowQuorum, lost.failOpen], [[4], []])
  t.same(states(1, a, b, c).failOpen, [])
  t.same([...states(1, a, b, c).states.keys()], [a, b, c])
  const six = find([backend(a), backend(b), backend(a6)], failing(), 2)
  t.same(six.belowQuorum, [6], 'each family by itself')
  t.end()
})
