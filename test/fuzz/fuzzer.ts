/** Runs packets through programs and judges what becomes of each. */
import type { BpfMap } from 'libbpf-ts'
import { Datapath, TC } from '../lib/kernel.js'
import { faultsOf, type Observation, type Verdicts } from './judge.js'
import { type Direction, nextPacket, WORLD } from './packets.js'
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
  /** Its packets may be given another hop. */
  readonly routes?: boolean
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
  readonly verdicts: Readonly<Record<string, number>>
  readonly counted: Readonly<Record<string, number>>
  readonly translated: number
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

/** The world of packets.ts: services of every kind, with flows to come. */
export function openWorld(bridged: boolean): Datapath {
  const dp = new Datapath({
    rodata: {
      network_id: 1,
      bridge_ifindex: bridged ? 1 : 0,
      bridge_mac: new Uint8Array([2, 0, 0, 0, 0, 0xbb]),
    },
  })
  const both = (pick: (world: (typeof WORLD)[4 | 6]) => readonly string[]) => [
    ...pick(WORLD[4]),
    ...pick(WORLD[6]),
  ]
  const vip = (index: number) => both((world) => world.vips.slice(index, index + 1))
  const backends = both((world) => world.backends)
  const ports = ['80:8080/tcp', '53/udp', '443/tcp', '443/udp']
  dp.addService({ vips: vip(0), ports, backends })
  dp.addService({ vips: vip(1), backends, onLink: false, algorithm: 'random' })
  const empty = dp.addService({ vips: vip(2), ports: ['53/tcp'], backends: backends.slice(0, 1) })
  dp.setRing(empty.id, { 4: [], 6: [] })
  return dp
}

/** The programs of a container's veth. */
export function containerTargets(dp: Datapath): Target[] {
  const target = (name: Direction, run: Target['run']): Target => ({
    name,
    verdicts: TC_VERDICTS,
    next: (random) => nextPacket(random, name),
    run,
  })
  return [
    target('from_container', (packet) => dp.fromContainer(packet)),
    target('to_container', (packet) => dp.toContainer(packet)),
  ]
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
  #packets = 0
  #translated = 0

  /** @param path whose counters the programs write */
  constructor(dp: Datapath, targets: readonly Target[] = containerTargets(dp), path = 'PATH_TC') {
    this.#dp = dp
    this.#targets = targets
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
    const counted = `${target.verdicts === TC_VERDICTS ? '' : `${target.name} `}${verdict}`
    this.#verdicts[counted] = (this.#verdicts[counted] ?? 0) + 1
    const named = (counts: number[], names: readonly string[]) =>
      counts.flatMap((count, index) => (count ? [names[index] ?? `${index}`] : []))
    const events = named(this.#events.added(), this.#eventNames)
    const added = this.#drops.added()
    const drops = added.reduce((sum, one) => sum + one, 0)
    if (verdict !== target.verdicts.drop && !before.equals(packet)) this.#translated++
    const reasons = named(added, this.#reasonNames)
    const routed = target.routes === true
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
      translated: this.#translated,
    }
  }
}

/** Constants of an enum by number, without prefix. */
function namesOf(dp: Datapath, prefix: string): string[] {
  const names: string[] = []
  for (const [name, value] of Object.entries(dp.constants))
    if (name.startsWith(prefix)) names[value] = name.slice(prefix.length)
  return names
}

/** All that it takes to see a failure again. */
export function describeFailure({ seed, index, program, faults, seen }: Failure): string {
  const edge = program === 'from_wire' || program === 'from_edge' ? ' --edge' : ''
  return [
    `${program}, seed ${seed}, index ${index}: ${faults.join('; ')}`,
    `verdict ${seen.verdict}, events ${seen.events.join(' ') || 'none'}, drops ${seen.reasons?.join(' ') ?? seen.drops}`,
    `in:  ${seen.before.toString('hex')}`,
    `out: ${seen.after.toString('hex')}`,
    `again: npm run fuzz --${edge} --seed ${seed} --count ${index + 1}`,
    `alone, without the flows before it: npm run fuzz --${edge} --program ${program} --replay ${seen.before.toString('hex')}`,
  ].join('\n')
}
