/** Medians, spreads and intervals of what rounds measured. Pure; randomness is seeded. */

/** Of all rounds. */
export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** A ratio of medians, with the interval that the share `level` of resamplings falls into. */
export interface Interval {
  readonly ratio: number
  readonly low: number
  readonly high: number
}

const RESAMPLES = 2000
const LEVEL = 0.95

function ascending(values: readonly number[]): number[] {
  return [...values].sort((a, b) => a - b)
}

/** @returns NaN of nothing */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** Linear between the two nearest values (Hyndman and Fan's type 7). @param share 0 to 1 */
export function quantile(values: readonly number[], share: number): number {
  const sorted = ascending(values)
  const place = (sorted.length - 1) * share
  const below = Math.floor(place)
  const [low = NaN, high = low] = sorted.slice(below, below + 2)
  return low + (place - below) * (high - low)
}

export function spread(values: readonly number[]): Spread {
  const sorted = ascending(values)
  return { median: median(sorted), min: sorted[0] ?? NaN, max: sorted.at(-1) ?? NaN }
}

/** How far rounds lie apart: half the range between the quartiles, as a share of the median. */
export function noise(values: readonly number[]): number {
  return (quantile(values, 0.75) - quantile(values, 0.25)) / 2 / median(values)
}

/** Uniform in [0, 1): mulberry32, the same for the same seed everywhere. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * The percentile bootstrap of median(subject) / median(baseline). Values at one index are of one round,
 * and are drawn together: what the machine did in that round fell on both.
 *
 * @param subject  as long as `baseline`
 * @throws RangeError on unequal lengths
 */
export function ratioOf(
  subject: readonly number[],
  baseline: readonly number[],
  { resamples = RESAMPLES, level = LEVEL, seed = 1 } = {},
): Interval {
  if (subject.length !== baseline.length) throw new RangeError('rounds are not pairs')
  const random = randomFrom(seed)
  const ratios = Array.from({ length: resamples }, () => {
    const drawn = subject.map(() => Math.floor(random() * subject.length))
    const of = (values: readonly number[]) => median(drawn.map((at) => values[at] ?? NaN))
    return of(subject) / of(baseline)
  })
  return {
    ratio: median(subject) / median(baseline),
    low: quantile(ratios, (1 - level) / 2),
    high: quantile(ratios, (1 + level) / 2),
  }
}
