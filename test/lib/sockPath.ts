/**
 * The socket path without an agent: the programs of sock.bpf.o, attached at the root of cgroup v2
 * and scoped to the namespaces given, with their maps filled by hand. Removes itself at teardown.
 */
import { join } from 'node:path'
import { BpfObject, type Link, netnsCookie } from 'libbpf-ts'
import { family, toWords } from '../../src/model/address.js'
import { ALGORITHMS, type Algorithm, type Family, type Protocol } from '../../src/model/types.js'
import type { Namespace } from './netns.js'

const CGROUP = process.env['FAIRLEAD_CGROUP'] ?? '/sys/fs/cgroup/unified'
const OBJECT = join(import.meta.dirname, '../../bpf/sock.bpf.o')

const HOOKS = {
  sock_connect4: 'connect4',
  sock_connect6: 'connect6',
  sock_sendmsg4: 'sendmsg4',
  sock_sendmsg6: 'sendmsg6',
  sock_recvmsg4: 'recvmsg4',
  sock_recvmsg6: 'recvmsg6',
  sock_peername4: 'getpeername4',
  sock_peername6: 'getpeername6',
  sock_ops: 'sock_ops',
} as const

/** The defaults are for a machine; a test needs little, and LRU maps are allocated whole. */
const SIZES = { flows4: 1024, flows6: 1024, overflows: 1024, slots: 4096, backends: 1024 }

const PROTOCOLS: Readonly<Record<Protocol, number>> = { tcp: 6, udp: 17 }
const RING_SIZE = 16

export interface SockService {
  readonly id: number
  readonly network: number
  readonly vips: readonly string[]
  /** Every port that has no row of its own. */
  readonly anyPort?: boolean
  readonly ports?: readonly (readonly [Protocol, port: number, targetPort: number])[]
  readonly algorithm?: Algorithm
  /** Ids of backends that `backend` made; an id's slots are as many as it is named. */
  readonly backends: readonly number[]
}

export interface Counts {
  readonly connections: number
  readonly bytesIn: number
  readonly bytesOut: number
  readonly packetsIn: number
  readonly packetsOut: number
}

export interface Teardown {
  teardown(callback: () => Promise<void>): void
}

type Row = Record<string, number | bigint>

export class SockPath {
  private readonly links: Link[] = []
  private readonly addresses = new Map<number, string>()
  private incarnation = 0

  private constructor(readonly object: BpfObject) {}

  /** Loads; `attach` makes it work. */
  static load(t: Teardown, rodata: Record<string, number | bigint> = {}): SockPath {
    const object = BpfObject.open(OBJECT)
    const path = new SockPath(object)
    t.teardown(() => path.close())
    for (const [map, size] of Object.entries(SIZES)) object.resize(map, size)
    object.setRodata(rodata)
    object.load()
    return path
  }

  static async attached(t: Teardown): Promise<SockPath> {
    const path = SockPath.load(t)
    await path.attach()
    return path
  }

  async attach(): Promise<void> {
    for (const [program, type] of Object.entries(HOOKS))
      this.links.push(await this.object.program(program).attachCgroup({ path: CGROUP, type }))
  }

  /** Networks of a namespace's sockets, in the order of lookup; none opts it out. */
  scope(space: Namespace, ...networks: number[]): void {
    const key = netnsCookie(space.path)
    const map = this.object.map('netnses')
    if (networks.length === 0) map.delete(key)
    else map.set(key, { networks: [...networks, ...Array<number>(8).fill(0)].slice(0, 8) })
  }

  /** Writes a backend's row under a new incarnation; `service` 0 frees it. */
  backend(id: number, address: string, service: number): void {
    this.addresses.set(id, address)
    this.object.map('backends').set(id, {
      addr: [...toWords(address)],
      service,
      incarnation: ++this.incarnation,
      flags: 0,
      weight: 1,
    })
  }

  /** Writes its VIPs, ports and ring; the ring starts at its first slot. */
  service(spec: SockService): void {
    for (const vip of spec.vips) {
      this.put('vips', spec.network, vip, {}, spec.anyPort ? [1 | 2, spec.id] : [1, 0])
      for (const [protocol, port, targetPort] of spec.ports ?? [])
        this.port(spec, vip, protocol, port, targetPort)
    }
    const ring = (of: Family): number[] =>
      spec.backends.filter((id) => family(this.addresses.get(id) ?? '') === of)
    const [four, six] = [ring(4), ring(6)]
    const base = spec.id * RING_SIZE * 2
    this.object
      .map('slots')
      .setMany([
        ...four.map((id, at) => [base + at, id] as const),
        ...six.map((id, at) => [base + RING_SIZE + at, id] as const),
      ])
    this.object.map('cursors').set(spec.id, { placed: [0n, 0n, 0n, 0n] })
    this.object.map('services').set(spec.id, {
      ring4: base,
      slots4: four.length,
      ring6: base + RING_SIZE,
      slots6: six.length,
      algorithm: ALGORITHMS.indexOf(spec.algorithm ?? 'rr'),
      flags: 0,
      affinity_prefix4: 0,
      affinity_prefix6: 0,
      affinity_seconds: 0,
      upper: 0,
      lower: 0,
    })
  }

  removeVip(network: number, vip: string): void {
    const { map, key } = this.place('vips', network, vip, {})
    this.object.map(map).delete(key)
  }

  /** Totals of a backend on this path. */
  counts(backend: number): Counts {
    const total = (field: string): number =>
      this.perCpu<Row>('counters', backend).reduce((sum, row) => sum + Number(row[field]), 0)
    return {
      connections: total('connections'),
      bytesIn: total('bytes_in'),
      bytesOut: total('bytes_out'),
      packetsIn: total('packets_in'),
      packetsOut: total('packets_out'),
    }
  }

  drops(reason: string): number {
    return this.total('drops', this.constant('drop_reason', reason))
  }

  events(event: string): number {
    return this.total('events', this.constant('event', event))
  }

  async close(): Promise<void> {
    await Promise.all(this.links.splice(0).map((link) => link.detach()))
    this.object.close()
  }

  private port(
    { network, id }: SockService,
    vip: string,
    protocol: Protocol,
    port: number,
    target: number,
  ): void {
    const { map, key } = this.place('ports', network, vip, {
      port,
      protocol: PROTOCOLS[protocol],
      pad: 0,
    })
    this.object.map(map).set(key, { service: id, target_port: target, pad: 0 })
  }

  private put(
    kind: string,
    network: number,
    vip: string,
    rest: Row,
    [flags, service]: [number, number],
  ): void {
    const { map, key } = this.place(kind, network, vip, rest)
    this.object.map(map).set(key, { flags, service })
  }

  private place(kind: string, network: number, vip: string, rest: Row) {
    const of = family(vip)
    const words = toWords(vip)
    return {
      map: `${kind}${of}`,
      key: { network, addr: of === 4 ? words[3] : [...words], ...rest },
    }
  }

  private constant(name: string, constant: string): number {
    const value = this.object.types.enum(name)[constant]
    if (value === undefined) throw new RangeError(`no ${constant} in enum ${name}`)
    return value
  }

  private perCpu<T>(map: string, row: number): T[] {
    const paths = this.constant('hook_path', 'PATH_COUNT')
    const sock = this.constant('hook_path', 'PATH_SOCK')
    return (this.object.map(map).getPerCpu(row * paths + sock) ?? []) as T[]
  }

  private total(map: string, row: number): number {
    return this.perCpu<bigint>(map, row).reduce((sum, value) => sum + Number(value), 0)
  }
}
