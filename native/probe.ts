/** What the kernel and this process can do: data, not exceptions. */
import { readFileSync } from 'node:fs'
import { addon } from './addon.js'

export interface KernelFeatures {
  /** As `uname -r`. */
  readonly release: string
  /** By libbpf's names: xdp, sched_cls, cgroup_sock_addr, ... */
  readonly programTypes: Readonly<Record<string, boolean>>
  /** By libbpf's names: hash, lru_hash, ringbuf, ... */
  readonly mapTypes: Readonly<Record<string, boolean>>
  /** The kernel carries its own BTF. */
  readonly btf: boolean
  /** tcx links (6.6). */
  readonly tcx: boolean
  /** bpf_l4_csum_replace takes BPF_F_IPV6. */
  readonly csumIpv6Flag: boolean
  /** bpf_set_retval in sock_addr programs (5.18). */
  readonly setRetval: boolean
  /** bpf_get_netns_cookie in sock_addr programs. */
  readonly netnsCookie: boolean
  readonly ringbuf: boolean
  /** Batch operations on hash maps (5.6). */
  readonly batch: boolean
  readonly socketStorage: boolean
  readonly socketLookup: boolean
  /** The kfunc bpf_sock_destroy (6.5). */
  readonly sockDestroy: boolean
  /** bpf_jiffies64 in tc programs. */
  readonly jiffies64: boolean
  readonly redirectPeer: boolean
  readonly redirectNeigh: boolean
  readonly timers: boolean
}

/** Tries each feature; some 100 ms. Without CAP_BPF nearly all are false: see capabilities(). */
export function probe(): KernelFeatures {
  return addon.probe() as KernelFeatures
}

/** linux/capability.h, from 0. */
const CAPABILITIES = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_DAC_READ_SEARCH',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETPCAP',
  'CAP_LINUX_IMMUTABLE',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_BROADCAST',
  'CAP_NET_ADMIN',
  'CAP_NET_RAW',
  'CAP_IPC_LOCK',
  'CAP_IPC_OWNER',
  'CAP_SYS_MODULE',
  'CAP_SYS_RAWIO',
  'CAP_SYS_CHROOT',
  'CAP_SYS_PTRACE',
  'CAP_SYS_PACCT',
  'CAP_SYS_ADMIN',
  'CAP_SYS_BOOT',
  'CAP_SYS_NICE',
  'CAP_SYS_RESOURCE',
  'CAP_SYS_TIME',
  'CAP_SYS_TTY_CONFIG',
  'CAP_MKNOD',
  'CAP_LEASE',
  'CAP_AUDIT_WRITE',
  'CAP_AUDIT_CONTROL',
  'CAP_SETFCAP',
  'CAP_MAC_OVERRIDE',
  'CAP_MAC_ADMIN',
  'CAP_SYSLOG',
  'CAP_WAKE_ALARM',
  'CAP_BLOCK_SUSPEND',
  'CAP_AUDIT_READ',
  'CAP_PERFMON',
  'CAP_BPF',
  'CAP_CHECKPOINT_RESTORE',
] as const
export type Capability = (typeof CAPABILITIES)[number]

/**
 * The effective capabilities of this process. Programs and maps take CAP_BPF, packet hooks
 * CAP_NET_ADMIN, other namespaces CAP_SYS_ADMIN.
 */
export function capabilities(): ReadonlySet<Capability> {
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
  const bits = BigInt(`0x${mask ?? '0'}`)
  return new Set(CAPABILITIES.filter((_, bit) => ((bits >> BigInt(bit)) & 1n) === 1n))
}
