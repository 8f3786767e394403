/** A program behind the entry that gives it a fresh frame each time, and what a run of it takes. */
import { BpfObject, type Program } from 'libbpf-ts'
import type { Frame } from './frames.js'

export type Hook = 'tc' | 'xdp'

const OBJECTS = new URL('../', import.meta.url).pathname
const TEMPLATE_BYTES = 96

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
}

export class Timed {
  readonly #object: BpfObject
  readonly #entry: Program
  readonly #data: Buffer

  constructor({ hook, frame, flows, program }: TimedOptions) {
    this.#data = frame.bytes
    this.#object = BpfObject.open(objectFile(`entry_${hook}`))
    try {
      const shapes = this.#object.types.enum('shape')
      this.#object.setRodata({
        shape: shapes[`SHAPE_${frame.shape}`] ?? -1,
        template: Buffer.concat([frame.bytes], TEMPLATE_BYTES),
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
    const { retval, data } = this.#entry.testRun({ data: this.#data })
    return { verdict: retval | 0, packet: Buffer.from(data) }
  }

  /** @returns nanoseconds of one run, the mean of `repeat` */
  run(repeat: number): number {
    return this.#entry.testRun({ data: this.#data, repeat }).durationNs
  }

  close(): void {
    this.#object.close()
  }
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
