/** The part of the benchmark that has ever more services, flows and backends. */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { type AimResult, judgeInterval } from '../frame/aims.js'
import { machine, versionOf } from '../frame/machine.js'
import type { PartOptions, PartResult } from '../frame/part.js'
import type { Subject } from '../frame/subject.js'
import type { HostCaseName } from '../host/cases.js'
import { type Failure, type HostRun, measureHost, type Place } from '../host/rounds.js'
import { type Interval, noise, ratioOf, type Spread, spread } from '../frame/statistics.js'
import { SUBJECTS } from '../subjects/subjects.js'
import { type Load, memoryOf } from './memory.js'
import { type Axis, type AxisName, axesOf } from './points.js'

const CHOSEN = ['ipvs-nat', 'nft', 'iptables', 'fairlead-tc', 'fairlead-sock', 'fairlead-xdp']
/** By services, a connection alone: it has nothing to do with a packet. */
const FLAT_AIM = 1.05
const FLAT_SERVICES = 10_000
const NOISY = 0.05
const AXIS_MS = { quick: 15_000, whole: 40_000 }
/** nft takes minutes to load more; how long, is in `rules`. */
const NFT_SERVICES = 1000
const CONNTRACK_LIMIT = '/proc/sys/net/netfilter/nf_conntrack_max'
const FLOWS = [1024, 132_096] as const
const SERVICES = [1, 2000] as const

export interface AxisRow {
  readonly axis: AxisName
  readonly count: number
  readonly subject: string
  readonly case: HostCaseName
  /** Nanoseconds of a packet or a connection, on one core that does nothing else. */
  readonly nanoseconds: Spread
  readonly noisy: boolean
  /** To the same with the axis' first count; null: that is this one, or it was not measured. */
  readonly toFirst: Interval | null
}

export interface MemoryRow {
  readonly subject: string
  readonly of: 'flow' | 'service'
  /** Of the kernel. */
  readonly bytes: Spread
}

export interface AxesDocument {
  readonly bench: 'axes'
  readonly axes: readonly Pick<Axis, 'name' | 'title' | 'counts'>[]
  readonly rows: readonly AxisRow[]
  readonly memory: readonly MemoryRow[]
  readonly leftOut: readonly Failure[]
  readonly failed: readonly Failure[]
}

function nameOf(subject: string, axis: AxisName, count: number): string {
  return `${subject} ${axis}=${count}`
}

/** Why a subject cannot have so many; undefined: it can. */
function tooMany({ name, family }: Subject, axis: AxisName, count: number): string | undefined {
  if (name === 'nft' && axis === 'services' && count > NFT_SERVICES)
    return 'they take minutes to load'
  if (family !== 'netfilter' || axis !== 'flows') return undefined
  const most = Number(readFileSync(CONNTRACK_LIMIT, 'utf8'))
  return count > most ? `net.netfilter.nf_conntrack_max is ${most}` : undefined
}

export function placesOf(axis: Axis, subjects: readonly Subject[], leftOut: Failure[]): Place[] {
  return axis.counts.flatMap((count) =>
    subjects.flatMap((subject) => {
      const cases = axis
        .cases(count)
        .filter(({ name }) => name === 'connect' || subject.socketsOnly !== true)
      const name = nameOf(subject.name, axis.name, count)
      const reason = tooMany(subject, axis.name, count)
      if (reason !== undefined) leftOut.push({ subject: name, reason })
      return cases.length === 0 || reason !== undefined
        ? []
        : [{ subject, name, cases, demand: axis.demand(count) }]
    }),
  )
}

export function axisRows(axis: Axis, subjects: readonly Subject[], { samples }: HostRun) {
  const values = (name: string, of: HostCaseName) =>
    new Map(
      samples
        .filter((one) => one.subject === name && one.case === of)
        .map(({ round, measured }) => [round, measured.cost / measured.units]),
    )
  return subjects.flatMap(({ name: subject }) =>
    axis.counts.flatMap((count) =>
      axis.cases(count).flatMap(({ name }): AxisRow[] => {
        const own = values(nameOf(subject, axis.name, count), name)
        if (own.size === 0) return []
        const first = values(nameOf(subject, axis.name, axis.counts[0] ?? 0), name)
        const rounds = [...own.keys()].filter((round) => first.has(round))
        const of = (all: ReadonlyMap<number, number>) => rounds.map((at) => all.get(at) ?? NaN)
        const is = count === axis.counts[0]
        const all = [...own.values()]
        return [
          {
            ...{ axis: axis.name, count, subject, case: name, nanoseconds: spread(all) },
            noisy: noise(all) > NOISY,
            toFirst: is || rounds.length === 0 ? null : ratioOf(of(own), of(first)),
          },
        ]
      }),
    ),
  )
}

function aimsOf(rows: readonly AxisRow[]): AimResult[] {
  return rows.flatMap(({ axis, count, subject, case: name, toFirst }) =>
    axis === 'services' && count === FLAT_SERVICES && toFirst && subject.startsWith('fairlead')
      ? [
          judgeInterval(
            {
              ...{ aim: 'time with 10,000 services, against one', of: `${subject}, ${name}` },
              ...{ bound: FLAT_AIM, better: 'less' },
            },
            toFirst,
          ),
        ]
      : [],
  )
}

async function memoryRows(
  subjects: readonly Subject[],
  rounds: number,
  { progress, stop }: PartOptions,
  failed: Failure[],
): Promise<MemoryRow[]> {
  const rows: MemoryRow[] = []
  const [few, many] = FLOWS
  const base: Load = { services: 1, flows: few }
  for (const subject of subjects.filter(({ socketsOnly }) => !socketsOnly)) {
    const ofFlow: number[] = []
    const ofService: number[] = []
    try {
      for (let round = 0; round < rounds; round++) {
        stop.throwIfAborted()
        progress.at(`axes: memory of ${subject.name}, round ${round + 1} of ${rounds}`)
        const least = await memoryOf(subject, base)
        const flows = await memoryOf(subject, { ...base, flows: many })
        ofFlow.push((flows - least) / (many - few))
        const services = await memoryOf(subject, { ...base, services: SERVICES[1] })
        ofService.push((services - least) / (SERVICES[1] - SERVICES[0]))
      }
    } catch (error) {
      failed.push({ subject: `${subject.name} memory`, reason: String(error) })
      continue
    }
    rows.push({ subject: subject.name, of: 'flow', bytes: spread(ofFlow) })
    rows.push({ subject: subject.name, of: 'service', bytes: spread(ofService) })
  }
  return rows
}

function lineOf({ axis, count, subject, case: name, nanoseconds, toFirst, noisy }: AxisRow) {
  const { median, min, max } = nanoseconds
  const [middle, low, high] = [median, min, max].map((ns) => Math.round(ns).toLocaleString('en'))
  const ratio = toFirst
    ? `${toFirst.ratio.toFixed(2)} (${toFirst.low.toFixed(2)}–${toFirst.high.toFixed(2)})`
    : ''
  return [
    ...[name.padEnd(8), subject.padEnd(14), `${count.toLocaleString('en')} ${axis}`.padEnd(18)],
    ...[`${middle} ns (${low}–${high})`.padEnd(32), ratio, noisy ? 'noisy' : ''],
  ]
    .join('  ')
    .trimEnd()
}

export async function runAxes(options: PartOptions): Promise<PartResult> {
  const { chosen, quick, progress, stop } = options
  const host = machine()
  const rounds = options.rounds ?? (quick ? 3 : 7)
  const leftOut: Failure[] = []
  const failed: Failure[] = []
  const rows: AxisRow[] = []
  const subjects: Subject[] = []
  for (const one of SUBJECTS.filter(({ name }) => CHOSEN.includes(name) && chosen(name))) {
    const reason = await one.unavailable()
    if (reason === undefined) subjects.push(one)
    else leftOut.push({ subject: one.name, reason })
  }
  const axes = axesOf(quick)
  for (const axis of axes) {
    const run = await measureHost({
      ...{ title: axis.name, places: placesOf(axis, subjects, leftOut), rounds, quick, stop },
      cpu: availableParallelism() - 1,
      budgetMs: quick ? AXIS_MS.quick : AXIS_MS.whole,
      progress: (what) => progress.at(what),
    })
    failed.push(...run.failed)
    rows.push(...axisRows(axis, subjects, run))
  }
  const memory = await memoryRows(subjects, quick ? 1 : 2, options, failed)
  const document: AxesDocument = {
    ...{ bench: 'axes', rows, memory, leftOut, failed },
    axes: axes.map(({ name, title, counts }) => ({ name, title, counts })),
  }
  return {
    document: {
      ...document,
      machine: host,
      versions: {
        node: process.version,
        commit: versionOf('git', 'describe', '--always', '--dirty'),
      },
    },
    text: [
      ...rows.map(lineOf),
      ...memory.map(
        ({ subject, of, bytes }) =>
          `${subject.padEnd(14)} ${Math.round(bytes.median)} bytes of the kernel a ${of} (${Math.round(bytes.min)}–${Math.round(bytes.max)})`,
      ),
      ...leftOut.map(({ subject, reason }) => `left out: ${subject}: ${reason}`),
      ...failed.map(({ subject, reason }) => `failed: ${subject}: ${reason}`),
    ].join('\n'),
    aims: aimsOf(rows),
  }
}
