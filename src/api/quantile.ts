/** What lies below a part of all values, from a histogram: as Prometheus's histogram_quantile() has it. */

/**
 * @param bounds upper ends of the buckets, ascending; the last bucket has none
 * @param counts one more than `bounds`, of each bucket by itself
 * @param part   0..1
 * @returns      undefined when nothing was counted; the greatest bound for what lies above it
 */
export function quantile(
  bounds: readonly number[],
  counts: readonly number[],
  part: number,
): number | undefined {
  const all = counts.reduce((sum, count) => sum + count, 0)
  if (all === 0) return undefined
  const wanted = all * part
  let below = 0
  for (const [at, upper] of bounds.entries()) {
    const count = counts[at] ?? 0
    const lower = at === 0 ? 0 : (bounds[at - 1] ?? 0)
    if (count > 0 && below + count >= wanted)
      return lower + (upper - lower) * ((wanted - below) / count)
    below += count
  }
  return bounds.at(-1)
}
