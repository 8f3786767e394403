/** Has the kernel that it runs on verify every program of every shipped object, as the agent would. */
import { readdirSync } from 'node:fs'
import { BpfError, BpfObject, probe, type KernelFeatures, type Value } from 'libbpf-ts'
import { DEFAULT_TIMERS } from '../../src/dataplane/programs.js'

const OBJECTS = new URL('../../bpf/', import.meta.url).pathname
const HZ = 250
const BPF_F_IPV6 = 1n << 7n

export interface Verified {
  readonly object: string
  /** Of the settings that the verifier prunes by. */
  readonly variant: string
  /** By program: instructions that the verifier went through. */
  readonly programs: Readonly<Record<string, number>>
  /** Why it was refused; absent when it was not. */
  readonly error?: string
  /** What of the kernel it needs and does not find; then the agent does without the object. */
  readonly lacks?: string
}

export interface KernelReport {
  readonly release: string
  /** What verifying all of it took. */
  readonly seconds: number
  readonly objects: readonly Verified[]
}

/** What the agent writes into .rodata before load; some objects have only some of it. */
function settings(kernel: KernelFeatures): Record<string, Value> {
  const jiffies = (seconds: number) => seconds * HZ
  return {
    network_id: 1,
    random_seed: 1n,
    tcp_syn_timeout_jiffies: jiffies(DEFAULT_TIMERS.tcpSynSeconds),
    tcp_established_timeout_jiffies: jiffies(DEFAULT_TIMERS.tcpEstablishedSeconds),
    tcp_closing_timeout_jiffies: jiffies(DEFAULT_TIMERS.tcpClosingSeconds),
    udp_timeout_jiffies: jiffies(DEFAULT_TIMERS.udpSeconds),
    csum_ipv6_flag: kernel.csumIpv6Flag ? BPF_F_IPV6 : 0n,
    has_set_retval: kernel.setRetval ? 1 : 0,
  }
}

/** Objects that the agent can do without. */
const NEEDS: Readonly<Record<string, keyof KernelFeatures>> = { 'abort.bpf.o': 'sockDestroy' }

interface Variant {
  readonly values: Readonly<Record<string, Value>>
  /** The programs that the agent loads so; absent: all. */
  readonly programs?: readonly string[]
}

const CONTAINER = ['from_container', 'to_container']
const EDGE = ['from_edge', 'to_edge', 'from_bridge']
const bridged = { bridge_ifindex: 1, bridge_mac: new Uint8Array([2, 0, 0, 0, 0, 1]) }
/** Without addresses the verifier would not look at what makes tunnels. */
const outside = {
  ...{ network_id: 0, stateless_above: 100, edge_addr4: 0x010200c0 },
  edge_addr6: [0xb80d0120, 0, 0, 0x01000000],
}
const TC_VARIANTS: Readonly<Record<string, Variant>> = {
  bridged: { values: bridged, programs: CONTAINER },
  routed: { values: { bridge_ifindex: 0 }, programs: CONTAINER },
  'while flows are copied': { values: { ...bridged, flows_incomplete: 2 }, programs: CONTAINER },
  'by itself': { values: outside, programs: EDGE },
  'behind XDP': { values: { ...outside, xdp_ahead: 1 }, programs: EDGE },
}
const EXPLAIN_VARIANTS: Readonly<Record<string, Variant>> = {
  '': { values: { stateless_above: 100 }, programs: ['explain_packet', 'explain_socket'] },
}
const XDP_VARIANTS: Readonly<Record<string, Variant>> = { '': { values: outside } }

function has(object: BpfObject, name: string): boolean {
  try {
    object.getRodata(name)
    return true
  } catch (error) {
    if (error instanceof RangeError) return false
    throw error
  }
}

function verify(
  file: string,
  variant: string,
  values: Readonly<Record<string, Value>>,
  chosen?: readonly string[],
): Verified {
  using object = BpfObject.open(OBJECTS + file)
  const loaded = [...object.programs.values()].filter(({ name }) => chosen?.includes(name) ?? true)
  for (const name of object.programs.keys())
    object.autoload(
      name,
      loaded.some((one) => one.name === name),
    )
  object.setRodata(Object.fromEntries(Object.entries(values).filter(([name]) => has(object, name))))
  try {
    object.load()
  } catch (error) {
    if (!(error instanceof BpfError)) throw error
    const reason = `${error.message}\n${(error.log ?? '').slice(-2000)}`
    return { object: file, variant, programs: {}, error: reason }
  }
  const programs = loaded.map((one): [string, number] => [
    one.name,
    one.info().verifiedInstructions,
  ])
  return { object: file, variant, programs: Object.fromEntries(programs) }
}

function verifyFile(file: string, kernel: KernelFeatures): Verified[] {
  const lacks = NEEDS[file]
  if (lacks !== undefined && !kernel[lacks])
    return [{ object: file, variant: '', programs: {}, lacks }]
  const common = settings(kernel)
  const variants = file.startsWith('tc.')
    ? TC_VARIANTS
    : file.startsWith('xdp.')
      ? XDP_VARIANTS
      : file.startsWith('explain.')
        ? EXPLAIN_VARIANTS
        : { '': { values: {} } }
  return Object.entries<Variant>(variants).map(([name, { values, programs }]) =>
    verify(file, name, { ...common, ...values }, programs),
  )
}

/** Some seconds on an emulated processor. Leaves nothing loaded. */
export function verifyAll(): KernelReport {
  const started = performance.now()
  const kernel = probe()
  const files = readdirSync(OBJECTS).filter((name) => name.endsWith('.bpf.o'))
  const objects = files.sort().flatMap((file) => verifyFile(file, kernel))
  return { release: kernel.release, seconds: (performance.now() - started) / 1000, objects }
}
