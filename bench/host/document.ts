/** The host's figures with intervals of their ratios, as JSON has them, beside the aims. Pure. */
import { type AimResult, judgeInterval } from '../frame/aims.js'
import { type Interval, median, noise, ratioOf, type Spread, spread } from '../frame/statistics.js'
import { SUBJECTS } from '../subjects/subjects.js'
import { ALL_HOST_CASES, type HostCase, type HostCaseName, type Measured } from './cases.js'
import type { Failure, HostRun, Sample } from './rounds.js'

export interface HostRow {
  readonly subject: string
  readonly case: HostCaseName
  readonly rounds: number
  readonly figure: Spread
  /** Half the range between quartiles, as a share of the median. */
  readonly noise: number
  readonly noisy: boolean
  /** To what there is without a balancer; null: that was not measured. */
  readonly toDirect: Interval | null
  /** Medians over rounds, microseconds; of round trips alone. */
  readonly latency?: { readonly p50: number; readonly p99: number; readonly p999: number }
}

export interface HostDocument {
  readonly bench: 'host'
  readonly cases: readonly Pick<HostCase, 'name' | 'title' | 'unit' | 'better'>[]
  readonly rows: readonly HostRow[]
  readonly leftOut: readonly Failure[]
  readonly failed: readonly Failure[]
}

/** Above this a figure says so. */
const NOISY = 0.05

const AIMS = [
  {
    aim: 'a connection by sockets, against no balancer',
    subject: 'fairlead-sock',
    case: 'connect',
    bound: 1.03,
  },
  {
    aim: 'a stream by sockets, against no balancer',
    subject: 'fairlead-sock',
    case: 'stream',
    bound: 0.97,
  },
  {
    aim: 'a stream by tc, against no balancer',
    subject: 'fairlead-tc',
    case: 'stream',
    bound: 0.97,
  },
] as const

/** To the wire there is no balancer to leave out. */
function baselineOf(subject: string): string {
  const whole = SUBJECTS.find(({ name }) => name === subject)?.wholeChecksums
  return whole ? 'direct-whole' : 'direct'
}

function figures(samples: readonly Sample[], subject: string, of: HostCase): Map<number, number> {
  const own = samples.filter((one) => one.subject === subject && one.case === of.name)
  return new Map(own.map(({ round, measured }) => [round, of.figure(measured)]))
}

function latencyOf(measured: readonly Measured[]): Pick<HostRow, 'latency'> {
  const microseconds = (pick: (one: Measured) => number | undefined) =>
    median(measured.map((one) => (pick(one) ?? NaN) / 1000))
  if (measured[0]?.p50 === undefined) return {}
  return {
    latency: {
      p50: microseconds(({ p50 }) => p50),
      p99: microseconds(({ p99 }) => p99),
      p999: microseconds(({ p999 }) => p999),
    },
  }
}

function rowOf(samples: readonly Sample[], subject: string, of: HostCase): HostRow[] {
  const own = figures(samples, subject, of)
  if (own.size === 0) return []
  const direct = figures(samples, baselineOf(subject), of)
  const pairs = [...own].flatMap(([round, value]) => {
    const below = direct.get(round)
    return below === undefined ? [] : [[value, below] as const]
  })
  const values = [...own.values()]
  const mine = samples.filter((one) => one.subject === subject && one.case === of.name)
  return [
    {
      ...{ subject, case: of.name, rounds: values.length, figure: spread(values) },
      ...{ noise: noise(values), noisy: noise(values) > NOISY },
      toDirect:
        pairs.length === 0
          ? null
          : ratioOf(
              pairs.map(([value]) => value),
              pairs.map(([, below]) => below),
            ),
      ...latencyOf(mine.map(({ measured }) => measured)),
    },
  ]
}

export function hostAims(rows: readonly HostRow[]): AimResult[] {
  return AIMS.flatMap(({ aim, subject, case: name, bound }) => {
    const interval = rows.find((row) => row.subject === subject && row.case === name)?.toDirect
    if (!interval) return []
    const better = ALL_HOST_CASES.find((one) => one.name === name)?.better ?? 'less'
    return [judgeInterval({ aim, of: `${subject}, ${name}`, bound, better }, interval)]
  })
}

export function hostDocument({ samples, leftOut, failed }: HostRun): HostDocument {
  const subjects = [...new Set(samples.map(({ subject }) => subject))]
  const order = SUBJECTS.map(({ name }) => name)
  subjects.sort((a, b) => order.indexOf(a) - order.indexOf(b))
  const rows = subjects.flatMap((subject) =>
    ALL_HOST_CASES.flatMap((of) => rowOf(samples, subject, of)),
  )
  return {
    bench: 'host',
    cases: ALL_HOST_CASES.map(({ name, title, unit, better }) => ({ name, title, unit, better })),
    ...{ rows, leftOut, failed },
  }
}

function digits(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString('en') : value.toPrecision(3)
}

/** A line a row. */
export function hostTable({ rows, cases }: HostDocument): string {
  const lines = rows.map(({ subject, case: name, figure, toDirect, latency, noisy }) => {
    const unit = cases.find((one) => one.name === name)?.unit ?? ''
    const { median: middle, min, max } = figure
    const ratio =
      toDirect &&
      `${toDirect.ratio.toFixed(2)} (${toDirect.low.toFixed(2)}–${toDirect.high.toFixed(2)})`
    const times =
      latency &&
      `p50 ${digits(latency.p50)} p99 ${digits(latency.p99)} p99.9 ${digits(latency.p999)} µs`
    return [
      ...[name, subject, `${digits(middle)} ${unit}`, `${digits(min)}–${digits(max)}`],
      ...[ratio ?? '', times ?? '', noisy ? 'noisy' : ''],
    ]
  })
  lines.sort((a, b) => (a[0] ?? '').localeCompare(b[0] ?? ''))
  const widths =
    lines[0]?.map((_, at) => Math.max(...lines.map((line) => line[at]?.length ?? 0))) ?? []
  return lines
    .map((line) =>
      line
        .map((text, at) => text.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
