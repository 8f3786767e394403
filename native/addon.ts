/** The native side, typed. Not exported: its classes trust that the others here hold them right. */
import { createRequire } from 'node:module'
import { BpfError } from './errors.js'

export interface MapDefinition {
  readonly name: string
  readonly type: number
  readonly keySize: number
  readonly valueSize: number
  readonly maxEntries: number
  readonly flags: number
  readonly keyTypeId: number
  readonly valueTypeId: number
}
export interface ObjectMapDefinition extends MapDefinition {
  /** A data section (.rodata, .bss, ...), not a map of the source's own. */
  readonly internal: boolean
}
export interface MapDetails extends MapDefinition {
  readonly fd: number
  readonly id: number
  /** Of a value as read and written: valueSize, or that of all CPUs together. */
  readonly elementSize: number
  readonly btfId: number
}
export interface ProgramDefinition {
  readonly name: string
  readonly section: string
  readonly type: number
  readonly autoload: boolean
}
export interface ProgramDetails {
  readonly fd: number
  readonly id: number
  readonly name: string
  readonly type: number
  readonly instructions: number
  readonly jitedBytes: number
  readonly verifiedInstructions: number
  readonly runCount: bigint
  readonly runTimeNs: bigint
}
export interface LinkDetails {
  readonly fd: number
  readonly id: number
  readonly type: number
  readonly programId: number
  readonly ifindex?: number
  readonly attachType?: number
  readonly cgroupId?: bigint
  readonly netnsInode?: number
}
export interface FilterDetails {
  readonly ifindex: number
  readonly handle: number
  readonly priority: number
  readonly programId: number
  readonly netnsInode: number
}
export interface Attached {
  readonly fd: number
  readonly mode: '' | 'native' | 'generic'
  /** errno; 0: native was not tried, or succeeded. */
  readonly nativeError: number
}

export interface NativeObject {
  maps(): ObjectMapDefinition[]
  programs(): ProgramDefinition[]
  btf(): Uint8Array | undefined
  initialValue(map: string): Uint8Array | undefined
  setInitialValue(map: string, bytes: Uint8Array): void
  resize(map: string, maxEntries: number): void
  reuse(map: string, fd: number): void
  setAttachType(program: string, type: number): void
  setAutoload(program: string, on: boolean): void
  load(): void
  loadAsync(): Promise<void>
  mapFd(map: string): number
  programFd(program: string): number
  close(): void
}
interface Pinnable {
  pin(path: string): void
  unpin(path: string): void
  close(): void
}
export interface NativeMap extends Pinnable {
  details(): MapDetails
  lookup(key: Uint8Array, into: Uint8Array): boolean
  update(key: Uint8Array, value: Uint8Array, flags: number): void
  remove(key: Uint8Array): boolean
  nextKey(key: Uint8Array | undefined, into: Uint8Array): boolean
  lookupBatch(
    cursor: Uint8Array | undefined,
    next: Uint8Array,
    keys: Uint8Array,
    values: Uint8Array,
    max: number,
  ): number
  updateMany(keys: Uint8Array, values: Uint8Array, count: number, flags: number): number
  deleteMany(keys: Uint8Array, count: number): number
  count(): number
  freeze(): void
}
export interface NativeProgram extends Pinnable {
  details(): ProgramDetails
  testRun(
    data: Uint8Array | undefined,
    ctx: Uint8Array | undefined,
    dataOutSize: number,
    ctxOutSize: number,
    repeat: number,
    flags: number,
    batchSize: number,
    cpu: number,
  ): { retval: number; data: Uint8Array; ctx?: Uint8Array; durationNs: number }
}
export interface NativeLink extends Pinnable {
  details(): LinkDetails
  update(programFd: number): Promise<void>
  detach(): Promise<void>
  read(netns: string | undefined): Promise<Uint8Array>
}
export interface NativeRingBuffer {
  ref(): void
  unref(): void
  consume(): number
  close(): void
}

interface Addon {
  setErrorClass(constructor: typeof BpfError): void
  BpfObject: new (path: string, name?: string, pinRoot?: string) => NativeObject
  Map: new (source: number | string | Omit<MapDefinition, 'keyTypeId' | 'valueTypeId'>) => NativeMap
  Program: new (source: number | string) => NativeProgram
  Link: new (source: number | string) => NativeLink
  RingBuffer: new (mapFd: number, onRecord: (record: Uint8Array) => void) => NativeRingBuffer
  kernelBtf(id: number): Uint8Array
  attachXdp(
    programFd: number,
    device: string,
    netns: string | undefined,
    mode: string,
  ): Promise<Attached>
  attachTcx(
    programFd: number,
    device: string,
    netns: string | undefined,
    egress: boolean,
    flags: number,
  ): Promise<Attached>
  attachPath(programFd: number, path: string, type: number): Promise<Attached>
  attachTracing(programFd: number, type: number): Promise<Attached>
  attachClsact(
    programFd: number,
    device: string,
    netns: string | undefined,
    egress: boolean,
    handle: number,
    priority: number,
  ): Promise<FilterDetails>
  queryClsact(
    device: string,
    netns: string | undefined,
    egress: boolean,
    handle: number,
    priority: number,
  ): Promise<FilterDetails>
  detachClsact(
    ifindex: number,
    netns: string | undefined,
    egress: boolean,
    handle: number,
    priority: number,
    netnsInode: number,
  ): Promise<void>
  netnsCookie(netns: string | undefined): bigint
  openSocket(options: {
    netns: string | undefined
    ipv6: boolean
    tcp: boolean
    address: string
    port: number
    backlog: number
    v6only: boolean
    reuseAddr: boolean
    reusePort: boolean
    freeBind: boolean
  }): Promise<number>
  createSockets(options: {
    netns: string | undefined
    ipv6: boolean
    tcp: boolean
    count: number
  }): Promise<number[]>
  sendPackets(netns: string | undefined, packets: readonly Uint8Array[]): Promise<number>
  probe(): unknown
}

export const addon = createRequire(import.meta.url)('../build/Release/bpf.node') as Addon
addon.setErrorClass(BpfError)
