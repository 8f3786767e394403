/** The kernel's numbers for kinds of maps, programs, links and attachments, and their names. */

/** enum bpf_map_type, from 0. */
const MAP_TYPES = [
  'unspec',
  'hash',
  'array',
  'prog_array',
  'perf_event_array',
  'percpu_hash',
  'percpu_array',
  'stack_trace',
  'cgroup_array',
  'lru_hash',
  'lru_percpu_hash',
  'lpm_trie',
  'array_of_maps',
  'hash_of_maps',
  'devmap',
  'sockmap',
  'cpumap',
  'xskmap',
  'sockhash',
  'cgroup_storage',
  'reuseport_sockarray',
  'percpu_cgroup_storage',
  'queue',
  'stack',
  'sk_storage',
  'devmap_hash',
  'struct_ops',
  'ringbuf',
  'inode_storage',
  'task_storage',
  'bloom_filter',
  'user_ringbuf',
  'cgrp_storage',
  'arena',
] as const
export type MapType = (typeof MAP_TYPES)[number]

export const PER_CPU_MAPS: ReadonlySet<string> = new Set([
  'percpu_hash',
  'percpu_array',
  'lru_percpu_hash',
  'percpu_cgroup_storage',
])
/** Their keys are indexes, and often have no BTF. */
export const INDEXED_MAPS: ReadonlySet<string> = new Set([
  'array',
  'percpu_array',
  'prog_array',
  'perf_event_array',
  'cgroup_array',
  'array_of_maps',
  'devmap',
  'cpumap',
  'xskmap',
  'sockmap',
  'reuseport_sockarray',
])
/** Their values are descriptors on the way in, and ids on the way out. */
export const DESCRIPTOR_MAPS: ReadonlySet<string> = new Set([
  'prog_array',
  'perf_event_array',
  'cgroup_array',
  'array_of_maps',
  'hash_of_maps',
  'devmap',
  'devmap_hash',
  'xskmap',
])

/** enum bpf_prog_type, from 0. */
const PROGRAM_TYPES = [
  'unspec',
  'socket_filter',
  'kprobe',
  'sched_cls',
  'sched_act',
  'tracepoint',
  'xdp',
  'perf_event',
  'cgroup_skb',
  'cgroup_sock',
  'lwt_in',
  'lwt_out',
  'lwt_xmit',
  'sock_ops',
  'sk_skb',
  'cgroup_device',
  'sk_msg',
  'raw_tracepoint',
  'cgroup_sock_addr',
  'lwt_seg6local',
  'lirc_mode2',
  'sk_reuseport',
  'flow_dissector',
  'cgroup_sysctl',
  'raw_tracepoint_writable',
  'cgroup_sockopt',
  'tracing',
  'struct_ops',
  'ext',
  'lsm',
  'sk_lookup',
  'syscall',
  'netfilter',
] as const
export type ProgramType = (typeof PROGRAM_TYPES)[number]

/** enum bpf_link_type, from 0. */
const LINK_TYPES = [
  'unspec',
  'raw_tracepoint',
  'tracing',
  'cgroup',
  'iter',
  'netns',
  'xdp',
  'perf_event',
  'kprobe_multi',
  'struct_ops',
  'netfilter',
  'tcx',
  'uprobe_multi',
  'netkit',
  'sockmap',
] as const
export type LinkType = (typeof LINK_TYPES)[number]

/** Kinds of attachment to a cgroup, as in libbpf's section names. */
const CGROUP_ATTACH_TYPES = {
  skb_ingress: 0,
  skb_egress: 1,
  sock_create: 2,
  sock_ops: 3,
  device: 6,
  bind4: 8,
  bind6: 9,
  connect4: 10,
  connect6: 11,
  post_bind4: 12,
  post_bind6: 13,
  sendmsg4: 14,
  sendmsg6: 15,
  sysctl: 18,
  recvmsg4: 19,
  recvmsg6: 20,
  getsockopt: 21,
  setsockopt: 22,
  getpeername4: 29,
  getpeername6: 30,
  getsockname4: 31,
  getsockname6: 32,
  sock_release: 34,
} as const
export type CgroupAttachType = keyof typeof CGROUP_ATTACH_TYPES

const NETNS_ATTACH_TYPES = { flow_dissector: 17, sk_lookup: 36 } as const
export type NetnsAttachType = keyof typeof NETNS_ATTACH_TYPES

const OTHER_ATTACH_TYPES = {
  trace_iter: 28,
  xdp_devmap: 33,
  xdp_cpumap: 35,
  xdp: 37,
  tcx_ingress: 46,
  tcx_egress: 47,
} as const
export type AttachType = CgroupAttachType | NetnsAttachType | keyof typeof OTHER_ATTACH_TYPES

export const ATTACH_TYPES: Readonly<Record<AttachType, number>> = {
  ...CGROUP_ATTACH_TYPES,
  ...NETNS_ATTACH_TYPES,
  ...OTHER_ATTACH_TYPES,
}

/** @throws TypeError for a name that is not in `table` */
function numberOf(table: Readonly<Record<string, number>>, name: unknown, what: string): number {
  const number = typeof name === 'string' && Object.hasOwn(table, name) ? table[name] : undefined
  if (number === undefined) throw new TypeError(`${what}: ${String(name)} is not one`)
  return number
}

export function attachTypeNumber(name: AttachType): number {
  return numberOf(ATTACH_TYPES, name, 'attach type')
}

export function cgroupAttachTypeNumber(name: CgroupAttachType): number {
  return numberOf(CGROUP_ATTACH_TYPES, name, 'cgroup attach type')
}

export function netnsAttachTypeNumber(name: NetnsAttachType): number {
  return numberOf(NETNS_ATTACH_TYPES, name, 'netns attach type')
}

export function attachTypeName(number: number): string {
  const found = Object.entries(ATTACH_TYPES).find(([, value]) => value === number)
  return found?.[0] ?? `attach type ${number}`
}

/** A kind that is younger than this file is named by its number. */
export function mapTypeName(number: number): string {
  return MAP_TYPES[number] ?? `map type ${number}`
}

export function mapTypeNumber(name: MapType): number {
  const number = MAP_TYPES.indexOf(name)
  if (number < 1) throw new TypeError(`map type: ${name} is not one`)
  return number
}

export function programTypeName(number: number): string {
  return PROGRAM_TYPES[number] ?? `program type ${number}`
}

export function linkTypeName(number: number): string {
  return LINK_TYPES[number] ?? `link type ${number}`
}
