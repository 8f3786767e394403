/**
 * Statistics of the benchmark against other implementations: Python's `statistics`, and for resampling
 * the exact law of a resampled median (Maritz and Jarrett, JASA 73 (1978), equation 1).
 */
import { execFileSync } from 'node:child_process'
import t from 'tap'
import {
  median,
  noise,
  quantile,
  randomFrom,
  ratioOf,
  spread,
} from '../../../bench/frame/statistics.js'

const random = randomFrom(7)
const samples = [1, 2, 3, 4, 5, 10, 33].map((size) =>
  Array.from({ length: size }, () => Math.round(random() * 1e6) / 100),
)

const PYTHON = `
import json, statistics, sys
out = []
for values in json.load(sys.stdin):
    cuts = statistics.quantiles(values, n=1000, method='inclusive') if len(values) > 1 else values * 999
    out.append([statistics.median(values), cuts[249], cuts[499], cuts[989], cuts[998]])
print(json.dumps(out))
`

t.test('medians and quantiles are those of Python', (t) => {
  const said = execFileSync('python3', ['-c', PYTHON], { input: JSON.stringify(samples) })
  const expected = JSON.parse(said.toString()) as number[][]
  for (const [at, values] of samples.entries()) {
    const ours = [median(values), ...[0.25, 0.5, 0.99, 0.999].map((q) => quantile(values, q))]
    for (const [i, value] of ours.entries())
      t.ok(Math.abs(value - (expected[at]?.[i] ?? NaN)) < 1e-6, `${values.length} values, ${i}`)
  }
  t.end()
})

/** P(the median of n draws from n ordered values is the k-th), n odd: a binomial tail's difference. */
function lawOfMedian(n: number): number[] {
  const choose = (k: number): number => (k === 0 ? 1 : (choose(k - 1) * (n - k + 1)) / k)
  const need = (n + 1) / 2
  const tail = (share: number) =>
    Array.from({ length: n + 1 - need }, (_, i) => need + i).reduce(
      (sum, k) => sum + choose(k) * share ** k * (1 - share) ** (n - k),
      0,
    )
  return Array.from({ length: n }, (_, k) => tail((k + 1) / n) - tail(k / n))
}

t.test('an interval has the ends of the exact law of resampled medians', (t) => {
  for (const n of [5, 7, 11]) {
    const values = Array.from({ length: n }, (_, k) => k + 1)
    const ones = values.map(() => 1)
    const law = lawOfMedian(n)
    t.ok(Math.abs(law.reduce((sum, p) => sum + p) - 1) < 1e-12, 'a law')
    for (const level of [0.5, 0.8, 0.95]) {
      const { ratio, low, high } = ratioOf(values, ones, { resamples: 20_000, level })
      t.equal(ratio, (n + 1) / 2)
      let below = 0
      const end = (share: number) => {
        below = 0
        return law.findIndex((p) => (below += p) >= share) + 1
      }
      // Where the law steps within a hair of the share, either side of the step is right.
      for (const [got, share] of [
        [low, (1 - level) / 2],
        [high, (1 + level) / 2],
      ] as const) {
        const ends = [end(share - 0.01), end(share), end(share + 0.01)]
        t.ok(ends.includes(Math.round(got)), `${n} values, ${level}: ${got} of ${ends.join()}`)
      }
    }
  }
  t.end()
})

t.test('rounds are pairs: what both suffered cancels', (t) => {
  const weather = [1, 5, 2, 9, 3, 7, 4]
  const { ratio, low, high } = ratioOf(
    weather.map((x) => 2 * x),
    weather,
  )
  t.same([ratio, low, high], [2, 2, 2])
  t.throws(() => ratioOf([1], [1, 2]), RangeError)
  t.end()
})

t.test('the same data give the same interval; other seeds another one, nearby', (t) => {
  const a = samples[6] ?? []
  const b = [...a].reverse()
  const first = ratioOf(a, b)
  t.same(ratioOf(a, b), first)
  const other = ratioOf(a, b, { seed: 2 })
  t.notSame(other, first)
  t.ok(Math.abs(other.low - first.low) < 0.3)
  t.end()
})

t.test('spread and noise', (t) => {
  t.same(spread([3, 1, 2]), { median: 2, min: 1, max: 3 })
  t.equal(noise([10, 10, 10]), 0)
  t.equal(noise([8, 9, 10, 11, 12]), 0.1)
  t.end()
})
