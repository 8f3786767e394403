/**
 * Interleaved rounds: in each one every program of a case runs in turn, so that what the machine
 * does meanwhile falls on all of them.
 */
import { type Spread, spread } from '../frame/statistics.js'
import type { Case } from './cases.js'
import { Empty, type Hook } from './timed.js'

export interface Measured {
  readonly of: Case
  readonly reference?: Spread
  readonly subjects: ReadonlyMap<number, Spread>
}

export interface Results {
  /** Of a hook: the program that does nothing. */
  readonly empty: ReadonlyMap<Hook, Spread>
  readonly cases: readonly Measured[]
  /** That began before the deadline. */
  readonly rounds: number
}

const EMPTY_REPEAT = 50_000

/** Samples of one case: what is measured, less what restores the frame, plus the bare loop. */
class Samples {
  readonly reference: number[] = []
  readonly subjects = new Map<number, number[]>()

  constructor(readonly of: Case) {
    for (const count of of.subjects.keys()) this.subjects.set(count, [])
  }

  /** @param empty nanoseconds of the program that does nothing, in this round */
  round(empty: number, backwards: boolean): void {
    const { of } = this
    const restore = of.floor.run(of.repeat) - empty
    const steps = [...of.subjects].map(([count, subject]) => () => {
      this.subjects.get(count)?.push(subject.run(of.repeat) - restore)
    })
    const { reference } = of
    if (reference) steps.push(() => this.reference.push(reference.run(of.repeat) - restore))
    for (const step of backwards ? steps.reverse() : steps) step()
  }

  result(): Measured {
    return {
      of: this.of,
      subjects: new Map([...this.subjects].map(([count, values]) => [count, spread(values)])),
      ...(this.of.reference && { reference: spread(this.reference) }),
    }
  }
}

/** @param deadline milliseconds of performance.now() after which no round starts */
export function measure(cases: readonly Case[], rounds: number, deadline: number): Results {
  const hooks = new Set(cases.map((one) => one.hook))
  const empties = new Map([...hooks].map((hook) => [hook, new Empty(hook)]))
  const empty = new Map([...hooks].map((hook): [Hook, number[]] => [hook, []]))
  const samples = cases.map((one) => new Samples(one))
  let round = 0
  try {
    for (; round < rounds && performance.now() < deadline; round++) {
      const now = new Map([...empties].map(([hook, one]) => [hook, one.run(EMPTY_REPEAT)]))
      for (const [hook, ns] of now) empty.get(hook)?.push(ns)
      for (const one of samples) one.round(now.get(one.of.hook) ?? NaN, round % 2 === 1)
    }
  } finally {
    for (const one of empties.values()) one.close()
  }
  return {
    empty: new Map([...empty].map(([hook, values]) => [hook, spread(values)])),
    cases: samples.map((one) => one.result()),
    rounds: round,
  }
}
