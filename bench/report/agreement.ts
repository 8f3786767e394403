/** Where two runs say different things. Pure. */
import type { Interval, Spread } from '../frame/statistics.js'
import type { Results } from './sections.js'

/** Counts of instructions are to agree by this share. */
const COUNT_SHARE = 0.02
/** By which absolute figures of two runs differ on a shared machine. */
const DRIFT = 0.2

/** One figure as a run states it: exact but for a share, or somewhere in an interval. */
export interface Stated {
  /** The same in both runs. */
  readonly name: string
  readonly value: number
  readonly low: number
  readonly high: number
}

export interface PartAgreement {
  readonly part: string
  readonly compared: number
  /** In one of the runs alone. */
  readonly single: readonly string[]
  readonly apart: readonly { readonly one: Stated; readonly other: Stated }[]
}

function exact(name: string, value: number): Stated {
  return { name, value, low: value * (1 - COUNT_SHARE / 2), high: value * (1 + COUNT_SHARE / 2) }
}

/** What has no baseline in its own run: what the rounds lay between, and what the machine adds. */
function ranged(name: string, { median, min, max }: Spread): Stated {
  return { name, value: median, low: min * (1 - DRIFT / 2), high: max * (1 + DRIFT / 2) }
}

/** Of one to another of the same run, as far apart as their rounds can be. */
function between(name: string, above: Spread, below: Spread): Stated {
  const [low, high] = [above.min / below.max, above.max / below.min]
  return { name, value: above.median / below.median, low, high }
}

/** The ratio's interval; without one, what the rounds lay between. */
function ratioed(name: string, interval: Interval | null, range: Spread): Stated {
  if (!interval) return ranged(name, range)
  return { name, value: interval.ratio, low: interval.low, high: interval.high }
}

function statedBy(part: keyof Results, results: Results): Stated[] {
  const { guest, host, axes, rules, dns, prog, scale } = results
  switch (part) {
    case 'guest':
      return (guest?.rows ?? []).map(({ subject, services, case: name, instructions }) =>
        exact(`${subject}, ${services} services, ${name}`, instructions.median),
      )
    case 'host':
      return (host?.rows ?? []).map(({ subject, case: name, toDirect, figure }) =>
        ratioed(`${subject}, ${name}`, subject.startsWith('direct') ? null : toDirect, figure),
      )
    case 'axes':
      return (axes?.rows ?? []).map(({ axis, count, subject, case: name, toFirst, nanoseconds }) =>
        ratioed(`${subject}, ${count} ${axis}, ${name}`, toFirst, nanoseconds),
      )
    case 'rules':
      return (rules?.rows ?? []).map(({ subject, what, toNft, milliseconds }) =>
        ratioed(`${subject}, ${what}`, subject === 'nft' ? null : toNft, milliseconds),
      )
    case 'dns':
      return (dns?.rows ?? []).map(({ subject, toDnsmasq, perCpuSecond }) =>
        ratioed(subject, subject === 'dnsmasq' ? null : toDnsmasq, perCpuSecond),
      )
    case 'prog':
      return (prog?.cases ?? []).flatMap(({ name, services, least }) =>
        Object.entries(services).map(([count, one]) => {
          const label = `${name}, ${count} services`
          return least ? between(label, one, least) : ranged(label, one)
        }),
      )
    case 'scale':
      return (scale?.figures ?? []).flatMap(({ name, value, min, max }) =>
        min === undefined || max === undefined || min === max
          ? []
          : [ranged(name, { median: value, min, max })],
      )
  }
}

function meet(one: Stated, other: Stated): boolean {
  return one.low <= other.high && other.low <= one.high
}

const PARTS = ['guest', 'host', 'axes', 'rules', 'dns', 'prog', 'scale'] as const

/** @returns an entry a part that either run has */
export function agreement(one: Results, other: Results): PartAgreement[] {
  return PARTS.filter((part) => one[part] ?? other[part]).map((part) => {
    const left = new Map(statedBy(part, one).map((stated) => [stated.name, stated]))
    const right = new Map(statedBy(part, other).map((stated) => [stated.name, stated]))
    const both = [...left.values()].flatMap((stated) => {
      const same = right.get(stated.name)
      return same ? [{ one: stated, other: same }] : []
    })
    const single = [...left.keys(), ...right.keys()].filter(
      (name) => !(left.has(name) && right.has(name)),
    )
    return {
      ...{ part, single, compared: both.length },
      apart: both.filter((pair) => !meet(pair.one, pair.other)),
    }
  })
}
