/** The XDP program of a NIC under BPF_PROG_TEST_RUN, on the maps of a tc datapath. */
import { BpfObject, type Value } from 'libbpf-ts'
import type { Datapath } from './kernel.js'

const OBJECT = new URL('../../bpf/xdp.bpf.o', import.meta.url).pathname

/** Verdicts of XDP. */
export const XDP = { DROP: 1, PASS: 2, TX: 3 } as const

/** What is noted for the tc program behind; `enum edge_step`. */
export const STEP = { DECIDE: 1, ROUTE: 2, REPLY: 3, TOO_BIG: 0x10000 } as const

const NOTE_MAGIC = 0x666c6561
const NOTE_BYTES = 8
const MD_BYTES = 24
/** Offset of ingress_ifindex in struct xdp_md. */
const INGRESS_IFINDEX = 12

/** The knobs of a datapath at the edge: network 0, counted as XDP. */
export const OUTSIDE = { rodata: { network_id: 0, packet_path: 2 } }

export interface WireResult {
  readonly verdict: number
  readonly packet: Buffer
  /** Undefined: nothing was noted. */
  readonly step?: number
}

export class Wire {
  readonly #object: BpfObject

  constructor(dp: Datapath, rodata: Readonly<Record<string, Value>> = {}) {
    this.#object = BpfObject.open(OBJECT)
    try {
      this.#object.setRodata({ ...OUTSIDE.rodata, ...rodata })
      for (const [name, map] of dp.maps()) {
        // Storage of sockets has no size, and nothing to do here.
        if (!this.#object.maps.has(name) || map.maxEntries === 0) continue
        this.#object.resize(name, map.maxEntries)
        this.#object.reuse(name, map)
      }
      this.#object.load()
    } catch (error) {
      this.#object.close()
      throw error
    }
  }

  close(): void {
    this.#object.close()
  }

  /** What the NIC receives. @param ifindex of a NIC with an XDP program; 0: of none in particular */
  receive(packet: Uint8Array, ifindex = 0): WireResult {
    const ctx = Buffer.alloc(MD_BYTES)
    ctx.writeUInt32LE(packet.length, 4)
    ctx.writeUInt32LE(ifindex, INGRESS_IFINDEX)
    const result = this.#object.program('from_wire').testRun({
      data: packet,
      dataOutSize: packet.length + 256,
      ctx,
      ctxOutSize: MD_BYTES,
    })
    const bytes = Buffer.from(result.data)
    const noted = Buffer.from(result.ctx ?? ctx).readUInt32LE(0) === NOTE_BYTES
    if (!noted) return { verdict: result.retval, packet: bytes }
    if (bytes.readUInt32LE(0) !== NOTE_MAGIC) throw new Error('the note is not ours')
    const step = bytes.readUInt32LE(4)
    return { verdict: result.retval, packet: bytes.subarray(NOTE_BYTES), step }
  }

  /** Times a packet, in nanoseconds a run. */
  time(packet: Uint8Array, repeat: number): number {
    return this.#object.program('from_wire').testRun({ data: packet, repeat }).durationNs
  }
}
