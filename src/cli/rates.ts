/** What happened between two looks at counters: pure functions. */
import type { CountersView, TotalsView } from '../api/schema.js'

/** In a second; `active` is how many there are. */
export type Rate = TotalsView

export const sortKeys = ['connections', 'active', 'packets', 'bytes', 'name'] as const
export type SortKey = (typeof sortKeys)[number]

const growing = ['connections', 'packetsIn', 'packetsOut', 'bytesIn', 'bytesOut'] as const

/**
 * One rate for each row of the later look. Counters that fell began anew, as after a detach: all that
 * they have is from in between.
 */
export function ratesBetween(before: CountersView, after: CountersView): Rate[] {
  const earlier = new Map(before.counters.map((row) => [keyOf(row), row]))
  const seconds = after.uptimeSeconds - before.uptimeSeconds
  return after.counters.map((row) => {
    const old = earlier.get(keyOf(row))
    const rate = { ...row }
    for (const name of growing) {
      const grown = row[name] - (old?.[name] ?? 0)
      rate[name] = seconds <= 0 ? 0 : (grown >= 0 ? grown : row[name]) / seconds
    }
    return rate
  })
}

/** The greatest first; equal ones by name. */
export function sortRates(rates: readonly Rate[], key: SortKey): Rate[] {
  const value = (rate: Rate): number => {
    switch (key) {
      case 'packets':
        return rate.packetsIn + rate.packetsOut
      case 'bytes':
        return rate.bytesIn + rate.bytesOut
      case 'name':
        return 0
      default:
        return rate[key]
    }
  }
  return [...rates].sort((a, b) => value(b) - value(a) || compare(keyOf(a), keyOf(b)))
}

function keyOf({ network, service, backend }: TotalsView): string {
  return `${network}/${service} ${backend ?? ''}`
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
