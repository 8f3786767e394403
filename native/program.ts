/** Programs: tried on made-up packets, attached to hooks. */
import { addon, type NativeProgram, type ProgramDetails } from './addon.js'
import * as check from './check.js'
import { BpfError, bpfError } from './errors.js'
import {
  ATTACH_TYPES,
  cgroupAttachTypeNumber,
  netnsAttachTypeNumber,
  programTypeName,
  type CgroupAttachType,
  type NetnsAttachType,
  type ProgramType,
} from './kinds.js'
import { deviceName, isEgress, Link, type FilterPlace } from './link.js'
import { netnsPath, type Netns } from './netns.js'

/** Room for what a program may put before or behind a packet. */
const TEST_HEADROOM = 512
const MAX_TEST_BYTES = 16 << 20
const BPF_F_BEFORE = 1 << 3

export interface TestRunOptions {
  /** The packet, from the Ethernet header on; the kernel wants 14 bytes at least. */
  data?: Uint8Array | undefined
  /** The context structure (`struct __sk_buff`, `struct xdp_md`, ...). */
  ctx?: Uint8Array | undefined
  /** Runs, 1 to 100,000,000; they block the thread. Default 1; programs of type syscall take none. */
  repeat?: number | undefined
  /** Default: the data's size and 512; 0 without data. */
  dataOutSize?: number | undefined
  /** Default: the context's size. */
  ctxOutSize?: number | undefined
  flags?: number | undefined
  batchSize?: number | undefined
  cpu?: number | undefined
}

export interface TestRunResult {
  /** Unsigned. */
  readonly retval: number
  readonly data: Uint8Array
  readonly ctx?: Uint8Array
  /** The mean of all runs. */
  readonly durationNs: number
}

export interface DeviceOptions {
  /** Name, or index. */
  interface: string | number
  netns?: Netns | undefined
}

/**
 * A loaded program. Attaching runs off this thread, in the namespace asked for; rejects with
 * BpfError ENODEV (no such interface), EBUSY (taken), EPERM, ...
 */
export class Program {
  readonly name: string
  readonly type: ProgramType | (string & {})
  #native: NativeProgram | undefined

  /** @internal */
  constructor(name: string, type: number, native?: NativeProgram) {
    this.name = name
    this.type = programTypeName(type)
    this.#native = native
  }

  /** @throws BpfError ENOENT, EPERM, EINVAL (a pin of something else) */
  static openPinned(path: string): Program {
    const native = new addon.Program(check.text(path, 'path'))
    const details = native.details()
    return new Program(details.name, details.type, native)
  }

  /** @internal Called once, when the program is loaded. */
  bind(native: NativeProgram): void {
    this.#native = native
  }

  get id(): number {
    return this.info().id
  }

  get fd(): number {
    return this.info().fd
  }

  /** Sizes, and run statistics where `kernel.bpf_stats_enabled` is on. */
  info(): Omit<ProgramDetails, 'type'> {
    return this.open('info').details()
  }

  /**
   * Runs the program in the kernel, on this thread.
   *
   * @throws BpfError EINVAL (the data is too short or too long for this type), ENOSPC (the output
   *   is longer than dataOutSize), ENOTSUPP (this type cannot be run); TypeError, RangeError
   */
  testRun(options: TestRunOptions = {}): TestRunResult {
    const { data, ctx, repeat, dataOutSize, ctxOutSize, flags, batchSize, cpu } =
      check.options(options)
    const native = this.open('testRun')
    return native.testRun(
      data,
      ctx,
      dataOutSize ?? outSize(data, TEST_HEADROOM),
      ctxOutSize ?? outSize(ctx, 0),
      this.type === 'syscall' && repeat === undefined
        ? 0
        : check.integer(repeat ?? 1, 'repeat', 1, 100_000_000),
      flags ?? 0,
      batchSize ?? 0,
      cpu ?? 0,
    )
  }

  /**
   * @param options.mode 'native' in the driver, 'generic' behind it, 'auto' (default) the former if
   *   the driver can; `Link.mode` tells
   */
  async attachXdp(
    options: DeviceOptions & { mode?: 'native' | 'generic' | 'auto' | undefined },
  ): Promise<Link> {
    const device = deviceName(check.options(options).interface)
    const mode = check.oneOf(options.mode ?? 'auto', ['native', 'generic', 'auto'], 'mode')
    const netns = netnsPath(options.netns)
    return Link.of(await addon.attachXdp(this.info().fd, device, netns, mode))
  }

  /**
   * @param options.fallback where the kernel has no tcx (before 6.6), a clsact filter instead, with
   *   `handle` and `priority`; default true. `Link.hook` tells
   * @param options.position among the programs that are there; default 'last'
   */
  async attachTcx(
    options: FilterPlace & {
      fallback?: boolean | undefined
      position?: 'first' | 'last' | undefined
    },
  ): Promise<Link> {
    const device = deviceName(check.options(options).interface)
    const egress = isEgress(options.direction)
    const netns = netnsPath(options.netns)
    const fallback = check.bool(options.fallback ?? true, 'fallback')
    const position = check.oneOf(options.position ?? 'last', ['first', 'last'], 'position')
    const flags = position === 'first' ? BPF_F_BEFORE : 0
    try {
      return Link.of(await addon.attachTcx(this.info().fd, device, netns, egress, flags))
    } catch (error) {
      // An unknown attach type; a kernel with tcx answers so only for a program of another type,
      // which clsact refuses as well.
      if (!fallback || !(error instanceof BpfError) || error.code !== 'EINVAL') throw error
      return this.attachClsact(options)
    }
  }

  /** A direct-action filter on the clsact qdisc, which is made where it is missing. */
  async attachClsact(options: FilterPlace): Promise<Link> {
    return Link.clsact(this.info().fd, options)
  }

  /**
   * Beside whatever is attached there already.
   *
   * @param options.path a directory of the cgroup v2 hierarchy
   * @throws BpfError EINVAL when the program was not loaded for this type
   */
  async attachCgroup(options: { path: string; type: CgroupAttachType }): Promise<Link> {
    const path = check.text(check.options(options).path, 'path')
    const type = cgroupAttachTypeNumber(options.type)
    return Link.of(await addon.attachPath(this.info().fd, path, type))
  }

  /** To a namespace: socket lookup, or flow dissection. */
  async attachNetns(options: { netns?: Netns | undefined; type: NetnsAttachType }): Promise<Link> {
    const path = netnsPath(check.options(options).netns) ?? '/proc/self/ns/net'
    const type = netnsAttachTypeNumber(options.type)
    return Link.of(await addon.attachPath(this.info().fd, path, type))
  }

  /** An iterator, to be run with `Link.read()`. */
  async attachIter(): Promise<Link> {
    return Link.of(await addon.attachTracing(this.info().fd, ATTACH_TYPES.trace_iter))
  }

  /** @param path new, on a bpffs. @throws BpfError EEXIST, EPERM (not a bpffs) */
  pin(path: string): void {
    this.open('pin').pin(check.text(path, 'path'))
  }

  /** @throws BpfError ENOENT; EINVAL when it is another object's pin */
  unpin(path: string): void {
    this.open('unpin').unpin(check.text(path, 'path'))
  }

  /** Idempotent. Links and pins keep the program in the kernel. */
  close(): void {
    this.#native?.close()
    this.#native = undefined
  }

  [Symbol.dispose](): void {
    this.close()
  }

  private open(operation: string): NativeProgram {
    if (this.#native === undefined) {
      throw bpfError(operation, this.name, 'EBADF', 'the program is not loaded, or closed')
    }
    return this.#native
  }
}

function outSize(input: Uint8Array | undefined, more: number): number {
  if (!(input instanceof Uint8Array)) return 0
  return Math.min(input.byteLength + more, MAX_TEST_BYTES)
}
