/** Subjects side by side on this machine, each on a stage of its own, measured in turn: A B C A B C. */
import { join } from 'node:path'
import { NetLab, run } from '../../test/lib/netns.js'
import { Stage } from '../frame/stage.js'
import type { Demand, InForce, Subject } from '../frame/subject.js'
import type { HostCase, HostCaseName, Measured } from './cases.js'

const BENCH = join(import.meta.dirname, '..')

/** Frames that the far end may lack; more, and what is left is not the same work. */
const LOST_SHARE = 0.01

/** Fewer tell nothing of what they lie between. */
const LEAST_ROUNDS = 3

export interface Sample {
  readonly subject: string
  readonly case: HostCaseName
  readonly round: number
  readonly measured: Measured
}

export interface Failure {
  readonly subject: string
  readonly case?: HostCaseName
  readonly reason: string
}

export interface HostRun {
  readonly samples: readonly Sample[]
  readonly leftOut: readonly Failure[]
  readonly failed: readonly Failure[]
}

export interface Place {
  readonly subject: Subject
  /** In results; default: the subject's name. */
  readonly name?: string
  readonly demand?: Demand
  readonly cases: readonly HostCase[]
}

export interface HostRunOptions {
  readonly places: readonly Place[]
  /** Of progress. */
  readonly title: string
  /** One more is run first, and not told. */
  readonly rounds: number
  readonly quick: boolean
  /** The core that everything is on. */
  readonly cpu: number
  /** For rounds, once all is set up: none begins later, but for the first ones. */
  readonly budgetMs: number
  readonly progress: (what: string) => void
  readonly stop: AbortSignal
}

interface Seat {
  readonly name: string
  readonly cases: readonly HostCase[]
  readonly ways: readonly string[]
  readonly inForce: InForce
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

class Sittings {
  readonly samples: Sample[] = []
  readonly leftOut: Failure[] = []
  readonly failed: Failure[] = []
  private readonly seats: Seat[] = []
  private readonly broken = new Set<string>()

  constructor(
    private readonly lab: NetLab,
    private readonly options: HostRunOptions,
  ) {}

  async seat(place: Place, at: number): Promise<void> {
    const { subject, cases, demand = { services: 1 } } = place
    const { shape, wholeChecksums = false } = subject
    const { name = subject.name } = place
    this.options.progress(`${this.options.title}: setting up ${name}`)
    const reason = await subject.unavailable()
    if (reason !== undefined) {
      this.leftOut.push({ subject: name, reason })
      return
    }
    try {
      const stage = await Stage.build(this.lab, shape, `${at}`, wholeChecksums)
      if (demand.backends !== undefined) await stage.populate(demand.backends)
      const inForce = await subject.setUp(stage, { ...demand, cpu: this.options.cpu })
      await stage.settle()
      this.seats.push({ name, cases, inForce, ways: await stage.ways(inForce) })
    } catch (error) {
      this.failed.push({ subject: name, reason: textOf(error) })
    }
  }

  async measure(): Promise<void> {
    const { rounds, budgetMs, stop, progress, title } = this.options
    for (const { inForce } of this.seats) await inForce.quiesce?.()
    const begun = performance.now()
    for (let round = 0; round <= rounds; round++) {
      if (round > LEAST_ROUNDS && performance.now() - begun > budgetMs) break
      // In every other round backwards: what falls on neighbours falls on others then.
      const seats = round % 2 ? [...this.seats].reverse() : this.seats
      for (const seat of seats)
        for (const one of seat.cases) {
          stop.throwIfAborted()
          progress(`${title}: round ${round} of ${rounds}, ${seat.name} ${one.name}`)
          await this.one(seat, one, round)
        }
    }
  }

  private async one({ name, ways }: Seat, one: HostCase, round: number): Promise<void> {
    const key = `${name} ${one.name}`
    if (this.broken.has(key)) return
    try {
      const measured = await this.traffic(one, ways, round)
      // The first round warms up.
      if (round > 0) this.samples.push({ subject: name, case: one.name, round, measured })
    } catch (error) {
      this.broken.add(key)
      this.failed.push({ subject: name, case: one.name, reason: textOf(error) })
    }
  }

  private async traffic(one: HostCase, ways: readonly string[], round: number): Promise<Measured> {
    const { cpu, quick } = this.options
    const { stdout } = await run(
      'taskset',
      [
        ...['-c', `${cpu}`, join(BENCH, 'traffic'), one.command ?? one.name, ...ways],
        ...[`object=${join(BENCH, 'frames.bpf.o')}`, ...one.arguments(quick, round)],
      ],
      { timeoutMs: 60_000 },
    )
    const measured = JSON.parse(stdout) as Measured
    const { sent, taken } = measured
    if (sent !== undefined && taken !== undefined && sent - taken > sent * LOST_SHARE)
      throw new Error(`${taken} of ${sent} frames arrived`)
    return measured
  }

  async end(): Promise<void> {
    for (const { inForce } of this.seats)
      await inForce.tearDown().catch((error: unknown) => {
        this.failed.push({ subject: 'tear-down', reason: textOf(error) })
      })
  }
}

export async function measureHost(options: HostRunOptions): Promise<HostRun> {
  const lab = new NetLab(undefined, 'b')
  const sittings = new Sittings(lab, options)
  try {
    for (const [at, place] of options.places.entries()) await sittings.seat(place, at)
    await sittings.measure()
  } finally {
    await sittings.end()
    await lab.close()
  }
  return sittings
}
