/** Attachments: kernel links, and clsact filters where there are none. */
import { addon, type Attached, type FilterDetails, type NativeLink } from './addon.js'
import * as check from './check.js'
import { BpfError, bpfError } from './errors.js'
import { attachTypeName, linkTypeName, type AttachType } from './kinds.js'
import { netnsPath, type Netns } from './netns.js'

export type Direction = 'ingress' | 'egress'
export type Hook = 'xdp' | 'tcx' | 'clsact' | 'cgroup' | 'netns' | 'iter' | (string & {})

export interface LinkInfo {
  readonly type: Hook
  readonly programId: number
  /** 0 once the device is gone. */
  readonly ifindex?: number
  readonly attachType?: AttachType | (string & {})
  readonly cgroupId?: bigint
  readonly netnsInode?: number
  /** Of a clsact filter. */
  readonly handle?: number
  readonly priority?: number
}

/** Where a clsact filter is. */
export interface FilterPlace {
  /** Name, or index. */
  interface: string | number
  direction: Direction
  netns?: Netns | undefined
  /** With both given, a filter that has them is replaced. Default: the kernel chooses. */
  handle?: number | undefined
  priority?: number | undefined
}

interface Filter {
  details: FilterDetails
  readonly netns: string | undefined
  readonly egress: boolean
}

/** What can be put in the place of an attached program. */
export interface Attachable {
  readonly fd: number
}

/**
 * One attachment. A kernel link ends with its last holder: close() without a pin detaches. A
 * clsact filter is held by its device: it stays until detach(), also after this process.
 */
export class Link {
  readonly hook: Hook
  /** XDP: who runs the program, the driver or the generic path. Unknown for an opened pin. */
  readonly mode?: 'native' | 'generic'
  /** XDP with 'auto': the code with which the driver refused. */
  readonly refused?: string
  readonly id?: number

  #native: NativeLink | undefined
  #filter: Filter | undefined

  /** @internal */
  constructor(native: NativeLink | undefined, filter?: Filter, attached?: Attached) {
    this.#native = native
    this.#filter = filter
    if (native === undefined) {
      this.hook = 'clsact'
    } else {
      const details = native.details()
      this.hook = linkTypeName(details.type)
      this.id = details.id
    }
    if (attached !== undefined && attached.mode !== '') {
      this.mode = attached.mode
      if (attached.nativeError !== 0) {
        this.refused = new BpfError('attachXdp', 'native', attached.nativeError).code
      }
    }
  }

  /** @throws BpfError ENOENT, EPERM, EINVAL (a pin of something else) */
  static openPinned(path: string): Link {
    return new Link(new addon.Link(check.text(path, 'path')))
  }

  /**
   * A filter that is there already, by its handle and priority.
   *
   * @throws BpfError ENOENT, ENODEV
   */
  static async openClsact(
    place: FilterPlace & { handle: number; priority: number },
  ): Promise<Link> {
    const { device, netns, egress, handle, priority } = filterPlace(place)
    const details = await addon.queryClsact(device, netns, egress, handle, priority)
    return new Link(undefined, { details, netns, egress })
  }

  /** @internal */
  static of(attached: Attached): Link {
    return new Link(new addon.Link(attached.fd), undefined, attached)
  }

  /** @internal */
  static async clsact(programFd: number, place: FilterPlace): Promise<Link> {
    const { device, netns, egress, handle, priority } = filterPlace(place)
    const details = await addon.attachClsact(programFd, device, netns, egress, handle, priority)
    return new Link(undefined, { details, netns, egress })
  }

  /** The kernel's view now; of a clsact filter, as of its attachment. */
  info(): LinkInfo {
    if (this.#filter !== undefined) {
      const { programId, ifindex, handle, priority } = this.#filter.details
      return { type: 'clsact', programId, ifindex, handle, priority }
    }
    const { type, programId, ifindex, attachType, cgroupId, netnsInode } =
      this.open('info').details()
    return {
      type: linkTypeName(type),
      programId,
      ...(ifindex === undefined ? {} : { ifindex }),
      ...(attachType === undefined ? {} : { attachType: attachTypeName(attachType) }),
      ...(cgroupId === undefined ? {} : { cgroupId }),
      ...(netnsInode === undefined ? {} : { netnsInode }),
    }
  }

  /** Puts another program in place, without a gap. @throws BpfError EINVAL (another type), ... */
  async update(program: Attachable): Promise<void> {
    const fd = check.integer(check.options(program, 'program').fd, 'program', 0, 0x7fffffff)
    const filter = this.#filter
    if (filter === undefined) return this.open('update').update(fd)
    const { ifindex, handle, priority } = filter.details
    const device = `#${ifindex}`
    filter.details = await addon.attachClsact(
      fd,
      device,
      filter.netns,
      filter.egress,
      handle,
      priority,
    )
  }

  /** Runs an iterator once (in a namespace); resolves to what its program wrote. */
  async read(netns?: Netns): Promise<Uint8Array> {
    return this.open('read').read(netnsPath(netns))
  }

  /**
   * @param path new, on a bpffs
   * @throws BpfError EEXIST, EPERM; EOPNOTSUPP for a clsact filter, which persists by itself
   */
  pin(path: string): void {
    this.pinnable('pin').pin(check.text(path, 'path'))
  }

  /** @throws BpfError ENOENT; EINVAL when it is another object's pin */
  unpin(path: string): void {
    this.pinnable('unpin').unpin(check.text(path, 'path'))
  }

  /** Ends the attachment for all who hold it; a device that is gone is no error. */
  async detach(): Promise<void> {
    const filter = this.#filter
    if (filter === undefined) return this.open('detach').detach()
    const { ifindex, handle, priority, netnsInode } = filter.details
    const { netns, egress } = filter
    await addon.detachClsact(ifindex, netns, egress, handle, priority, netnsInode)
  }

  /** Idempotent. */
  close(): void {
    this.#native?.close()
    this.#native = undefined
    this.#filter = undefined
  }

  [Symbol.dispose](): void {
    this.close()
  }

  private open(operation: string): NativeLink {
    if (this.#native === undefined) throw bpfError(operation, 'link', 'EBADF', 'the link is closed')
    return this.#native
  }

  private pinnable(operation: string): NativeLink {
    if (this.#filter === undefined) return this.open(operation)
    throw bpfError(operation, 'filter', 'EOPNOTSUPP', 'a clsact filter is not a link')
  }
}

/** @internal A number becomes '#5', which no name lookup can take for a name. */
export function deviceName(device: string | number): string {
  if (typeof device === 'string') return check.text(device, 'interface')
  return `#${check.integer(device, 'interface', 1, 0x7fffffff)}`
}

/** @internal */
export function isEgress(direction: Direction): boolean {
  return check.oneOf(direction, ['ingress', 'egress'], 'direction') === 'egress'
}

function filterPlace(place: FilterPlace): {
  device: string
  netns: string | undefined
  egress: boolean
  handle: number
  priority: number
} {
  check.options(place)
  return {
    device: deviceName(place.interface),
    netns: netnsPath(place.netns),
    egress: isEgress(place.direction),
    handle: check.integer(place.handle ?? 0, 'handle', 0, 0xffffffff),
    priority: check.integer(place.priority ?? 0, 'priority', 0, 0xffff),
  }
}
