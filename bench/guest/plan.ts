/** What the host asks of the guest, and the lines of JSON that the guest answers with. */
import type { CaseName } from './cases.js'

/** Where the guest finds it. */
export const PLAN_FILE = '/plan.json'

export interface Plan {
  readonly subjects: readonly { readonly name: string; readonly services: number }[]
  /** Absent: all. */
  readonly cases?: readonly CaseName[]
  /** One more is run first, and not told. */
  readonly rounds: number
  /** How many times the cases' counts. */
  readonly scale: number
  /** Tells what each BPF program took by itself; the figures are not to be compared then. */
  readonly profile: boolean
}

/** One measurement. */
export interface Counted {
  readonly kind: 'counted'
  readonly subject: string
  readonly services: number
  readonly case: CaseName
  /** Instructions of one unit. */
  readonly instructions: number
}

/** A BPF program's own part of a case. */
export interface Profiled {
  readonly kind: 'profiled'
  readonly subject: string
  readonly case: CaseName
  readonly program: string
  /** Runs a unit, and instructions a run. */
  readonly runs: number
  readonly instructions: number
}

export type Line =
  | Counted
  | Profiled
  | { readonly kind: 'left out'; readonly subject: string; readonly reason: string }
  | {
      readonly kind: 'failed'
      readonly subject: string
      readonly case?: string
      readonly reason: string
    }
  | { readonly kind: 'calibrated'; readonly instructions: number }
  | { readonly kind: 'kernel'; readonly release: string }
  | { readonly kind: 'at'; readonly what: string }
  | { readonly kind: 'end' }

const MARK = '@'

export function tell(line: Line): void {
  console.log(`${MARK}${JSON.stringify(line)}`)
}

/** Whole lines alone: the last one may still be on its way. */
export function linesOf(said: string): Line[] {
  return said
    .split('\n')
    .slice(0, -1)
    .filter((text) => text.startsWith(MARK))
    .map((text) => JSON.parse(text.slice(MARK.length)) as Line)
}
