/** The order in which an engine made things: who was there first keeps its name. */

/**
 * @param a, b RFC 3339 with fractions of any length, which do not compare as text
 * @returns    as Array.sort wants it; 0 for two of one moment, or where one is no time
 */
export function byAge(a: string, b: string): number {
  const difference = Date.parse(a) - Date.parse(b)
  return Number.isNaN(difference) ? 0 : difference
}
