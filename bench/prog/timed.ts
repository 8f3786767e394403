/** A program behind the entry that gives it a fresh frame each time, and what a run of it takes. */
import { BpfObject, type Program } from 'libbpf-ts'
import type { Frame } from './frames.js'

export type Hook = 'tc' | 'xdp'

const OBJECTS = new URL('../', import.meta.url).pathname
const TEMPLATE_BYTES = 96
/** struct xdp_md, and the offsets in it of what is set. */
const MD = { bytes: 24, data: 0, dataEnd: 4, ingressIfindex: 12 } as const
/** struct __sk_buff. */
const SKB = { bytes: 192, ifindex: 40 } as const
/** What a program may put in front of a frame. */
const GROWTH_BYTES = 64

export function objectFile(name: string): string {
  return `${OBJECTS}${name}.bpf.o`
}

export interface TimedOptions {
  readonly hook: Hook
  readonly frame: Frame
  /** Flows in turn, a power of two; 'new': each packet is one. */
  readonly flows: number | 'new'
  /** Absent: the program that does nothing. */
  readonly program?: Program
  /** Of the NIC that the frame comes in by; on XDP it has a program there. Absent: none. */
  readonly ifindex?: number
}

export class Timed {
  readonly #object: BpfObject
  readonly #entry: Program
  readonly #data: Buffer
  readonly #ctx: Buffer | undefined
  readonly #hook: Hook

  constructor({ hook, frame, flows, program, ifindex }: TimedOptions) {
    this.#hook = hook
    this.#data = frame.bytes
    if (hook === 'xdp') this.#ctx = contextOf(frame.bytes.length, ifindex ?? 0)
    else if (ifindex !== undefined) this.#ctx = skbContext(ifindex)
    this.#object = BpfObject.open(objectFile(`entry_${hook}`))
    try {
      const shapes = this.#object.types.enum('shape')
      this.#object.setRodata({
        shape: shapes[`SHAPE_${frame.shape}`] ?? -1,
        template: Buffer.concat([frame.bytes], TEMPLATE_BYTES),
        frame_bytes: frame.bytes.length,
        client_is_destination: frame.toClient ? 1 : 0,
        flow_mask: flows === 'new' ? 0xffffffff : flows - 1,
      })
      this.#object.load()
      this.#entry = this.#object.program('entry')
      const subject = program ?? this.#object.program('pass')
      this.#object.map('subject').set(0, subject.fd)
    } catch (error) {
      this.#object.close()
      throw error
    }
  }

  /** One run. @returns the verdict, signed, and the frame as it left */
  once(): { verdict: number; packet: Buffer } {
    const ctx = this.#ctx
    const { retval, data, ...out } = this.#entry.testRun({
      data: this.#data,
      dataOutSize: this.#data.length + GROWTH_BYTES,
      ...(ctx && { ctx, ctxOutSize: ctx.length }),
    })
    const meta = this.#hook === 'xdp' && out.ctx ? Buffer.from(out.ctx).readUInt32LE(MD.data) : 0
    return { verdict: retval | 0, packet: Buffer.from(data).subarray(meta) }
  }

  /** @returns nanoseconds of one run, the mean of `repeat` */
  run(repeat: number): number {
    const ctx = this.#ctx
    return this.#entry.testRun({ data: this.#data, repeat, ...(ctx && { ctx }) }).durationNs
  }

  close(): void {
    this.#object.close()
  }
}

function contextOf(bytes: number, ifindex: number): Buffer {
  const ctx = Buffer.alloc(MD.bytes)
  ctx.writeUInt32LE(bytes, MD.dataEnd)
  ctx.writeUInt32LE(ifindex, MD.ingressIfindex)
  return ctx
}

function skbContext(ifindex: number): Buffer {
  const ctx = Buffer.alloc(SKB.bytes)
  ctx.writeUInt32LE(ifindex, SKB.ifindex)
  return ctx
}

/** The program that does nothing, called as it is: the loop of BPF_PROG_TEST_RUN. */
export class Empty {
  readonly #object: BpfObject

  constructor(hook: Hook) {
    this.#object = BpfObject.open(objectFile(`entry_${hook}`))
    this.#object.load()
  }

  run(repeat: number): number {
    return this.#object.program('pass').testRun({ data: new Uint8Array(64), repeat }).durationNs
  }

  close(): void {
    this.#object.close()
  }
}
