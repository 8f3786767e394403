/** The socket path: one attachment at the cgroup root; the netnses map says whose sockets it is for. */
import { existsSync } from 'node:fs'
import { Link, type BpfObject, type CgroupAttachType } from 'libbpf-ts'
import type { AttachmentInfo } from '../model/readback.js'
import { removeLink } from './links.js'
import type { Pins } from './pins.js'

const PROGRAMS: readonly (readonly [string, CgroupAttachType])[] = [
  // What translates back comes before what translates: no socket is ever half balanced.
  ['sock_ops', 'sock_ops'],
  ['sock_recvmsg4', 'recvmsg4'],
  ['sock_recvmsg6', 'recvmsg6'],
  ['sock_peername4', 'getpeername4'],
  ['sock_peername6', 'getpeername6'],
  ['sock_sendmsg4', 'sendmsg4'],
  ['sock_sendmsg6', 'sendmsg6'],
  ['sock_connect4', 'connect4'],
  ['sock_connect6', 'connect6'],
]

export class CgroupAttachment {
  readonly #links: { readonly program: string; readonly pin: string; readonly link: Link }[] = []
  #object: BpfObject | undefined

  constructor(
    readonly path: string,
    readonly pins: Pins,
    readonly load: () => Promise<BpfObject>,
    /** Copies what programs that are about to be replaced, or just were, wrote to former maps. */
    readonly catchUp: () => Promise<void>,
  ) {}

  get attached(): boolean {
    return this.#links.length === PROGRAMS.length
  }

  /** Attaches what is not, replacing the program of pinned links in place. */
  async attach(): Promise<void> {
    if (this.attached) return
    this.#object ??= await this.load()
    await this.catchUp()
    for (const [name, type] of PROGRAMS) {
      if (this.#links.some(({ program }) => program === name)) continue
      const program = this.#object.program(name)
      const pin = this.pins.cgroupLink(type)
      let link = existsSync(pin) ? Link.openPinned(pin) : undefined
      if (link !== undefined) {
        try {
          await link.update(program)
        } catch {
          // The cgroup it was on is gone.
          await removeLink(pin)
          link.close()
          link = undefined
        }
      }
      if (link === undefined) {
        link = await program.attachCgroup({ path: this.path, type })
        link.pin(pin)
      }
      this.#links.push({ program: name, pin, link })
    }
    await this.catchUp()
  }

  /** Loads the programs anew, because their constants have changed. */
  async reload(): Promise<void> {
    const before = this.#object
    if (before === undefined) return
    const object = await this.load()
    for (const { program, link } of this.#links) await link.update(object.program(program))
    this.#object = object
    before.close()
  }

  /** In reverse, so that what was translated is translated back to the end. */
  async detach(): Promise<void> {
    for (const [, type] of [...PROGRAMS].reverse()) await removeLink(this.pins.cgroupLink(type))
    this.close()
  }

  info(): Pick<AttachmentInfo, 'target' | 'hook' | 'program'>[] {
    return this.#links.map(({ program }) => ({ target: this.path, hook: 'cgroup', program }))
  }

  /** Pins stay. */
  close(): void {
    for (const { link } of this.#links.splice(0)) link.close()
    this.#object?.close()
    this.#object = undefined
  }
}
