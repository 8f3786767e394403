/** In the guest: sets each subject up, has its traffic counted, and tells line by line. */
import { readFileSync } from 'node:fs'
import { release } from 'node:os'
import { join } from 'node:path'
import { NetLab, run } from '../../test/lib/netns.js'
import { Stage } from '../frame/stage.js'
import type { InForce, Subject } from '../frame/subject.js'
import { SUBJECTS } from '../subjects/subjects.js'
import { argumentsOf, type Case, casesOf } from './cases.js'
import { type Plan, PLAN_FILE, tell } from './plan.js'
import { programTimes } from './profile.js'

const BENCH = join(import.meta.dirname, '..')
const TRAFFIC = join(BENCH, 'traffic')
const OBJECT = join(BENCH, 'frames.bpf.o')
const LOOPS = 1_000_000
/** Frames that the far end may lack: neighbours ask now and then, and tails are on their way. */
const LOST_SHARE = 0.002

interface Measured {
  readonly units: number
  readonly cost: number
  readonly sent?: number
  readonly taken?: number
}

async function traffic(command: string, given: readonly string[]): Promise<Measured> {
  const { stdout } = await run(TRAFFIC, [command, 'ticks=1', ...given], { timeoutMs: 600_000 })
  const measured = JSON.parse(stdout) as Measured
  const { sent, taken } = measured
  if (sent !== undefined && taken !== undefined && Math.abs(sent - taken) > sent * LOST_SHARE)
    throw new Error(`${taken} of ${sent} frames arrived`)
  return measured
}

/** With what led to it. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause === undefined ? error.message : `${error.message}: ${reasonOf(error.cause)}`
}

class Sitting {
  constructor(
    private readonly plan: Plan,
    private readonly subject: Subject,
    private readonly services: number,
    private readonly ways: readonly string[],
  ) {}

  async rounds(): Promise<void> {
    const { plan, subject } = this
    const cases = casesOf(subject).filter(({ name }) => plan.cases?.includes(name) ?? true)
    const failed = new Set<Case>()
    for (let round = 0; round <= plan.rounds; round++)
      for (const one of cases)
        if (!failed.has(one))
          await this.twice(one, round).catch((error: unknown) => {
            failed.add(one)
            tell({ kind: 'failed', subject: subject.name, case: one.name, reason: reasonOf(error) })
          })
  }

  /** A datagram may be lost, seldom; twice in a row there is something wrong. */
  private async twice(one: Case, round: number): Promise<void> {
    try {
      await this.count(one, round)
    } catch {
      await this.count(one, round)
    }
  }

  private async count(one: Case, round: number): Promise<void> {
    const { plan, subject, services, ways } = this
    const given = argumentsOf(one, subject, round, plan.scale)
    const before = plan.profile ? await programTimes() : undefined
    const { units, cost } = await traffic(one.command, [...ways, `object=${OBJECT}`, ...given])
    // The first round warms up.
    if (round === 0) return
    const what = { subject: subject.name, case: one.name }
    tell({ kind: 'counted', ...what, services, instructions: cost / units })
    if (!before) return
    const total = units + one.warm
    for (const [program, { runs, ns }] of await programTimes(before))
      tell({ kind: 'profiled', ...what, program, runs: runs / total, instructions: ns / runs })
  }
}

async function sit(plan: Plan, subject: Subject, services: number): Promise<void> {
  const lab = new NetLab(undefined, 'b')
  let inForce: InForce | undefined
  try {
    const stage = await Stage.build(lab, subject.shape, subject.name.slice(0, 20))
    inForce = await subject.setUp(stage, { services })
    await stage.settle()
    await inForce.quiesce?.()
    await new Sitting(plan, subject, services, await stage.ways(inForce)).rounds()
  } finally {
    await inForce?.tearDown()
    await lab.close()
  }
}

async function main(): Promise<void> {
  const plan = JSON.parse(readFileSync(PLAN_FILE, 'utf8')) as Plan
  tell({ kind: 'kernel', release: release() })
  const loop = await traffic('loop', [`count=${LOOPS}`])
  tell({ kind: 'calibrated', instructions: loop.cost / loop.units })
  if (plan.profile) await run('sysctl', ['-qw', 'kernel.bpf_stats_enabled=1'])
  for (const { name, services } of plan.subjects) {
    const subject = SUBJECTS.find((one) => one.name === name)
    if (!subject) throw new Error(`there is no subject ${name}`)
    tell({ kind: 'at', what: name })
    const reason = await subject.unavailable()
    if (reason !== undefined) tell({ kind: 'left out', subject: name, reason })
    else
      await sit(plan, subject, services).catch((error: unknown) => {
        tell({ kind: 'failed', subject: name, reason: reasonOf(error) })
      })
  }
  tell({ kind: 'end' })
}

await main()
