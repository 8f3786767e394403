/** Runs packets through programs and judges what becomes of each. */
import type { BpfMap } from 'libbpf-ts'
import { type Datapath, TC } from '../lib/kernel.js'
import { faultsOf, type Observation, type Verdicts } from './judge.js'
import { Random } from './random.js'

export const TC_VERDICTS: Verdicts = { pass: TC.PASS, drop: TC.DROP, redirect: TC.REDIRECT }

/** A program, and the packets that it is given. */
export interface Target {
  readonly name: string
  readonly verdicts: Verdicts
  next(random: Random): Buffer
  /** @returns `faults` that only this program can have */
  run(packet: Buffer): {
    readonly verdict: number
    readonly packet: Buffer
    readonly faults?: readonly string[]
  }
  /** Whether packets that leave with this verdict may have got another hop; absent: none may. */
  readonly routes?: (verdict: number) => boolean
}

export interface Failure {
  readonly seed: number
  readonly index: number
  readonly program: string
  readonly faults: readonly string[]
  readonly seen: Observation
}

export interface Tally {
  readonly packets: number
  /** By program and verdict. */
  readonly verdicts: Readonly<Record<string, number>>
  readonly counted: Readonly<Record<string, number>>
  /** Packets that left changed, by program. */
  readonly translated: Readonly<Record<string, number>>
}

/** Sums per-CPU counters over all paths, in one call. */
class Totals {
  readonly #paths: number
  #before: number[]

  constructor(
    private readonly map: BpfMap,
    paths: number,
  ) {
    this.#paths = paths
    this.#before = this.#read()
  }

  #read(): number[] {
    const { values, count } = this.map.raw.lookupBatch(undefined, this.map.maxEntries)
    const words = new DataView(values.buffer, values.byteOffset, values.byteLength)
    const each = values.byteLength / count
    const totals = new Array<number>(count / this.#paths).fill(0)
    // Counters stay far below 2^32 here: the low half of each word is all of it.
    for (let at = 0; at < values.byteLength; at += 8) {
      const index = Math.floor(at / each / this.#paths)
      totals[index] = (totals[index] ?? 0) + words.getUint32(at, true)
    }
    return totals
  }

  /** What was added since the last call, by enum value. */
  added(): number[] {
    const now = this.#read()
    const added = now.map((total, index) => total - (this.#before[index] ?? 0))
    this.#before = now
    return added
  }
}

export class Fuzzer {
  readonly #dp: Datapath
  readonly #targets: readonly Target[]
  readonly #path: string
  readonly #drops: Totals
  readonly #events: Totals
  readonly #eventNames: readonly string[]
  readonly #reasonNames: readonly string[]
  readonly #verdicts: Record<string, number> = {}
  readonly #translated: Record<string, number> = {}
  #packets = 0

  /** @param path whose counters the programs write */
  constructor(dp: Datapath, targets: readonly Target[], path = 'PATH_TC') {
    this.#dp = dp
    this.#targets = targets
    for (const { name } of targets) this.#translated[name] = 0
    this.#path = path
    const paths = dp.constant('PATH_COUNT')
    this.#drops = new Totals(dp.map('drops'), paths)
    this.#events = new Totals(dp.map('events'), paths)
    this.#eventNames = namesOf(dp, 'EVENT_')
    this.#reasonNames = namesOf(dp, 'DROP_')
  }

  /** @throws RangeError */
  target(name: string): Target {
    const found = this.#targets.find((target) => target.name === name)
    if (!found) throw new RangeError(`no program ${name}`)
    return found
  }

  /** One packet. */
  observe(target: Target, before: Buffer): Observation {
    const { verdict, packet, faults = [] } = target.run(before)
    this.#packets++
    add(this.#verdicts, `${target.name} ${verdict}`)
    const named = (counts: number[], names: readonly string[]) =>
      counts.flatMap((count, index) => (count ? [names[index] ?? `${index}`] : []))
    const events = named(this.#events.added(), this.#eventNames)
    const added = this.#drops.added()
    const drops = added.reduce((sum, one) => sum + one, 0)
    if (verdict !== target.verdicts.drop && !before.equals(packet))
      add(this.#translated, target.name)
    const reasons = named(added, this.#reasonNames)
    const routed = target.routes?.(verdict) ?? false
    return { verdict, before, after: packet, drops, events, reasons, routed, faults }
  }

  judge(target: Target, seen: Observation): string[] {
    return [...(seen.faults ?? []), ...faultsOf(seen, target.verdicts)]
  }

  /** @param count packets for each program; @returns the first failure, if there is one */
  run(seed: number, count: number): Failure | undefined {
    const random = new Random(seed)
    for (let index = 0; index < count; index++) {
      for (const target of this.#targets) {
        const seen = this.observe(target, target.next(random))
        const faults = this.judge(target, seen)
        if (faults.length) return { seed, index, program: target.name, faults, seen }
      }
    }
    return undefined
  }

  tally(): Tally {
    return {
      packets: this.#packets,
      verdicts: { ...this.#verdicts },
      counted: this.#dp.counted(this.#path),
      translated: { ...this.#translated },
    }
  }
}

function add(to: Record<string, number>, name: string): void {
  to[name] = (to[name] ?? 0) + 1
}

/** Constants of an enum by number, without prefix. */
function namesOf(dp: Datapath, prefix: string): string[] {
  const names: string[] = []
  for (const [name, value] of Object.entries(dp.constants))
    if (name.startsWith(prefix)) names[value] = name.slice(prefix.length)
  return names
}

/** All that it takes to see a failure again. @param world the option that names it */
export function describeFailure(failure: Failure, world = '--containers'): string {
  const { seed, index, program, faults, seen } = failure
  return [
    `${program}, seed ${seed}, index ${index}: ${faults.join('; ')}`,
    `verdict ${seen.verdict}, events ${seen.events.join(' ') || 'none'}, drops ${seen.reasons?.join(' ') ?? seen.drops}`,
    `in:  ${seen.before.toString('hex')}`,
    `out: ${seen.after.toString('hex')}`,
    `again: npm run fuzz -- ${world} --seed ${seed} --count ${index + 1}`,
    `alone, without the flows before it: npm run fuzz -- ${world} --program ${program} --replay ${seen.before.toString('hex')}`,
  ].join('\n')
}
