/** What was aimed at, beside what was measured. Pure. */
import type { Interval } from './statistics.js'

export type Outcome = 'met' | 'missed' | 'undecided'

export interface AimResult {
  readonly aim: string
  /** Of what it was measured: a subject, a case. */
  readonly of: string
  readonly value: number
  readonly bound: number
  readonly better: 'more' | 'less'
  /** Absent: a ratio. */
  readonly unit?: string
  /** Absent where a value is as good as exact. */
  readonly interval?: readonly [low: number, high: number]
  /** Undecided: the bound is inside the interval. */
  readonly outcome: Outcome
}

type Aimed = Omit<AimResult, 'outcome' | 'value' | 'interval'>

/** Of a value that stands for itself. */
export function judge(aimed: Aimed, value: number): AimResult {
  return { ...aimed, value, outcome: within(aimed, value) ? 'met' : 'missed' }
}

/** Of one that lies somewhere in an interval. */
export function judgeInterval(aimed: Aimed, { ratio, low, high }: Interval): AimResult {
  const decided = within(aimed, low) === within(aimed, high)
  const outcome = decided ? (within(aimed, low) ? 'met' : 'missed') : 'undecided'
  return { ...aimed, value: ratio, interval: [low, high], outcome }
}

function within({ better, bound }: Aimed, value: number): boolean {
  return better === 'less' ? value <= bound : value >= bound
}

function figure(value: number, unit: string | undefined): string {
  return unit === undefined ? value.toFixed(3) : `${value.toPrecision(3)} ${unit}`
}

/** Cells of a line: the aim, of what, the value, the bound, the outcome. */
export function aimCells(one: AimResult): string[] {
  const { aim, of, value, bound, better, unit, interval, outcome } = one
  const range = interval ? ` (${interval.map((end) => figure(end, unit)).join('–')})` : ''
  const most = better === 'less' ? 'at most' : 'at least'
  return [aim, of, `${figure(value, unit)}${range}`, `${most} ${bound}`, outcome]
}

/** A line an aim, in columns. */
export function aimTable(aims: readonly AimResult[]): string {
  const lines = aims.map(aimCells)
  const widths = (lines[0] ?? []).map((_, at) =>
    Math.max(...lines.map((line) => line[at]?.length ?? 0)),
  )
  return lines
    .map((line) => line.map((text, at) => text.padEnd(widths[at] ?? 0)).join('  '))
    .map((line) => line.trimEnd())
    .join('\n')
}
