/** What of the running kernel matters to fairlead, as data. */
import { probe } from 'libbpf-ts'
import type { Features } from '../model/readback.js'
import { readTick, type Tick } from './clock.js'
import { canEndSockets } from './endSockets.js'
import { cgroup2Mount } from './mounts.js'

export type SocketEnding = 'program' | 'diag' | 'none'

export interface HostFeatures {
  /** `uname -r` */
  readonly release: string
  readonly tick: Tick
  /** Mount point of cgroup v2; absent: no socket path. */
  readonly cgroup2?: string
  /** tcx links (6.6); else clsact filters. */
  readonly tcx: boolean
  /** BPF_F_IPV6 of bpf_l4_csum_replace. */
  readonly csumIpv6Flag: boolean
  /** bpf_set_retval (5.18); without it a refused connect gives EPERM. */
  readonly setRetval: boolean
  /**
   * How sockets of other processes are ended: by a program (bpf_sock_destroy, 6.5), by SOCK_DESTROY,
   * or not at all.
   */
  readonly socketEnding: SocketEnding
  /** Name → there or not, for `fairlead probe` and metrics. */
  readonly flags: Features
}

export async function probeFeatures(): Promise<HostFeatures> {
  const kernel = probe()
  const cgroup2 = cgroup2Mount()
  const sockDiagDestroy = await canEndSockets()
  return {
    release: kernel.release,
    tick: await readTick(),
    ...(cgroup2 !== undefined && { cgroup2 }),
    tcx: kernel.tcx,
    csumIpv6Flag: kernel.csumIpv6Flag,
    setRetval: kernel.setRetval,
    socketEnding: kernel.sockDestroy ? 'program' : sockDiagDestroy ? 'diag' : 'none',
    flags: { ...flatten('', kernel), sockDiagDestroy, cgroup2: cgroup2 !== undefined },
  }
}

/** Every boolean of a nested record, under its path joined by dots. */
function flatten(prefix: string, value: object): Record<string, boolean> {
  const flags: Record<string, boolean> = {}
  for (const [name, entry] of Object.entries(value) as [string, unknown][]) {
    if (typeof entry === 'boolean') flags[prefix + name] = entry
    else if (typeof entry === 'object' && entry !== null)
      Object.assign(flags, flatten(`${prefix}${name}.`, entry))
  }
  return flags
}
