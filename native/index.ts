/** Typed libbpf for Node: objects, maps, programs, links, ring buffers and BTF layouts. */
export { BpfError } from './errors.js'
export { TypeTable, type Codec, type Value } from './codec.js'
export { BpfObject, type OpenOptions } from './object.js'
export { BpfMap, type WriteMode } from './map.js'
export type { Codecs } from './mapCodecs.js'
export type { Chunk, RawMap } from './rawMap.js'
export { Program, type DeviceOptions, type TestRunOptions, type TestRunResult } from './program.js'
export {
  Link,
  type Attachable,
  type Direction,
  type FilterPlace,
  type Hook,
  type LinkInfo,
} from './link.js'
export { RingBuffer } from './ringbuf.js'
export {
  createSockets,
  netnsCookie,
  netnsInode,
  openSocket,
  sendPackets,
  type Netns,
  type NewSockets,
  type SocketOptions,
} from './netns.js'
export { capabilities, probe, type Capability, type KernelFeatures } from './probe.js'
export type {
  AttachType,
  CgroupAttachType,
  LinkType,
  MapType,
  NetnsAttachType,
  ProgramType,
} from './kinds.js'
