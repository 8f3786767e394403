/** The aims, and the results as a table and as JSON. */
import { execFileSync } from 'node:child_process'
import { arch, cpus, release } from 'node:os'
import type { Kind } from './cases.js'
import type { Spread } from '../frame/statistics.js'
import type { Measured, Results } from './measure.js'

/** The most that a packet may cost, as a multiple of what is named beside it. */
export const AIMS = {
  /** ... of the least DNAT of the same hook. */
  established: 1.35,
  /** ... of a least DNAT that inserts as many rows. */
  new: 1.35,
  /** The least DNAT on XDP, of a program that only passes; one flow. */
  reference: 3.0,
  /** Thousands of services, of one service. */
  flat: 1.1,
} as const

export interface Verdict {
  readonly name: string
  readonly aim: keyof typeof AIMS
  readonly ratio: number
  readonly met: boolean
}

export function verdicts(results: Results): Verdict[] {
  return results.cases.flatMap((one) => verdictsOf(one, results.empty.get(one.of.hook)))
}

function verdictsOf({ of, reference, subjects }: Measured, empty: Spread | undefined): Verdict[] {
  const found: Verdict[] = []
  const add = (aim: keyof typeof AIMS, above: Spread, below: Spread, name = of.name) => {
    const ratio = above.median / below.median
    found.push({ name, aim, ratio, met: ratio <= AIMS[aim] })
  }
  const sorted = [...subjects].sort(([a], [b]) => a - b)
  const [first, ...others] = sorted
  if (of.kind === 'reference' && reference && empty) add('reference', reference, empty)
  if (reference && (of.kind === 'established' || of.kind === 'new')) {
    const { kind } = of
    for (const [count, one] of sorted) add(kind, one, reference, `${of.name}, ${count} services`)
  }
  if (first && of.kind !== 'told') for (const [, one] of others) add('flat', one, first[1])
  return found
}

function nanoseconds(one: Spread | undefined): string {
  if (!one) return ''
  const [median, min, max] = [one.median, one.min, one.max].map((ns) => ns.toFixed(0))
  return `${median ?? ''} (${min ?? ''}-${max ?? ''})`
}

/** One line a case. */
export function table(results: Results): string {
  const lines = [...results.empty].map(([hook, one]) => [
    hook === 'xdp' ? 'XDP_PASS' : 'empty tc program',
    nanoseconds(one),
    ...['', '', '', ''],
  ])
  for (const { of, reference, subjects } of results.cases) {
    const [one, many] = [...subjects].sort(([a], [b]) => a - b).map(([, value]) => value)
    const ratio = (above?: Spread, below?: Spread) =>
      above && below ? (above.median / below.median).toFixed(2) : ''
    lines.push([
      of.name,
      ...[nanoseconds(reference), nanoseconds(one), ratio(one, reference)],
      ...[nanoseconds(many), ratio(many, one)],
    ])
  }
  const head = ['ns a packet, median (min-max)', 'least', '1 service', '÷ least']
  const all = [[...head, '10,000', '÷ 1 service'], ...lines]
  const widths = all[0]?.map((_, i) => Math.max(...all.map((line) => line[i]?.length ?? 0))) ?? []
  return all
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function version(command: string, ...args: string[]): string {
  try {
    const stdio = ['ignore', 'pipe', 'ignore'] as const
    const said = execFileSync(command, args, { encoding: 'utf8', timeout: 5000, stdio: [...stdio] })
    return said.split('\n')[0] ?? ''
  } catch {
    return 'unknown'
  }
}

/** Fewer than asked for where the time was over before. */
export interface Rounds {
  readonly asked: number
  readonly known: number
  readonly fresh: number
  /** Cases that were above an aim and have been measured once more. */
  readonly again: readonly string[]
}

export interface Document {
  readonly bench: string
  readonly machine: Readonly<Record<string, string | number>>
  readonly versions: Readonly<Record<string, string>>
  readonly rounds: Rounds
  readonly limits: typeof AIMS
  readonly empty: Readonly<Record<string, Spread>>
  readonly cases: readonly {
    readonly name: string
    readonly kind: Kind
    readonly least: Spread | null
    readonly services: Readonly<Record<string, Spread>>
  }[]
  readonly verdicts: readonly Verdict[]
}

export function document(results: Results, rounds: Rounds): Document {
  const processors = cpus()
  return {
    bench: 'prog',
    machine: {
      kernel: release(),
      arch: arch(),
      cpu: processors[0]?.model ?? 'unknown',
      cpus: processors.length,
    },
    versions: {
      node: process.version,
      clang: version('clang-19', '--version'),
      libbpf: version('pkg-config', '--modversion', 'libbpf'),
      commit: version('git', 'describe', '--always', '--dirty'),
    },
    rounds,
    limits: AIMS,
    empty: Object.fromEntries(results.empty),
    cases: results.cases.map(({ of, reference, subjects }) => ({
      name: of.name,
      kind: of.kind,
      least: reference ?? null,
      services: Object.fromEntries(subjects),
    })),
    verdicts: verdicts(results),
  }
}
