/** New flows and what became of them, for tests of how they are spread. */
import type { Datapath } from './kernel.js'
import { tcp, tupleOf } from './packet.js'

/** The backend that a SYN to port 80 is carried to. */
export function dialFrom(dp: Datapath, client: string, vip: string, sport: number): string {
  const packet = tcp({ src: client, sport, dst: vip, dport: 80, flags: 'S' })
  return tupleOf(dp.fromContainer(packet).packet).dst
}

export function tally(chosen: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const one of chosen) counts.set(one, (counts.get(one) ?? 0) + 1)
  return counts
}

/** Pearson's. @param expected of the same length */
export function chiSquare(counts: readonly number[], expected: readonly number[]): number {
  return counts.reduce((sum, count, i) => {
    const wanted = expected[i] ?? 0
    return sum + (count - wanted) ** 2 / wanted
  }, 0)
}

/** Degrees of freedom → the value that chance exceeds once in a thousand (NIST tables). */
export const CRITICAL = { 1: 10.828, 4: 18.467, 6: 22.458, 9: 27.877 } as const
