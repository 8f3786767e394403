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

/** Of tc alone. */
const VARIANTS: Readonly<Record<string, Record<string, Value>>> = {
  bridged: { bridge_ifindex: 1, bridge_mac: new Uint8Array([2, 0, 0, 0, 0, 1]) },
  routed: { bridge_ifindex: 0 },
}

function has(object: BpfObject, name: string): boolean {
  try {
    object.getRodata(name)
    return true
  } catch (error) {
    if (error instanceof RangeError) return false
    throw error
  }
}

function verify(file: string, variant: string, values: Record<string, Value>): Verified {
  using object = BpfObject.open(OBJECTS + file)
  object.setRodata(Object.fromEntries(Object.entries(values).filter(([name]) => has(object, name))))
  try {
    object.load()
  } catch (error) {
    if (!(error instanceof BpfError)) throw error
    const reason = `${error.message}\n${(error.log ?? '').slice(-2000)}`
    return { object: file, variant, programs: {}, error: reason }
  }
  const programs = [...object.programs.values()].map((one): [string, number] => [
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
  using object = BpfObject.open(OBJECTS + file)
  const isTc = [...object.programs.values()].some(({ type }) => type === 'sched_cls')
  const variants = isTc ? Object.entries(VARIANTS) : [['', {}] as const]
  return variants.map(([name, values]) => verify(file, name, { ...common, ...values }))
}

/** Some seconds on an emulated processor. Leaves nothing loaded. */
export function verifyAll(): KernelReport {
  const started = performance.now()
  const kernel = probe()
  const files = readdirSync(OBJECTS).filter((name) => name.endsWith('.bpf.o'))
  const objects = files.sort().flatMap((file) => verifyFile(file, kernel))
  return { release: kernel.release, seconds: (performance.now() - started) / 1000, objects }
}
