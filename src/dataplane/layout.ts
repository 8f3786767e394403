/**
 * The guard of the layouts. bpf/maps.h alone describes a record; this names the fields that the
 * agent writes and reads, and tries at start that they exist with the type it gives them.
 */
import type { TypeTable, Value } from 'libbpf-ts'
import { FairleadError } from '../errors.js'
import { ALGORITHMS, type Algorithm } from '../model/types.js'
import { reasonOf } from '../reason.js'
import type { Words } from './rows.js'

/** LAYOUT_VERSION of bpf/maps.h: a macro, which BTF does not carry. */
export const LAYOUT_VERSION = 2

/** One value of every record with each field at the greatest its type must hold. */
const U32 = 0xffff_ffff
const U16 = 0xffff
const U64 = 0xffff_ffff_ffff_ffffn
const ADDRESS = [1, 2, U16, U32]
const FLOW = {
  vip_port: U16,
  client_port: U16,
  backend_port: U16,
  flags: U16,
  service: U32,
  backend: U32,
  incarnation: U32,
  last_seen: U32,
}
const RECORDS: Readonly<Record<string, Value>> = {
  vip4_key: { network: U32, addr: U32 },
  vip6_key: { network: U32, addr: ADDRESS },
  vip: { flags: U32, service: U32 },
  port4_key: { network: U32, addr: U32, port: U16, protocol: 0xff, pad: 0 },
  port6_key: { network: U32, addr: ADDRESS, port: U16, protocol: 0xff, pad: 0 },
  port: { service: U32, target_port: U16, pad: 0 },
  service: {
    ring4: U32,
    slots4: U32,
    ring6: U32,
    slots6: U32,
    algorithm: 0xff,
    flags: 0xff,
    affinity_prefix4: 0xff,
    affinity_prefix6: 0xff,
    affinity_seconds: U32,
    upper: U32,
    lower: U32,
  },
  backend: { addr: ADDRESS, service: U32, incarnation: U32, flags: U32, weight: U32 },
  source_key: { prefix_bits: U32, service: U32, family: U32, addr: ADDRESS },
  via: { addr: ADDRESS, kind: U32 },
  peer_key: { addr: ADDRESS },
  veth4_key: { scope: U32, addr: U32 },
  veth6_key: { scope: U32, addr: ADDRESS },
  veth: { ifindex: U32, mac: new Uint8Array(6), pad: new Uint8Array(2) },
  veth_lease: { until: U32 },
  drain: { since_ns: U64, incarnation: U32, pad: 0 },
  timers: {
    syn_jiffies: U32,
    established_jiffies: U32,
    closing_jiffies: U32,
    udp_jiffies: U32,
    resets: U32,
  },
  netns: { networks: [U32, 2, 3, 4, 5, 6, 7, 8] },
  resolver: { udp_port: U16, tcp_port: U16 },
  name_key: { kind: U32, id: U32 },
  name: { text: 'x'.repeat(131) },
  layout: { version: U32, incarnation: U32 },
  flow4_key: { network: U32, client: U32, client_port: U16, protocol: 0xff, pad: 0 },
  flow6_key: { network: U32, client: ADDRESS, client_port: U16, protocol: 0xff, pad: 0 },
  flow4: { flow: FLOW, vip: U32 },
  flow6: { flow: FLOW, vip: ADDRESS },
  snat_key: {
    backend: ADDRESS,
    source: ADDRESS,
    backend_port: U16,
    source_port: U16,
    protocol: 0xff,
    family: 0xff,
    pad: new Uint8Array(2),
  },
  snat_flow: { flow: FLOW, vip: ADDRESS, client: ADDRESS },
  watching: {
    until_ns: U64,
    kinds: U32,
    one_in: U32,
    window_jiffies: U32,
    window_events: U32,
    service: U32,
    backend: U32,
    client: ADDRESS,
    client_mask: ADDRESS,
  },
  flow_event: {
    time_ns: U64,
    duration_ns: U64,
    packets_in: U64,
    bytes_in: U64,
    packets_out: U64,
    bytes_out: U64,
    client: ADDRESS,
    vip: ADDRESS,
    backend: ADDRESS,
    client_port: U16,
    vip_port: U16,
    backend_port: U16,
    protocol: 0xff,
    kind: 0xff,
    reason: 0xff,
    path: 0xff,
    observed: 0xff,
    network: U32,
    service: U32,
    backend_id: U32,
    lot: U32,
  },
  handshake_key: { id: U32, part: U16, path: U16 },
  handshakes: { sum_ns: U64, counts: new Array<bigint>(16).fill(U64) },
  ended: { by: new Array<bigint>(5).fill(U64) },
  counters: {
    packets_in: U64,
    bytes_in: U64,
    packets_out: U64,
    bytes_out: U64,
    connections: U64,
  },
}

/** Records that the programs write: fields that the agent does not read may be there as well. */
const READ_ONLY = new Set([
  ...['flow4_key', 'flow6_key', 'flow4', 'flow6', 'snat_key', 'snat_flow'],
  ...['flow_event'],
])

function requireFields(found: unknown, sample: unknown, path = ''): void {
  if (typeof found !== typeof sample || Array.isArray(found) !== Array.isArray(sample))
    throw new Error(`${path}: of another type`)
  if (!isRecord(sample) || !isRecord(found)) return
  for (const [field, value] of Object.entries(sample)) {
    const place = path === '' ? field : `${path}.${field}`
    if (!(field in found)) throw new Error(`${place}: missing`)
    requireFields(found[field], value, place)
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !ArrayBuffer.isView(value)
}

/** @throws FairleadError LAYOUT naming the record and the field that the programs have otherwise */
export function checkRecords(types: TypeTable): void {
  for (const [name, sample] of Object.entries(RECORDS)) {
    try {
      const codec = types.struct(name)
      const bytes = new Uint8Array(codec.size)
      if (READ_ONLY.has(name)) requireFields(codec.decode(bytes), sample)
      else codec.encode(sample, bytes)
    } catch (cause) {
      throw new FairleadError('LAYOUT', `record ${name} of the BPF programs: ${reasonOf(cause)}`, {
        cause,
      })
    }
  }
}

/** Constants that the programs and the agent share. */
export interface Constants extends Words {
  readonly name: { readonly network: number; readonly service: number }
  /** In the order of their numbers: 'tc', 'sock', 'xdp'. */
  readonly paths: readonly string[]
  readonly dropReasons: readonly string[]
  readonly events: readonly string[]
  readonly ends: readonly string[]
  readonly watchKinds: readonly string[]
  readonly watchLosses: readonly string[]
  readonly handshakeParts: readonly string[]
  /** Bits of a flow's flags. */
  readonly flow: Readonly<
    Record<'direct' | 'established' | 'finClient' | 'finBackend' | 'reset' | 'hairpin', number>
  >
}

/** @throws FairleadError LAYOUT when an enum or one of its constants is missing */
export function readConstants(types: TypeTable): Constants {
  const flag = reader(types, 'vip_flag')
  const algorithm = reader(types, 'algorithm')
  const kind = reader(types, 'name_kind')
  const via = reader(types, 'via_kind')
  const algorithms = Object.fromEntries(
    ALGORITHMS.map((name) => [name, algorithm(`ALGORITHM_${name.toUpperCase()}`)]),
  ) as Record<Algorithm, number>
  const backend = reader(types, 'backend_flag')
  const service = reader(types, 'service_flag')
  const rule = reader(types, 'source_rule')
  const flow = reader(types, 'flow_flag')
  return {
    algorithm: algorithms,
    vip: {
      balanced: flag('VIP_BALANCED'),
      anyPort: flag('VIP_ANY_PORT'),
      backend: flag('VIP_BACKEND'),
      node: flag('VIP_NODE'),
    },
    onLink: backend('BACKEND_ON_LINK'),
    closed: backend('BACKEND_CLOSED'),
    service: { sources: service('SERVICE_SOURCES'), listedOnly: service('SERVICE_LISTED_ONLY') },
    source: { allow: rule('SOURCE_ALLOW'), deny: rule('SOURCE_DENY') },
    via: {
      here: via('VIA_HERE'),
      entry: via('VIA_ENTRY'),
      'dsr-mac': via('VIA_DSR_MAC'),
      'dsr-tunnel': via('VIA_DSR_TUNNEL'),
      snat: via('VIA_SNAT'),
    },
    name: { network: kind('NAME_NETWORK'), service: kind('NAME_SERVICE') },
    paths: ordered(types, 'hook_path', 'PATH_'),
    dropReasons: ordered(types, 'drop_reason', 'DROP_'),
    events: ordered(types, 'event', 'EVENT_'),
    ends: ordered(types, 'flow_end', 'END_'),
    watchKinds: ordered(types, 'watch_kind', 'WATCH_'),
    watchLosses: ordered(types, 'watch_loss', 'LOSS_'),
    handshakeParts: ordered(types, 'handshake_part', 'HANDSHAKE_'),
    flow: {
      direct: flow('FLOW_DIRECT'),
      established: flow('FLOW_ESTABLISHED'),
      finClient: flow('FLOW_FIN_CLIENT'),
      finBackend: flow('FLOW_FIN_BACKEND'),
      reset: flow('FLOW_RESET'),
      hairpin: flow('FLOW_HAIRPIN'),
    },
  }
}

function enumOf(types: TypeTable, name: string): Readonly<Record<string, number>> {
  try {
    return types.enum(name)
  } catch (cause) {
    throw new FairleadError('LAYOUT', `enum ${name} is not in the BPF programs`, { cause })
  }
}

function reader(types: TypeTable, name: string): (constant: string) => number {
  const values = enumOf(types, name)
  return (constant) => {
    const value = values[constant]
    if (value === undefined)
      throw new FairleadError('LAYOUT', `enum ${name} of the BPF programs has no ${constant}`)
    return value
  }
}

/** The constants of an enum that counts from 0, lower case without prefix; COUNT is left out. */
function ordered(types: TypeTable, name: string, prefix: string): string[] {
  const names: string[] = []
  for (const [constant, value] of Object.entries(enumOf(types, name)))
    if (constant !== `${prefix}COUNT`) names[value] = constant.slice(prefix.length).toLowerCase()
  return names
}
