/** /proc/self/mountinfo, as proc(5) describes it. */
import { readFileSync } from 'node:fs'

export interface Mount {
  readonly point: string
  /** `bpf`, `cgroup2`, ... */
  readonly type: string
}

/** The mounts of this process, in the order they were made. */
export function readMounts(text = readFileSync('/proc/self/mountinfo', 'utf8')): Mount[] {
  const mounts: Mount[] = []
  for (const line of text.split('\n')) {
    // "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw"
    const [left, right] = line.split(' - ')
    const point = left?.split(' ')[4]
    const type = right?.split(' ')[0]
    if (point === undefined || type === undefined) continue
    mounts.push({ point: unescape(point), type })
  }
  return mounts
}

/** The kernel writes space, tab, newline and backslash as octal. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  )
}

/** The mount that holds `path`: the deepest, and of several on one point the last. */
export function mountOf(path: string, mounts: readonly Mount[] = readMounts()): Mount | undefined {
  let best: Mount | undefined
  for (const mount of mounts) {
    const holds = mount.point === '/' || path === mount.point || path.startsWith(`${mount.point}/`)
    if (holds && mount.point.length >= (best?.point.length ?? 0)) best = mount
  }
  return best
}

/** Where the cgroup v2 hierarchy is mounted, or undefined. */
export function cgroup2Mount(mounts: readonly Mount[] = readMounts()): string | undefined {
  return mounts.find((mount) => mount.type === 'cgroup2')?.point
}
