/** Runs packets through the tc programs and judges what becomes of each. */
import type { BpfMap } from 'libbpf-ts'
import { Datapath, TC } from '../lib/kernel.js'
import { faultsOf, type Observation, type Verdicts } from './judge.js'
import { type Direction, nextPacket, WORLD } from './packets.js'
import { Random } from './random.js'

const TC_VERDICTS: Verdicts = { pass: TC.PASS, drop: TC.DROP, redirect: TC.REDIRECT }

export interface Failure {
  readonly seed: number
  readonly index: number
  readonly program: Direction
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

export class Fuzzer {
  readonly #dp: Datapath
  readonly #drops: Totals
  readonly #events: Totals
  readonly #eventNames: string[]
  readonly #verdicts: Record<string, number> = {}
  #packets = 0
  #translated = 0

  constructor(dp: Datapath) {
    this.#dp = dp
    const paths = dp.constant('PATH_COUNT')
    this.#drops = new Totals(dp.map('drops'), paths)
    this.#events = new Totals(dp.map('events'), paths)
    const names = Object.entries(dp.constants).filter(([name]) => name.startsWith('EVENT_'))
    this.#eventNames = []
    for (const [name, value] of names) this.#eventNames[value] = name.slice('EVENT_'.length)
  }

  /** One packet. */
  observe(program: Direction, before: Buffer): Observation {
    const { verdict, packet } =
      program === 'from_container' ? this.#dp.fromContainer(before) : this.#dp.toContainer(before)
    this.#packets++
    this.#verdicts[verdict] = (this.#verdicts[verdict] ?? 0) + 1
    const events = this.#events
      .added()
      .flatMap((count, index) => (count ? [this.#eventNames[index] ?? `${index}`] : []))
    const drops = this.#drops.added().reduce((sum, one) => sum + one, 0)
    if (verdict !== TC.DROP && !before.equals(packet)) this.#translated++
    return { verdict, before, after: packet, drops, events }
  }

  judge(seen: Observation): string[] {
    return faultsOf(seen, TC_VERDICTS)
  }

  /** @param count packets for each program; @returns the first failure, if there is one */
  run(seed: number, count: number): Failure | undefined {
    const random = new Random(seed)
    for (let index = 0; index < count; index++) {
      for (const program of ['from_container', 'to_container'] as const) {
        const seen = this.observe(program, nextPacket(random, program))
        const faults = this.judge(seen)
        if (faults.length) return { seed, index, program, faults, seen }
      }
    }
    return undefined
  }

  tally(): Tally {
    const counted = this.#dp.counted()
    return {
      packets: this.#packets,
      verdicts: { ...this.#verdicts },
      counted,
      translated: this.#translated,
    }
  }
}

/** All that it takes to see a failure again. */
export function describeFailure({ seed, index, program, faults, seen }: Failure): string {
  return [
    `${program}, seed ${seed}, index ${index}: ${faults.join('; ')}`,
    `verdict ${seen.verdict}, events ${seen.events.join(' ') || 'none'}, drops ${seen.drops}`,
    `in:  ${seen.before.toString('hex')}`,
    `out: ${seen.after.toString('hex')}`,
    `again: npm run fuzz -- --seed ${seed} --count ${index + 1}`,
    `alone, without the flows before it: npm run fuzz -- --program ${program} --replay ${seen.before.toString('hex')}`,
  ].join('\n')
}
