/** The XDP program of a NIC under BPF_PROG_TEST_RUN, on the maps of a tc datapath. */
import { BpfObject, type Link, type Program, type Value } from 'libbpf-ts'
import type { Datapath } from './kernel.js'
import { concat, ip, isV6 } from './packet.js'

const OBJECT = new URL('../../bpf/xdp.bpf.o', import.meta.url).pathname

/** Verdicts of XDP. */
export const XDP = { DROP: 1, PASS: 2, TX: 3 } as const

/** What is noted for the tc program behind; `enum edge_step`. */
export const STEP = { DECIDE: 1, ROUTE: 2, REPLY: 3, ERROR: 4, TOO_BIG: 0x10000 } as const

/** Kinds of a backend's way, `enum via_kind`. */
export const VIA = { ENTRY: 1, DSR_MAC: 2, DSR_TUNNEL: 3 } as const

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
  #link: Link | undefined
  /** 0: the loopback. */
  #ifindex = 0

  /** @param object default: the one that is shipped */
  constructor(dp: Datapath, rodata: Readonly<Record<string, Value>> = {}, object = OBJECT) {
    this.#object = BpfObject.open(object)
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
    this.#link?.close()
    this.#object.close()
  }

  get program(): Program {
    return this.#object.program('from_wire')
  }

  /** Takes packets of a NIC of this process's namespace from now on; they may leave by it. */
  async attach(nic: string): Promise<number> {
    const program = this.#object.program('from_wire')
    this.#link = await program.attachXdp({ interface: nic, mode: 'native' })
    this.#ifindex = this.#link.info().ifindex ?? 0
    return this.#ifindex
  }

  /**
   * What the NIC receives.
   * @param ifindex of a NIC with an XDP program; 0: of none in particular
   * @param metaBytes of metadata that are in front of the frame already; a multiple of 4
   */
  receive(packet: Uint8Array, ifindex = this.#ifindex, metaBytes = 0): WireResult {
    const ctx = Buffer.alloc(MD_BYTES)
    ctx.writeUInt32LE(metaBytes, 0)
    ctx.writeUInt32LE(metaBytes + packet.length, 4)
    ctx.writeUInt32LE(ifindex, INGRESS_IFINDEX)
    const result = this.#object.program('from_wire').testRun({
      data: Buffer.concat([Buffer.alloc(metaBytes), packet]),
      dataOutSize: packet.length + 512,
      ctx,
      ctxOutSize: MD_BYTES,
    })
    const bytes = Buffer.from(result.data)
    const before = Buffer.from(result.ctx ?? ctx).readUInt32LE(0)
    if (before !== metaBytes + NOTE_BYTES)
      return { verdict: result.retval, packet: bytes.subarray(before) }
    if (bytes.readUInt32LE(0) !== NOTE_MAGIC) throw new Error('the note is not ours')
    const step = bytes.readUInt32LE(4)
    return { verdict: result.retval, packet: bytes.subarray(before), step }
  }

  /** Times a packet, in nanoseconds a run. */
  time(packet: Uint8Array, repeat: number): number {
    return this.#object.program('from_wire').testRun({ data: packet, repeat }).durationNs
  }
}

/** An address as the maps have it. */
export function addressWords(address: string): number[] {
  const packet = isV6(address)
    ? ip({ src: address, dst: address }, 59, Buffer.alloc(0)).subarray(22, 38)
    : concat(Buffer.alloc(10), [255, 255], address.split('.').map(Number))
  return [0, 4, 8, 12].map((at) => packet.readUInt32BE(at))
}

/** Drops of the XDP path by name, those that are not 0. */
export function wireDrops(dp: Datapath): Record<string, number> {
  const path = dp.constant('PATH_XDP')
  const paths = dp.constant('PATH_COUNT')
  const names = Object.keys(dp.constants).filter((name) => /^DROP_(?!NONE|COUNT)/.test(name))
  const counts = names.map((name): [string, number] => {
    const values = dp.map('drops').getPerCpu(dp.constant(name) * paths + path) ?? []
    return [name, values.reduce<number>((sum, value) => sum + Number(value), 0)]
  })
  return Object.fromEntries(counts.filter(([, count]) => count > 0))
}
