/** Subjects side by side on this machine, each on a stage of its own, measured in turn: A B C A B C. */
import { join } from 'node:path'
import { NetLab, run } from '../../test/lib/netns.js'
import { Stage } from '../frame/stage.js'
import type { InForce, Subject } from '../frame/subject.js'
import { type HostCase, type HostCaseName, hostCasesOf, type Measured } from './cases.js'

const BENCH = join(import.meta.dirname, '..')

/** Frames that the far end may lack; more, and what is left is not the same work. */
const LOST_SHARE = 0.01

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

export interface HostRunOptions {
  readonly subjects: readonly Subject[]
  /** One more is run first, and not told. */
  readonly rounds: number
  readonly quick: boolean
  /** The core that everything is on. */
  readonly cpu: number
  /** No round begins later; milliseconds of performance.now(). */
  readonly deadline: number
  readonly progress: (what: string) => void
  readonly stop: AbortSignal
}

interface Seat {
  readonly subject: Subject
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

  async seat(subject: Subject, at: number): Promise<void> {
    const { name, shape, wholeChecksums = false } = subject
    this.options.progress(`host: setting up ${name}`)
    const reason = await subject.unavailable()
    if (reason !== undefined) {
      this.leftOut.push({ subject: name, reason })
      return
    }
    try {
      const stage = await Stage.build(this.lab, shape, `${at}`, wholeChecksums)
      const inForce = await subject.setUp(stage, { services: 1, cpu: this.options.cpu })
      await stage.settle()
      this.seats.push({ subject, inForce, ways: await stage.ways(inForce) })
    } catch (error) {
      this.failed.push({ subject: name, reason: textOf(error) })
    }
  }

  async measure(): Promise<void> {
    const { rounds, deadline, stop, progress } = this.options
    for (const { inForce } of this.seats) await inForce.quiesce?.()
    for (let round = 0; round <= rounds; round++) {
      // The first but one is due in any case.
      if (round > 1 && performance.now() > deadline) break
      // In every other round backwards: what falls on neighbours falls on others then.
      const seats = round % 2 ? [...this.seats].reverse() : this.seats
      for (const seat of seats)
        for (const one of hostCasesOf(seat.subject)) {
          stop.throwIfAborted()
          progress(`host: round ${round} of ${rounds}, ${seat.subject.name} ${one.name}`)
          await this.one(seat, one, round)
        }
    }
  }

  private async one({ subject, ways }: Seat, one: HostCase, round: number): Promise<void> {
    const key = `${subject.name} ${one.name}`
    if (this.broken.has(key)) return
    try {
      const measured = await this.traffic(one, ways)
      // The first round warms up.
      if (round > 0) this.samples.push({ subject: subject.name, case: one.name, round, measured })
    } catch (error) {
      this.broken.add(key)
      this.failed.push({ subject: subject.name, case: one.name, reason: textOf(error) })
    }
  }

  private async traffic(one: HostCase, ways: readonly string[]): Promise<Measured> {
    const { cpu, quick } = this.options
    const { stdout } = await run(
      'taskset',
      [
        ...['-c', `${cpu}`, join(BENCH, 'traffic'), one.name, ...ways],
        ...[`object=${join(BENCH, 'frames.bpf.o')}`, ...one.arguments(quick)],
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
    for (const [at, subject] of options.subjects.entries()) await sittings.seat(subject, at)
    await sittings.measure()
  } finally {
    await sittings.end()
    await lab.close()
  }
  return sittings
}
