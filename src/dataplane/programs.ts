/** Opens and loads the programs: their constants set, their maps the pinned ones. */
import { randomBytes } from 'node:crypto'
import { BpfObject } from 'libbpf-ts'
import type { HostFeatures } from '../host/features.js'
import { family, toWords } from '../model/address.js'
import { HANDSHAKE_BOUNDS_SECONDS } from '../model/handshakes.js'
import { OUTSIDE_NETWORK } from './outside.js'
import type { PinnedMaps } from './pinnedMaps.js'

/** Idle times after which a flow may be forgotten, as in bpf/config.h. */
export interface Timers {
  readonly tcpSynSeconds: number
  readonly tcpEstablishedSeconds: number
  readonly tcpClosingSeconds: number
  readonly udpSeconds: number
}

export const DEFAULT_TIMERS: Timers = {
  tcpSynSeconds: 60,
  tcpEstablishedSeconds: 8000,
  tcpClosingSeconds: 30,
  udpSeconds: 120,
}

export interface ProgramSettings {
  /** Directory of tc.bpf.o and sock.bpf.o. */
  readonly objectDir: string
  readonly hz: number
  readonly timers: Timers
  readonly features: Pick<HostFeatures, 'csumIpv6Flag' | 'setRetval'>
  /** How programs are put on interfaces. */
  readonly hook: 'tcx' | 'clsact'
  /** Absent: drawn for each load. */
  readonly randomSeed?: bigint
  /** Source ports for `return: snat`. */
  readonly snatPorts: PortRange
  /** New DSR flows in a second on one CPU beyond which those that a hash leads get no row. */
  readonly statelessAbove: number
  /** Handshakes of new flows that are timed in a second on one CPU at most. */
  readonly handshakes: number
}

/** Ports from the first to the last. */
export interface PortRange {
  readonly first: number
  readonly last: number
}

/** Below the range that Linux gives to sockets, and above most that servers have. */
export const DEFAULT_SNAT_PORTS: PortRange = { first: 16_384, last: 32_767 }

/** Some of what one CPU can admit in a second; a table of a million rows lasts a while then. */
export const DEFAULT_STATELESS_ABOVE = 50_000

/** All of most nodes, and a thousandth of what one CPU can admit. */
export const DEFAULT_HANDSHAKES = 1_000

/** The bridge that joins a network's containers. */
export interface BridgePort {
  readonly ifindex: number
  readonly mac: Uint8Array
}

/** BPF_F_IPV6 of bpf_l4_csum_replace (linux/bpf.h, 6.16). */
const BPF_F_IPV6 = 1n << 7n

/** The one that declares all maps of bpf/maps.h comes first. */
export function objectFiles(directory: string): string[] {
  return ['tc', 'sock'].map((name) => `${directory}/${name}.bpf.o`)
}

/** @throws BpfError with the verifier's log */
export function loadTc(
  settings: ProgramSettings,
  maps: PinnedMaps,
  networkId: number,
  bridge: BridgePort | undefined,
): Promise<BpfObject> {
  return load(`${settings.objectDir}/tc.bpf.o`, maps, {
    ...common(settings, maps),
    network_id: networkId,
    bridge_ifindex: bridge?.ifindex ?? 0,
    bridge_mac: bridge?.mac ?? new Uint8Array(6),
  })
}

/**
 * The tc programs at the node's edge.
 *
 * @param mac      of the NIC: VIPs in its subnet are answered for with it
 * @param xdpAhead an XDP program sees the packets first
 * @param programs those to load, of `EDGE_PROGRAMS`
 * @throws BpfError with the verifier's log
 */
export function loadEdge(
  settings: ProgramSettings,
  maps: PinnedMaps,
  mac: Uint8Array,
  xdpAhead: boolean,
  addresses: readonly string[],
  programs: readonly string[],
): Promise<BpfObject> {
  const knobs = { ...atEdge(settings, maps, addresses), vip_mac: mac, xdp_ahead: xdpAhead ? 1 : 0 }
  const rodata = { ...common(settings, maps), ...knobs }
  return load(`${settings.objectDir}/tc.bpf.o`, maps, rodata, programs)
}

/** @throws BpfError with the verifier's log */
export function loadXdp(
  settings: ProgramSettings,
  maps: PinnedMaps,
  addresses: readonly string[],
): Promise<BpfObject> {
  return load(`${settings.objectDir}/xdp.bpf.o`, maps, {
    ...common(settings, maps),
    ...atEdge(settings, maps, addresses),
  })
}

/** Maps of explain.bpf.o that the programs in service write to, too: scratch, and its own here. */
const SCRATCH: ReadonlySet<string> = new Set(['admissions', 'snat_works', 'detours', 'tellings'])

/**
 * What explains decisions; which network it is about is told at each run.
 *
 * @throws BpfError with the verifier's log
 */
export function loadExplain(settings: ProgramSettings, maps: PinnedMaps): Promise<BpfObject> {
  const { snatPorts, statelessAbove, hz } = settings
  const knobs = {
    ...shared(settings),
    snat_first_port: snatPorts.first,
    snat_last_port: snatPorts.last,
    stateless_above: statelessAbove,
    rate_window_jiffies: hz,
  }
  const programs = ['explain_packet', 'explain_socket']
  return load(`${settings.objectDir}/explain.bpf.o`, maps, knobs, programs, SCRATCH)
}

/** Maps of capture.bpf.o alone. */
const CAPTURE_MAPS: ReadonlySet<string> = new Set(['captures', 'capture_scratch'])

/**
 * What captures packets; each capture has an instance of its own.
 *
 * @param wanted knobs of bpf/capture.bpf.c
 * @throws BpfError with the verifier's log
 */
export function loadCapture(
  settings: ProgramSettings,
  maps: PinnedMaps,
  wanted: Readonly<Record<string, number | number[]>>,
): Promise<BpfObject> {
  const rodata = { ...wanted, rate_window_jiffies: settings.hz }
  return load(`${settings.objectDir}/capture.bpf.o`, maps, rodata, undefined, CAPTURE_MAPS)
}

function atEdge(
  { snatPorts: { first: from, last }, statelessAbove, hz }: ProgramSettings,
  { constants }: PinnedMaps,
  addresses: readonly string[],
) {
  const first = (of: 4 | 6) => addresses.find((address) => family(address) === of)
  return {
    network_id: OUTSIDE_NETWORK,
    packet_path: constants.paths.indexOf('xdp'),
    edge_addr4: [...toWords(first(4) ?? '0.0.0.0')][3] ?? 0,
    edge_addr6: [...toWords(first(6) ?? '::')],
    snat_first_port: from,
    snat_last_port: last,
    stateless_above: statelessAbove,
    rate_window_jiffies: hz,
  }
}

/** Programs of tc.bpf.o that have no place at a container. */
const EDGE_PROGRAMS = new Set(['from_edge', 'to_edge', 'from_bridge'])

/** @throws BpfError with the verifier's log */
export function loadSock(settings: ProgramSettings, maps: PinnedMaps): Promise<BpfObject> {
  return load(`${settings.objectDir}/sock.bpf.o`, maps, common(settings, maps))
}

/**
 * @param list only list the sockets, because a kernel before 6.5 cannot end one from a program
 * @throws BpfError
 */
export function loadAbort(
  { objectDir }: ProgramSettings,
  maps: PinnedMaps,
  list: boolean,
): Promise<BpfObject> {
  return load(`${objectDir}/${list ? 'orphans' : 'abort'}.bpf.o`, maps, {})
}

/** Constants of the sweep, which must judge idleness as the programs do. */
export function sweepKnobs({
  hz,
  timers,
}: Pick<ProgramSettings, 'hz' | 'timers'>): Record<string, number> {
  return timeouts(hz, timers)
}

function timeouts(hz: number, timers: Timers) {
  const jiffies = (seconds: number) => Math.round(seconds * hz)
  return {
    tcp_syn_timeout_jiffies: jiffies(timers.tcpSynSeconds),
    tcp_established_timeout_jiffies: jiffies(timers.tcpEstablishedSeconds),
    tcp_closing_timeout_jiffies: jiffies(timers.tcpClosingSeconds),
    udp_timeout_jiffies: jiffies(timers.udpSeconds),
  }
}

function common(settings: ProgramSettings, maps: PinnedMaps) {
  return { ...shared(settings), flows_incomplete: flowsIncomplete(maps, settings.hook) }
}

function shared({ hz, timers, features, randomSeed, handshakes }: ProgramSettings) {
  return {
    random_seed: randomSeed ?? randomBytes(8).readBigUInt64LE(),
    ...timeouts(hz, timers),
    csum_ipv6_flag: features.csumIpv6Flag ? BPF_F_IPV6 : 0n,
    has_set_retval: features.setRetval ? 1 : 0,
    handshakes_a_jiffy: Math.ceil(handshakes / hz),
    handshake_bounds_ns: HANDSHAKE_BOUNDS_SECONDS.map((seconds) =>
      BigInt(Math.round(seconds * 1e9)),
    ),
  }
}

/** Whether flows of former maps may be missing: bpf/config.h. */
export function flowsIncomplete({ transition }: PinnedMaps, hook: ProgramSettings['hook']): number {
  return transition === undefined ? 0 : hook === 'tcx' ? 1 : 2
}

/**
 * The verifier takes its time, which is not the event loop's.
 *
 * @param chosen programs to load instead of all but `EDGE_PROGRAMS`
 * @param own    maps that are not shared
 */
async function load(
  file: string,
  maps: PinnedMaps,
  rodata: Readonly<Record<string, number | bigint | Uint8Array | number[] | bigint[]>>,
  chosen?: readonly string[],
  own?: ReadonlySet<string>,
): Promise<BpfObject> {
  const object = BpfObject.open(file)
  try {
    for (const name of object.programs.keys())
      object.autoload(name, chosen?.includes(name) ?? !EDGE_PROGRAMS.has(name))
    object.setRodata(rodata)
    maps.share(object, own)
    await object.loadAsync()
    maps.keep(object, own)
  } catch (error) {
    object.close()
    throw error
  }
  return object
}
