/** The results of counting, as JSON has them, beside the aims. Pure. */
import { type Spread, spread } from '../frame/statistics.js'
import { SUBJECTS } from '../subjects/subjects.js'
import type { Case, CaseName } from './cases.js'
import { CASES } from './cases.js'
import type { Line, Profiled } from './plan.js'

export interface Row {
  readonly subject: string
  readonly services: number
  readonly case: CaseName
  /** Instructions of one unit, over rounds. */
  readonly instructions: Spread
  /** Of the medians; null: the baseline was not counted. */
  readonly toIpvs: number | null
}

export interface Verdict {
  readonly aim: string
  readonly subject: string
  readonly case: CaseName
  readonly ratio: number
  readonly most: number
  readonly met: boolean
}

export interface GuestDocument {
  readonly bench: 'guest'
  readonly kernel: string
  /** Of an instruction of a loop of known length: 1, or the clock counts something else. */
  readonly calibration: number
  readonly rounds: number
  readonly cases: readonly Pick<Case, 'name' | 'title' | 'unit'>[]
  readonly rows: readonly Row[]
  readonly verdicts: readonly Verdict[]
  readonly leftOut: readonly { readonly subject: string; readonly reason: string }[]
  readonly failed: readonly {
    readonly subject: string
    readonly case?: string
    readonly reason: string
  }[]
  readonly profile: readonly Omit<Profiled, 'kind'>[]
}

export const BASELINE = 'ipvs-nat'
const SWARM = 'ipvs-swarm'
/** Of `traffic loop`. */
const LOOP_INSTRUCTIONS = 20
/** Beyond this share of the median, rounds do not agree as counts should. */
export const SPREAD_LIMIT = 0.02

interface Aim {
  readonly aim: string
  readonly subject: string
  readonly case: CaseName
  readonly most: number
  /** Default: the baseline, with one service. */
  readonly against?: string
}

const AIMS: readonly Aim[] = [
  {
    aim: 'XDP to a container, against IPVS NAT',
    subject: 'fairlead-xdp',
    case: 'frames',
    most: 0.56,
  },
  { aim: 'tc, against IPVS NAT', subject: 'fairlead-tc', case: 'frames', most: 0.6 },
  {
    aim: 'tc, against IPVS as Swarm has it',
    subject: 'fairlead-tc',
    case: 'frames',
    most: 0.38,
    against: SWARM,
  },
  {
    aim: 'a connection by tc, against IPVS NAT',
    subject: 'fairlead-tc',
    case: 'connect',
    most: 0.8,
  },
  {
    aim: 'a connection by sockets, against IPVS NAT',
    subject: 'fairlead-sock',
    case: 'connect',
    most: 0.92,
  },
  {
    aim: 'a connection by sockets, against no balancer',
    subject: 'fairlead-sock',
    case: 'connect',
    most: 1.03,
    against: 'direct',
  },
]
/** To the wire there is no socket at the end: frames taken at the NIC, against IPVS's to a socket. */
const WIRE_AIM = { aim: 'XDP to the wire, against IPVS NAT', case: 'arrived' as const, most: 0.22 }
const WIRE_SUBJECTS = ['fairlead-dsr-mac', 'fairlead-dsr-tunnel', 'fairlead-entry', 'fairlead-snat']
const FLAT = { aim: 'many services, against one', most: 1.05 }

type Lookup = (subject: string, name: CaseName, services?: number) => number | undefined

function verdictsOf(rows: readonly Row[]): Verdict[] {
  const of: Lookup = (subject, name, services = 1) =>
    rows.find((row) => row.subject === subject && row.case === name && row.services === services)
      ?.instructions.median
  const judge = (
    { aim, most }: { aim: string; most: number },
    subject: string,
    name: CaseName,
    above?: number,
    below?: number,
  ): Verdict[] =>
    above === undefined || below === undefined
      ? []
      : [{ aim, subject, case: name, ratio: above / below, most, met: above / below <= most }]
  return [
    ...WIRE_SUBJECTS.flatMap((one) =>
      judge(WIRE_AIM, one, 'arrived', of(one, 'arrived'), of(BASELINE, 'frames')),
    ),
    ...AIMS.flatMap((one) =>
      judge(
        one,
        one.subject,
        one.case,
        of(one.subject, one.case),
        of(one.against ?? BASELINE, one.case),
      ),
    ),
    ...rows
      .filter(({ services, subject }) => services > 1 && subject.startsWith('fairlead'))
      .flatMap((row) =>
        judge(FLAT, row.subject, row.case, row.instructions.median, of(row.subject, row.case)),
      ),
  ]
}

/** Medians over rounds of a case of a subject. */
function rowsOf(lines: readonly Line[]): Row[] {
  const found = new Map<
    string,
    { subject: string; services: number; case: CaseName; counts: number[] }
  >()
  for (const line of lines) {
    if (line.kind !== 'counted') continue
    const { subject, services, case: name, instructions } = line
    const key = `${subject} ${services} ${name}`
    const row = found.get(key) ?? { subject, services, case: name, counts: [] }
    row.counts.push(instructions)
    found.set(key, row)
  }
  const rows = [...found.values()].map(({ counts, ...row }) => ({
    ...row,
    instructions: spread(counts),
  }))
  const baseline = (name: CaseName) =>
    rows.find((row) => row.subject === BASELINE && row.case === name && row.services === 1)
  return rows.map((row) => {
    const below = baseline(row.case)?.instructions.median
    return { ...row, toIpvs: below === undefined ? null : row.instructions.median / below }
  })
}

export function documentOf(lines: readonly Line[], rounds: number): GuestDocument {
  const rows = rowsOf(lines)
  const loop = lines.find((line) => line.kind === 'calibrated')
  return {
    bench: 'guest',
    kernel: lines.find((line) => line.kind === 'kernel')?.release ?? 'unknown',
    calibration: (loop?.instructions ?? NaN) / LOOP_INSTRUCTIONS,
    rounds,
    cases: CASES.map(({ name, title, unit }) => ({ name, title, unit })),
    rows,
    verdicts: verdictsOf(rows),
    leftOut: lines.flatMap((line) =>
      line.kind === 'left out' ? [{ subject: line.subject, reason: line.reason }] : [],
    ),
    failed: lines.flatMap(({ kind, ...rest }) => (kind === 'failed' ? [rest as never] : [])),
    profile: lines.flatMap((line) => {
      if (line.kind !== 'profiled') return []
      const { subject, case: name, program, runs, instructions } = line
      return [{ subject, case: name, program, runs, instructions }]
    }),
  }
}

/**
 * What half of the rounds do not agree on. Whatever else runs in the guest adds instructions and never
 * takes any away, so a round above the others is no reason to doubt the median, one far below is.
 */
export function unsteady({ rows }: GuestDocument): Row[] {
  return rows.filter(({ instructions: { median, min } }) => (median - min) / median > SPREAD_LIMIT)
}

/** A line a subject, a column a case; ratios to IPVS NAT in brackets. */
export function table({ rows, cases }: GuestDocument): string {
  const chosen = [...new Set(rows.map(({ subject, services }) => `${subject} ${services}`))]
  const cell = (key: string, name: CaseName) => {
    const row = rows.find((one) => `${one.subject} ${one.services}` === key && one.case === name)
    if (!row) return ''
    const ratio = row.toIpvs === null ? '' : ` (${row.toIpvs.toFixed(2)})`
    return `${Math.round(row.instructions.median).toLocaleString('en')}${ratio}`
  }
  const title = (key: string) => {
    const [name = '', services = '1'] = key.split(' ')
    const known = SUBJECTS.find((one) => one.name === name)?.title ?? name
    return services === '1' ? known : `${known}, ${Number(services).toLocaleString('en')} services`
  }
  const lines = [
    ['instructions', ...cases.map(({ name }) => name)],
    ...chosen.map((key) => [title(key), ...cases.map(({ name }) => cell(key, name))]),
  ]
  const widths =
    lines[0]?.map((_, at) => Math.max(...lines.map((line) => line[at]?.length ?? 0))) ?? []
  return lines
    .map((line) =>
      line
        .map((text, at) => (at ? text.padStart(widths[at] ?? 0) : text.padEnd(widths[0] ?? 0)))
        .join('  '),
    )
    .join('\n')
}
