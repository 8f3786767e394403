/** Runs explain.bpf.c: the decision of the programs themselves, over the pinned maps, writing to none. */
import type { BpfObject, Value } from 'libbpf-ts'
import { fromBytes, toBytes } from '../model/address.js'
import type { FlowEnd } from '../model/flows.js'
import type { Protocol } from '../model/types.js'
import { loadExplain, type ProgramSettings } from './programs.js'
import type { PinnedMaps } from './pinnedMaps.js'

/** Verdicts of tc, and the steps beyond them: bpf/forward.h. */
export const VERDICT = {
  drop: 2,
  redirect: 7,
  route: 0x103,
  hairpin: 0x104,
  refuse: 0x200,
} as const

/** enum flow_place of bpf/readonly.h. */
export const PLACE = { absent: 0, keyed: 1, substituted: 2, snat: 3 } as const

export interface RunPacket {
  readonly client: FlowEnd
  readonly vip: FlowEnd
  readonly protocol: Protocol
  readonly first: boolean
}

export interface RunPlace {
  /** 0: the outside. */
  readonly network: number
  /** Index in hook_path. */
  readonly path: number
  /** Of the bridge; 0: there is none. */
  readonly bridge: number
  /** At the edge: by which interface it comes. */
  readonly ifindex: number
  /** Of the namespace whose socket asks; absent: a packet does. */
  readonly netns?: bigint
}

/** `struct explanation`; addresses as words. */
export interface Found {
  placed: bigint
  hash: bigint
  kept_ns: bigint
  verdict: number
  drop: number
  events: number
  network: number
  vip: number
  vip_flags: number
  named: number
  service: number
  allowed: number
  chosen: number
  kept: number
  searched: number
  slots: number
  slot: number
  sampled: number
  begins: number
  reselects: number
  stateless: number
  place: number
  occupied: number
  embryonic: number
  expired: number
  alive: number
  flow_flags: number
  flow_service: number
  flow_backend: number
  idle_jiffies: number
  timeout_jiffies: number
  seen_addr: number[]
  way_addr: number[]
  way_result: number
  way_ifindex: number
  routed: number
  backend_port: number
  seen_port: number
  way_mac: Uint8Array
}

export interface Run {
  readonly found: Found
  /** The packet's source and destination afterwards. */
  readonly from: FlowEnd
  readonly to: FlowEnd
}

const ETH_BYTES = 14
const IP_BYTES = { 4: 20, 6: 40 } as const
const TCP_BYTES = 20
const UDP_BYTES = 8
const PROTOCOL = { tcp: 6, udp: 17 } as const
const TCP_SYN = 0x02
const TCP_ACK = 0x10
const TTL = 64
/** struct __sk_buff: up to and with `ifindex`. */
const CONTEXT_BYTES = 44
const CONTEXT_IFINDEX = 40

export class ExplainRun {
  readonly #load: () => Promise<BpfObject>
  #object: Promise<BpfObject> | undefined
  #closed = false

  constructor(settings: ProgramSettings, maps: PinnedMaps) {
    this.#load = () => loadExplain(settings, maps)
  }

  /** @throws BpfError with the verifier's log, the first time */
  async run(packet: RunPacket, place: RunPlace, flowsIncomplete: number): Promise<Run> {
    const object = await this.#opened()
    const knobs = object.map('.bss')
    const data = packetBytes(packet)
    const ctx = Buffer.alloc(CONTEXT_BYTES)
    ctx.writeUInt32LE(place.ifindex, CONTEXT_IFINDEX)
    const before = knobs.get(0) as Record<string, Value>
    // No await from here on: another question would put its own knobs there.
    knobs.set(0, {
      ...before,
      network_id: place.network,
      packet_path: place.path,
      bridge_ifindex: place.bridge,
      flows_incomplete: flowsIncomplete,
      question: { netns: place.netns ?? 0n, socket: 0n, ifindex: place.ifindex },
    })
    const program = place.netns === undefined ? 'explain_packet' : 'explain_socket'
    const out = object
      .program(program)
      .testRun({ data, ...(place.ifindex > 1 && { ctx, ctxOutSize: 0 }) })
    const { explanation } = knobs.get(0) as unknown as { explanation: Found }
    return { found: explanation, ...endsOf(Buffer.from(out.data), data.length) }
  }

  /** Loads the programs, so that the first question need not wait. */
  async prepare(): Promise<void> {
    await this.#opened()
  }

  async close(): Promise<void> {
    this.#closed = true
    const object = await this.#object?.catch(() => undefined)
    object?.close()
  }

  #opened(): Promise<BpfObject> {
    if (this.#closed) throw new Error('closed')
    this.#object ??= this.#load().catch((error: unknown) => {
      this.#object = undefined
      throw error
    })
    return this.#object
  }
}

/** Whole, with lengths that fit; sums are left out, for nobody looks at them. */
function packetBytes({ client, vip, protocol, first }: RunPacket): Buffer {
  const [source, destination] = [toBytes(client.address), toBytes(vip.address)]
  const v6 = source.length === 16
  const l4Bytes = protocol === 'tcp' ? TCP_BYTES : UDP_BYTES
  const at = ETH_BYTES + IP_BYTES[v6 ? 6 : 4]
  const data = Buffer.alloc(at + l4Bytes)
  data.writeUInt16BE(v6 ? 0x86dd : 0x0800, 12)
  if (v6) {
    data[14] = 0x60
    data.writeUInt16BE(l4Bytes, 18)
    data[20] = PROTOCOL[protocol]
    data[21] = TTL
    data.set(source, 22)
    data.set(destination, 38)
  } else {
    data[14] = 0x45
    data.writeUInt16BE(20 + l4Bytes, 16)
    data[22] = TTL
    data[23] = PROTOCOL[protocol]
    data.set(source, 26)
    data.set(destination, 30)
  }
  data.writeUInt16BE(client.port, at)
  data.writeUInt16BE(vip.port, at + 2)
  if (protocol === 'tcp') {
    data[at + 12] = 0x50
    data[at + 13] = first ? TCP_SYN : TCP_ACK
  } else data.writeUInt16BE(UDP_BYTES, at + 4)
  return data
}

function endsOf(data: Buffer, bytes: number): { from: FlowEnd; to: FlowEnd } {
  const v6 = data.readUInt16BE(12) === 0x86dd
  const [source, destination, length] = v6 ? [22, 38, 16] : [26, 30, 4]
  const at = ETH_BYTES + IP_BYTES[v6 ? 6 : 4]
  if (data.length < bytes) throw new Error('the packet has become shorter')
  const address = (from: number) => fromBytes(data.subarray(from, from + length))
  return {
    from: { address: address(source), port: data.readUInt16BE(at) },
    to: { address: address(destination), port: data.readUInt16BE(at + 2) },
  }
}
