/** What is measured, and beside what. */
import type { Program } from 'libbpf-ts'
import { ifindexOf } from '../../test/lib/edgeWire.js'
import type { Datapath } from '../../test/lib/kernel.js'
import { enterPastBridge } from '../../test/lib/pastBridge.js'
import {
  arpRequest,
  CLOSED_PORT,
  type Direction,
  type Family,
  type Frame,
  frame,
  fromClient,
  HOSTS,
  type ProtocolName,
  toClient,
  VIP_PORT,
} from './frames.js'
import { Reference } from './reference.js'
import { csumIpv6Flag, EdgeScene, FLOW_ROWS, NETWORK, openScene } from './scene.js'
import { type Hook, Timed } from './timed.js'

export const FLOWS = { hot: 1, warm: 16_384, cold: 65_536 } as const
export const SERVICES = [1, 10_000] as const

/** 'reference': the least DNAT itself, with one flow. 'told': without an aim, beside a least program or not. */
export type Kind = 'established' | 'new' | 'pass' | 'refusal' | 'answer' | 'reference' | 'told'

export interface Case {
  readonly name: string
  readonly kind: Kind
  readonly hook: Hook
  /** Runs of one round. */
  readonly repeat: number
  readonly floor: Timed
  readonly reference?: Timed
  /** By number of services. None: the reference itself is the subject. */
  readonly subjects: ReadonlyMap<number, Timed>
}

const PROTOCOL_NAMES = ['tcp', 'udp'] as const

/** Services whose size is the point: a ring of many, and the most that lc compares one by one. */
const WIDE = [
  { backends: 1000, algorithm: 'rr' },
  { backends: 64, algorithm: 'lc' },
] as const

const REPEAT = 20_000
/** Of all flows, in one round: the first of them finds the caches as other programs left them. */
const PASSES = 3
/** Handshakes that are under way at a time; a divisor of FLOWS.cold. */
const HANDSHAKES = 256
const SLOW_REPEAT = 4_000
const TC_PASS = -1
const TC_REDIRECT = 7
const XDP_PASS = 2
const XDP_TX = 3
/** Of the namespace that the bench runs in. */
export const NIC = 'eth0'

/** Everything that was opened, so that it can be closed. */
export class Bench {
  readonly scenes = new Map<number, Datapath>()
  readonly edges = new Map<number, EdgeScene>()
  /** One service with many backends. */
  readonly wide: Datapath[] = []
  /** One service, whose backends' veths are known. */
  readonly past: Datapath
  readonly established: Case[] = []
  readonly fresh: Case[] = []
  readonly #open: { close(): void }[] = []
  readonly #ifindex = ifindexOf(NIC)

  constructor() {
    try {
      for (const count of SERVICES) {
        this.scenes.set(count, this.#keep(openScene(count, true)))
        this.edges.set(count, this.#keep(new EdgeScene(count)))
      }
      const wide = WIDE.map((of) => this.#keep(openScene(1, true, of)))
      this.wide.push(...wide)
      this.past = this.#keep(openScene(1, true))
      enterPastBridge(this.past, NETWORK, [HOSTS[4].backend, HOSTS[6].backend])
      for (const family of [4, 6] as const) {
        this.#flows(family)
        this.#others(family)
        this.#atNic(family)
      }
      this.#other('ARP request for a VIP', 'answer', 'from_container', arpRequest(), TC_REDIRECT)
    } catch (error) {
      this.close()
      throw error
    }
  }

  close(): void {
    for (const one of this.#open.reverse()) one.close()
  }

  #keep<T extends { close(): void }>(one: T): T {
    this.#open.push(one)
    return one
  }

  /** Frames on XDP and those of programs of a NIC come in by it. */
  #timed(hook: Hook, of: Frame, flows: number | 'new', program?: Program, nic = false): Timed {
    const ifindex = hook === 'xdp' || nic ? { ifindex: this.#ifindex } : {}
    const options = { hook, frame: of, flows, ...ifindex }
    return this.#keep(new Timed({ ...options, ...(program && { program }) }))
  }

  /** The program on XDP of every scene. */
  #wires(of: Frame, flows: number): Map<number, Timed> {
    return new Map(
      [...this.edges].map(([count, { wire }]) => [
        count,
        this.#timed('xdp', of, flows, wire.program),
      ]),
    )
  }

  /** A timed program of every scene. */
  #subjects(direction: Direction, of: Frame, flows: number | 'new'): Map<number, Timed> {
    return new Map(
      [...this.scenes].map(([count, dp]) => [
        count,
        this.#timed('tc', of, flows, dp.program(direction)),
      ]),
    )
  }

  /** Known flows of one family in both directions, and new ones. */
  #flows(family: Family): void {
    for (const protocol of PROTOCOL_NAMES) this.#establish(family, protocol)
    const tc = this.#reference('tc', family, false)
    const reply = this.#reference('tc', family, true)
    const xdp = this.#reference('xdp', family, false)
    for (const protocol of PROTOCOL_NAMES) {
      const word = `IPv${family} ${protocol.toUpperCase()}`
      const there = fromClient(family, protocol, 'A')
      const back = toClient(family, protocol, 'A')
      this.#established(`${word} from_container`, 'from_container', there, tc)
      this.#established(`${word} to_container`, 'to_container', back, reply)
      this.#leastOnXdp(`${word} least DNAT, XDP`, there, xdp)
      const steps = [fromClient(family, protocol, 'S'), there]
      handshakes(steps.map((of) => this.#outside(of, FLOWS.cold)))
      this.#fromWire(`${word} from_wire`, there, xdp)
      this.#newFlow(word, fromClient(family, protocol, 'S'), tc)
    }
    this.#pastBridge(family, tc)
    this.#beyond(family, xdp)
    this.#toWide(family, tc)
  }

  /** To a container whose veth is known: one lookup more in the program, and much less behind it. */
  #pastBridge(family: Family, reference: Reference): void {
    const [syn, there] = ['S', 'A'].map((flags) => fromClient(family, 'tcp', flags))
    if (!syn || !there) return
    const program = this.past.program('from_container')
    const timed = (of: Frame, flows: number) =>
      new Map([[1, this.#timed('tc', of, flows, program)]])
    handshakes([syn, there].map((of) => timed(of, FLOWS.cold)))
    for (const flows of [FLOWS.hot, FLOWS.cold]) {
      const subjects = timed(there, flows)
      for (const one of subjects.values()) expecting(one, TC_REDIRECT, there)
      const name = named(`IPv${family} TCP past the bridge, from_container`, flows)
      this.established.push({
        ...{ name, kind: 'established', hook: 'tc', subjects },
        repeat: Math.max(REPEAT, PASSES * flows),
        floor: this.#timed('tc', there, flows),
        reference: expecting(
          this.#timed('tc', there, flows, reference.pastBridge),
          TC_REDIRECT,
          there,
        ),
      })
    }
  }

  /** One service of many backends; and of not so many, all of which are compared. */
  #toWide(family: Family, reference: Reference): void {
    const [syn, there] = ['S', 'A'].map((flags) => fromClient(family, 'tcp', flags))
    if (!syn || !there) return
    for (const [index, { backends, algorithm }] of WIDE.entries()) {
      const program = this.wide[index]?.program('from_container')
      const timed = (of: Frame, flows: number | 'new') =>
        new Map(program ? [[1, this.#timed('tc', of, flows, program)]] : [])
      const word = `IPv${family} TCP, ${backends} backends, ${algorithm}`
      this.fresh.push({
        ...{ name: `${word}, new flow`, kind: 'told', hook: 'tc', repeat: SLOW_REPEAT },
        floor: this.#timed('tc', syn, 'new'),
        subjects: timed(syn, 'new'),
      })
      if (algorithm !== 'rr') continue
      handshakes([syn, there].map((of) => timed(of, FLOWS.cold)))
      for (const flows of [FLOWS.hot, FLOWS.cold]) {
        const subjects = timed(there, flows)
        for (const one of subjects.values()) expecting(one, TC_REDIRECT, there)
        this.established.push({
          ...{ name: named(`${word}, from_container`, flows), kind: 'told', hook: 'tc', subjects },
          repeat: Math.max(REPEAT, PASSES * flows),
          floor: this.#timed('tc', there, flows),
          reference: this.#timed('tc', there, flows, reference.lookups),
        })
      }
    }
  }

  #establish(family: Family, protocol: ProtocolName): void {
    const steps = [
      this.#subjects('from_container', fromClient(family, protocol, 'S'), FLOWS.cold),
      this.#subjects('to_container', toClient(family, protocol, 'SA'), FLOWS.cold),
      this.#subjects('from_container', fromClient(family, protocol, 'A'), FLOWS.cold),
    ]
    handshakes(steps)
  }

  /** The least DNAT, its table as full as that of the programs under test. */
  #reference(hook: Hook, family: Family, rewritesSource: boolean): Reference {
    const options = { rewritesSource, rows: FLOW_ROWS, csumIpv6Flag: csumIpv6Flag() }
    const reference = this.#keep(new Reference(hook, family, options))
    for (const protocol of PROTOCOL_NAMES) {
      const of = (rewritesSource ? toClient : fromClient)(family, protocol, 'A')
      this.#timed(hook, of, FLOWS.cold, reference.inserts).run(FLOWS.cold)
    }
    return reference
  }

  #established(name: string, direction: Direction, of: Frame, reference: Reference): void {
    const verdict = direction === 'from_container' ? TC_REDIRECT : TC_PASS
    for (const flows of Object.values(FLOWS)) {
      const subjects = this.#subjects(direction, of, flows)
      for (const one of subjects.values()) expecting(one, verdict, of)
      this.established.push({
        ...{ name: named(name, flows), kind: 'established', hook: 'tc', subjects },
        repeat: Math.max(REPEAT, PASSES * flows),
        floor: this.#timed('tc', of, flows),
        reference: expecting(this.#timed('tc', of, flows, reference.lookups), TC_PASS, of),
      })
    }
  }

  #leastOnXdp(name: string, of: Frame, reference: Reference): void {
    this.established.push({
      ...{ name: named(name, 1), kind: 'reference', hook: 'xdp', subjects: new Map() },
      repeat: REPEAT,
      floor: this.#timed('xdp', of, 1),
      reference: expecting(this.#timed('xdp', of, 1, reference.lookups), XDP_TX, of),
    })
  }

  /** What tc does with packets that XDP does not carry, and with replies. */
  #outside(of: Frame, flows: number, program = 'from_edge'): Map<number, Timed> {
    return new Map(
      [...this.edges].map(([count, { dp }]) => [
        count,
        this.#timed('tc', of, flows, dp.program(program), true),
      ]),
    )
  }

  /** To a backend of this node: translated, and left to tc with a note. */
  #fromWire(name: string, of: Frame, reference: Reference): void {
    for (const flows of Object.values(FLOWS)) {
      const subjects = this.#wires(of, flows)
      for (const one of subjects.values()) expecting(one, XDP_PASS, of)
      const least = this.#timed('xdp', of, flows, reference.handsOn)
      this.established.push({
        ...{ name: named(name, flows), kind: 'established', hook: 'xdp', subjects },
        repeat: Math.max(REPEAT, PASSES * flows),
        floor: this.#timed('xdp', of, flows),
        reference: expecting(least, XDP_PASS, of),
      })
    }
  }

  /** On XDP: known flows that leave by the NIC again. */
  #beyond(family: Family, reference: Reference): void {
    const { wire, node } = HOSTS[family]
    const ways = { 'by MAC address (DSR)': wire, 'into a tunnel': node }
    for (const [way, ends] of Object.entries(ways)) {
      const of = fromClient(family, 'tcp', 'A', ends)
      for (const step of [fromClient(family, 'tcp', 'S', ends), of])
        // Once: a tunnel's header stays in front of the frame.
        for (const one of this.#outside(step, 1).values()) one.once()
      this.#timed('xdp', of, 1, reference.inserts).once()
      const least = this.#timed('xdp', of, 1, reference.beyond(ends === wire ? 'mac' : 'tunnel'))
      const name = `IPv${family} TCP from_wire, ${way}, 1 flow`
      this.#onWire(name, 'established', of, XDP_TX, expecting(least, XDP_TX, of))
    }
  }

  /** What is none of ours on XDP; and known flows in the tc programs of a NIC. */
  #atNic(family: Family): void {
    const { client, stranger } = HOSTS[family]
    const none = frame({
      ...{ family, protocol: 'tcp', src: client, dst: stranger, dport: VIP_PORT, flags: 'A' },
    })
    this.#onWire(`IPv${family} not ours, from_wire`, 'pass', none, XDP_PASS)
    const there = fromClient(family, 'tcp', 'A')
    const back = toClient(family, 'tcp', 'A')
    this.#inTc(`IPv${family} TCP from_edge, without XDP`, 'from_edge', there, TC_REDIRECT)
    this.#inTc(`IPv${family} TCP to_edge`, 'to_edge', back, TC_PASS)
    this.#inTc(`IPv${family} TCP from_bridge`, 'from_bridge', back, TC_REDIRECT)
  }

  #inTc(name: string, program: string, of: Frame, verdict: number): void {
    for (const flows of [FLOWS.hot, FLOWS.cold]) {
      const subjects = this.#outside(of, flows, program)
      for (const one of subjects.values()) expecting(one, verdict, of)
      this.established.push({
        ...{ name: named(name, flows), kind: 'told', hook: 'tc', subjects },
        repeat: Math.max(REPEAT, PASSES * flows),
        floor: this.#timed('tc', of, flows, undefined, true),
      })
    }
  }

  /** @param reference whose packets leave as changed as ours; absent: none of them changes */
  #onWire(name: string, kind: Kind, of: Frame, verdict: number, reference?: Timed): void {
    const subjects = this.#wires(of, 1)
    for (const one of subjects.values()) expecting(one, verdict, reference && of)
    this.established.push({
      ...{ name, kind, hook: 'xdp', repeat: REPEAT, subjects },
      floor: this.#timed('xdp', of, 1),
      ...(reference && { reference }),
    })
  }

  #newFlow(word: string, syn: Frame, reference: Reference): void {
    this.fresh.push({
      name: `${word}, new flow`,
      kind: 'new',
      hook: 'tc',
      repeat: SLOW_REPEAT,
      floor: this.#timed('tc', syn, 'new'),
      reference: this.#timed('tc', syn, 'new', reference.inserts),
      subjects: this.#subjects('from_container', syn, 'new'),
    })
  }

  #other(name: string, kind: Kind, direction: Direction, of: Frame, verdict: number): void {
    const subjects = this.#subjects(direction, of, 1)
    for (const one of subjects.values()) expecting(one, verdict)
    const repeat = kind === 'pass' ? REPEAT : SLOW_REPEAT
    this.established.push({
      ...{ name, kind, hook: 'tc', repeat, subjects },
      floor: this.#timed('tc', of, 1),
    })
  }

  #others(family: Family): void {
    const { client, stranger, vip } = HOSTS[family]
    const plain = { family, protocol: 'tcp', src: client, flags: 'A' } as const
    const none = frame({ ...plain, dst: stranger, dport: 80 })
    const word = `IPv${family}`
    this.#other(`${word} not ours, from_container`, 'pass', 'from_container', none, TC_PASS)
    this.#other(`${word} not ours, to_container`, 'pass', 'to_container', none, TC_PASS)
    const closed = frame({ ...plain, dst: vip, dport: CLOSED_PORT, flags: 'S' })
    this.#other(`${word} TCP refused (reset)`, 'refusal', 'from_container', closed, TC_REDIRECT)
  }
}

function named(name: string, flows: number): string {
  return `${name}, ${flows} ${flows === 1 ? 'flow' : 'flows'}`
}

/** Makes the flows, a few at a time: a flow that nobody answers may have to make way. */
function handshakes(steps: readonly ReadonlyMap<number, Timed>[]): void {
  for (let made = 0; made < FLOWS.cold; made += HANDSHAKES)
    for (const step of steps) for (const one of step.values()) one.run(HANDSHAKES)
}

/** What is timed must be what is meant. @param before the frame, if it has to leave changed */
function expecting(timed: Timed, verdict: number, before?: Frame): Timed {
  const got = timed.once()
  if (got.verdict !== verdict)
    throw new Error(`the program gave verdict ${got.verdict} instead of ${verdict}`)
  if (before && got.packet.subarray(14).equals(before.bytes.subarray(14)))
    throw new Error('the program did not translate the frame')
  return timed
}
