/**
 * The tc programs under BPF_PROG_TEST_RUN: a packet in, the verdict, the packet out and what was
 * counted. Rows are written as the agent would, without the agent.
 */
import { type BpfMap, BpfObject, type Program, type Value } from 'libbpf-ts'
import type { Test } from 'tap'
import type { Algorithm } from '../../src/model/types.js'
import { addressBytes, isV6 } from './packet.js'

const OBJECT = new URL('../../bpf/tc.bpf.o', import.meta.url).pathname

/** linux/bpf.h, 6.17. */
const BPF_F_TEST_SKB_CHECKSUM_COMPLETE = 1 << 2

/** Verdicts of tc programs. */
export const TC = { PASS: -1, DROP: 2, REDIRECT: 7 } as const

export const PROTOCOLS = { tcp: 6, udp: 17 } as const
export type ProtocolName = keyof typeof PROTOCOLS

type Row = Readonly<Record<string, Value>>

export interface Result {
  readonly verdict: number
  readonly packet: Buffer
}

/** Fields of a service's row; all 0 unless given. */
export interface Policy {
  readonly flags: number
  readonly affinity_prefix4: number
  readonly affinity_prefix6: number
  readonly affinity_seconds: number
  readonly upper: number
  readonly lower: number
}

const NO_POLICY: Policy = {
  flags: 0,
  affinity_prefix4: 0,
  affinity_prefix6: 0,
  affinity_seconds: 0,
  upper: 0,
  lower: 0,
}

export interface ServiceOptions {
  readonly vips: readonly string[]
  /** `80/tcp`, `80:8080/tcp` (VIP's port: backend's port). Empty: the any-port VIP. */
  readonly ports?: readonly string[]
  readonly backends: readonly string[]
  /** How often each backend stands in the ring; default once. */
  readonly ring?: readonly number[]
  readonly algorithm?: Algorithm
  readonly policy?: Partial<Policy>
  /** Of each backend, for wlc; default 1. */
  readonly weights?: readonly number[]
  readonly network?: number
  readonly onLink?: boolean
}

export interface Service {
  readonly id: number
  /** Ids by address. */
  readonly backends: ReadonlyMap<string, number>
}

export interface Options {
  /** Knobs of config.h; `network_id` is 1 unless given. */
  readonly rodata?: Readonly<Record<string, Value>> & { readonly network_id?: number }
  /** Maps' sizes, where the test needs more than SIZES. */
  readonly sizes?: Readonly<Record<string, number>>
  /** Default: the one that is shipped. */
  readonly object?: string
  /** Shares its maps, as the instances of several networks do. */
  readonly beside?: Datapath
  /** Packets come with the device's sum over all of them; a run that spoils it throws EBADMSG. */
  readonly checksumComplete?: boolean
}

/** Totals over CPUs. */
export interface Traffic {
  readonly packetsIn: number
  readonly bytesIn: number
  readonly packetsOut: number
  readonly bytesOut: number
  readonly connections: number
}

export interface Flow {
  readonly vip_port: number
  readonly client_port: number
  readonly backend_port: number
  readonly flags: number
  readonly service: number
  readonly backend: number
  readonly incarnation: number
  readonly last_seen: number
}

export interface FlowRow {
  readonly flow: Flow
  /** IPv4: one word. */
  readonly vip: Value
}

/** What is loaded for the outside, network 0, alone. */
const EDGE_PROGRAMS = ['from_edge', 'to_edge', 'from_bridge']

/** Small, because every test makes them all. */
const SIZES = {
  flows4: 4096,
  flows6: 4096,
  embryonic4: 4096,
  embryonic6: 4096,
  overflows: 4096,
  snats: 4096,
  embryonic_snats: 4096,
  snat_clients: 8192,
  vips4: 256,
  vips6: 256,
  ports4: 256,
  ports6: 256,
  services: 256,
  cursors: 256,
  timers: 256,
  slots: 4096,
  backends: 256,
  actives: 256,
  overloads: 256,
  sources: 256,
  affinities: 4096,
  sock_actives: 256,
  inactives: 256,
  counters: 768,
  backend_ends: 768,
  gone_ends: 768,
  retired_ends: 768,
  handshakes: 768,
  retired: 768,
  netnses: 16,
  names: 16,
} as const

function words(address: string): number[] {
  const bytes = addressBytes(address)
  const mapped = isV6(address)
    ? bytes
    : Buffer.concat([Buffer.alloc(10), Buffer.from([255, 255]), bytes])
  return [0, 4, 8, 12].map((at) => mapped.readUInt32BE(at))
}

/** One loaded instance of the tc object. */
export class Datapath {
  readonly constants: Readonly<Record<string, number>>
  readonly network: number
  readonly #object: BpfObject
  readonly #flags: number
  #services = 0
  #backends = 0
  #slots = 0
  #incarnation = 0

  constructor(options: Options = {}) {
    const rodata = { network_id: 1, ...options.rodata }
    this.network = rodata.network_id
    this.#flags = options.checksumComplete ? BPF_F_TEST_SKB_CHECKSUM_COMPLETE : 0
    this.#object = BpfObject.open(options.object ?? OBJECT)
    try {
      this.#object.setRodata(rodata)
      // As the agent does: the verifier takes longer for these than for all others.
      if (this.network !== 0) for (const name of EDGE_PROGRAMS) this.#object.autoload(name, false)
      for (const [map, size] of Object.entries({ ...SIZES, ...options.sizes }))
        this.#object.resize(map, size)
      for (const [name, map] of options.beside?.maps() ?? []) this.#object.reuse(name, map)
      this.#object.load()
    } catch (error) {
      this.#object.close()
      throw error
    }
    const { types } = this.#object
    this.constants = Object.assign(
      {},
      ...[
        'drop_reason',
        'event',
        'hook_path',
        'vip_flag',
        'flow_flag',
        'flow_end',
        'algorithm',
        'service_flag',
        'source_rule',
        'backend_flag',
        'via_kind',
      ].map((name) => types.enum(name)),
    ) as Record<string, number>
  }

  close(): void {
    this.#object.close()
  }

  /** Every map but the data sections. */
  maps(): [string, BpfMap][] {
    return [...this.#object.maps].filter(([name]) => !name.includes('.'))
  }

  map(name: string): BpfMap {
    return this.#object.map(name)
  }

  program(name: string): Program {
    return this.#object.program(name)
  }

  constant(name: string): number {
    const value = this.constants[name]
    if (value === undefined) throw new Error(`${name} is not in the object's BTF`)
    return value
  }

  /** What the container sends. */
  fromContainer(packet: Uint8Array, options: { gsoSegments?: number } = {}): Result {
    return this.run('from_container', packet, options.gsoSegments)
  }

  /** What the container is about to get. */
  toContainer(packet: Uint8Array, options: { gsoSegments?: number } = {}): Result {
    return this.run('to_container', packet, options.gsoSegments)
  }

  /** What the stack gets from a NIC. */
  fromEdge(packet: Uint8Array, ifindex: number): Result {
    return this.run('from_edge', packet, 0, ifindex)
  }

  /** What the stack sends by a NIC. */
  toEdge(packet: Uint8Array, ifindex: number): Result {
    return this.run('to_edge', packet, 0, ifindex)
  }

  /** What leaves a network, by its bridge or a routed container's link. */
  fromBridge(packet: Uint8Array, ifindex: number): Result {
    return this.run('from_bridge', packet, 0, ifindex)
  }

  private run(program: string, packet: Uint8Array, gsoSegments?: number, ifindex = 0): Result {
    const ctx = gsoSegments === undefined ? undefined : contextOf(gsoSegments, ifindex)
    const result = this.#object.program(program).testRun({
      data: packet,
      dataOutSize: packet.length + 512,
      flags: this.#flags,
      ...(ctx && { ctx }),
    })
    return { verdict: result.retval | 0, packet: Buffer.from(result.data) }
  }

  /** Nanoseconds a run, the mean of `repeat`. */
  time(program: 'from_container' | 'to_container', packet: Uint8Array, repeat: number): number {
    return this.#object.program(program).testRun({ data: packet, repeat }).durationNs
  }

  addVip(address: string, flags: readonly string[], service = 0, network = this.network): void {
    const sum = flags.reduce((all, flag) => all | this.constant(`VIP_${flag}`), 0)
    this.map(isV6(address) ? 'vips6' : 'vips4').set(vipKey(address, network), {
      flags: sum,
      service,
    })
  }

  removeVip(address: string, network = this.network): void {
    this.map(isV6(address) ? 'vips6' : 'vips4').delete(vipKey(address, network))
  }

  addPort(address: string, text: string, service: number, network = this.network): void {
    const [, port, target, protocol] = /^(\d+)(?::(\d+))?\/(tcp|udp)$/.exec(text) ?? []
    if (port === undefined) throw new Error(`${text} is not a port`)
    const key = {
      ...vipKey(address, network),
      port: Number(port),
      protocol: PROTOCOLS[protocol as ProtocolName],
      pad: 0,
    }
    this.map(isV6(address) ? 'ports6' : 'ports4').set(key, {
      service,
      target_port: Number(target ?? 0),
      pad: 0,
    })
  }

  /** A backend row, in the order of ids. */
  addBackend(address: string, service: number, onLink = true, weight = 1): number {
    const id = ++this.#backends
    this.map('backends').set(id, {
      addr: words(address),
      service,
      incarnation: ++this.#incarnation,
      flags: onLink ? 1 : 0,
      weight,
    })
    this.addVip(address, ['BACKEND'])
    return id
  }

  removeBackend(id: number): void {
    this.map('backends').set(id, {
      addr: [0, 0, 0, 0],
      service: 0,
      incarnation: 0,
      flags: 0,
      weight: 0,
    })
  }

  /** Replaces a service's row; the ring goes behind all earlier ones. */
  setRing(
    service: number,
    ids: { 4: readonly number[]; 6: readonly number[] },
    by: Algorithm = 'rr',
    policy: Partial<Policy> = {},
  ): void {
    const at = { 4: this.#slots, 6: this.#slots + ids[4].length }
    for (const id of [...ids[4], ...ids[6]]) this.map('slots').set(this.#slots++, id)
    this.map('services').set(service, {
      ring4: at[4],
      slots4: ids[4].length,
      ring6: at[6],
      slots6: ids[6].length,
      algorithm: this.constant(`ALGORITHM_${by.toUpperCase()}`),
      ...NO_POLICY,
      ...policy,
    })
  }

  addService(options: ServiceOptions): Service {
    const id = ++this.#services
    const network = options.network ?? this.network
    const backends = new Map(
      options.backends.map((one, index) => [
        one,
        this.addBackend(one, id, options.onLink ?? true, options.weights?.[index]),
      ]),
    )
    const ring = { 4: [] as number[], 6: [] as number[] }
    options.backends.forEach((address, index) => {
      const times = options.ring?.[index] ?? 1
      for (let i = 0; i < times; i++) ring[isV6(address) ? 6 : 4].push(backends.get(address) ?? 0)
    })
    this.setRing(id, ring, options.algorithm, options.policy)
    const anyPort = !options.ports?.length
    for (const vip of options.vips) {
      for (const port of options.ports ?? []) this.addPort(vip, port, id, network)
      this.addVip(vip, anyPort ? ['BALANCED', 'ANY_PORT'] : ['BALANCED'], anyPort ? id : 0, network)
    }
    return { id, backends }
  }

  #total(map: string, constant: string, path: string): number {
    const paths = this.constant('PATH_COUNT')
    const index = this.constant(constant) * paths + this.constant(path)
    const values = this.map(map).getPerCpu(index) ?? []
    return values.reduce<number>((sum, value) => sum + Number(value), 0)
  }

  drops(reason: string, path = 'PATH_TC'): number {
    return this.#total('drops', `DROP_${reason}`, path)
  }

  events(event: string): number {
    return this.#total('events', `EVENT_${event}`, 'PATH_TC')
  }

  /** Every drop and event that is not 0, by name: to show that nothing else was counted. */
  counted(path = 'PATH_TC'): Record<string, number> {
    const all = Object.keys(this.constants)
      .filter((name) => /^(DROP|EVENT)_/.test(name) && !/_(COUNT|NONE)$/.test(name))
      .map((name): [string, number] => [
        name,
        this.#total(name.startsWith('DROP') ? 'drops' : 'events', name, path),
      ])
    return Object.fromEntries(all.filter(([, count]) => count > 0))
  }

  traffic(backend: number, path = 'PATH_TC'): Traffic {
    const index = backend * this.constant('PATH_COUNT') + this.constant(path)
    const rows = (this.map('counters').getPerCpu(index) ?? []) as Row[]
    const sum = (field: string) => rows.reduce((total, row) => total + Number(row[field]), 0)
    return {
      packetsIn: sum('packets_in'),
      bytesIn: sum('bytes_in'),
      packetsOut: sum('packets_out'),
      bytesOut: sum('bytes_out'),
      connections: sum('connections'),
    }
  }

  flowKey(client: string, port: number, protocol: ProtocolName): Value {
    const all = words(client)
    return {
      network: this.network,
      client: isV6(client) ? all : (all[3] ?? 0),
      client_port: port,
      protocol: PROTOCOLS[protocol],
      pad: 0,
    }
  }

  flows(family: 4 | 6): BpfMap<Value, FlowRow> {
    return this.map(`flows${family}`) as unknown as BpfMap<Value, FlowRow>
  }

  embryonic(family: 4 | 6): BpfMap<Value, FlowRow> {
    return this.map(`embryonic${family}`) as unknown as BpfMap<Value, FlowRow>
  }

  /** From whichever table it is in. */
  flow(client: string, port: number, protocol: ProtocolName): Flow | undefined {
    return this.flowRow(client, port, protocol)?.flow
  }

  flowRow(client: string, port: number, protocol: ProtocolName): FlowRow | undefined {
    const key = this.flowKey(client, port, protocol)
    return this.#tableOf(client, key).get(key)
  }

  #tableOf(client: string, key: Value): BpfMap<Value, FlowRow> {
    const family = isV6(client) ? 6 : 4
    const flows = this.flows(family)
    return flows.has(key) ? flows : this.embryonic(family)
  }

  /** Connections of a backend that have not ended. */
  active(backend: number): number {
    return Number(this.map('actives').get(backend))
  }

  /** Every reason for which flows have ended, by name without prefix. */
  ends(): Record<string, number> {
    const names = Object.keys(this.constants).filter((name) => /^END_(?!COUNT)/.test(name))
    const all = names.map((name): [string, number] => [
      name.slice('END_'.length),
      this.#total('ends', name, 'PATH_TC'),
    ])
    return Object.fromEntries(all.filter(([, count]) => count > 0))
  }

  /** Makes a flow look as if its last packet had come that much earlier. */
  age(client: string, port: number, protocol: ProtocolName, jiffies: number): void {
    const key = this.flowKey(client, port, protocol)
    const table = this.#tableOf(client, key)
    const row = table.get(key)
    if (!row) throw new Error('there is no such flow')
    const last_seen = (row.flow.last_seen - jiffies) >>> 0
    table.set(key, { ...row, flow: { ...row.flow, last_seen } })
  }
}

function vipKey(address: string, network: number): { network: number; addr: Value } {
  const all = words(address)
  return { network, addr: isV6(address) ? all : (all[3] ?? 0) }
}

/** `struct __sk_buff` of include/uapi/linux/bpf.h: a packet of that many segments, from a NIC. */
function contextOf(gsoSegments: number, ifindex: number): Uint8Array {
  const ctx = Buffer.alloc(192)
  ctx.writeUInt32LE(ifindex, 40)
  ctx.writeUInt32LE(gsoSegments, 164)
  return ctx
}

export type KernelTest = (t: Test, dp: Datapath) => void | Promise<void>

/** A test with a datapath of its own. Without root it is skipped, but fails where CI is set. */
export function kernelTest(t: Test, title: string, body: KernelTest, options?: Options): void {
  if (process.geteuid?.() !== 0 && process.env['CI'] === undefined) {
    t.test(title, { skip: 'needs root' }, () => undefined)
    return
  }
  t.test(title, async (t) => {
    const dp = new Datapath(options)
    try {
      await body(t, dp)
    } finally {
      dp.close()
    }
  })
}
