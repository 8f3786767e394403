/**
 * Whether this kernel has IPVS. An engine loads it when its first swarm service comes, so a module that
 * could be loaded counts: it would balance the same VIPs a moment later.
 */
import { existsSync, readFileSync } from 'node:fs'
import { release as runningRelease } from 'node:os'
import { join } from 'node:path'

/** `loaded`: also when it is built in. `loadable`: as a module of the running release. */
export type IpvsPresence = 'loaded' | 'loadable' | 'absent'

/** `kernel/net/netfilter/ipvs/ip_vs.ko`, perhaps compressed, at the beginning of a line. */
const MODULE = /^\S*\/ip_vs\.ko(?:\.\w+)?(?::|$)/m

/**
 * @param root    folder that holds `proc`, `sys` and `lib`
 * @param release `uname -r`
 */
export function ipvsPresence(root = '/', release = runningRelease()): IpvsPresence {
  const here = ['proc/net/ip_vs', 'sys/module/ip_vs'].some((path) => existsSync(join(root, path)))
  if (here) return 'loaded'
  const modules = join(root, 'lib/modules', release)
  if (names(join(modules, 'modules.builtin'))) return 'loaded'
  return names(join(modules, 'modules.dep')) ? 'loadable' : 'absent'
}

function names(list: string): boolean {
  try {
    return MODULE.test(readFileSync(list, 'utf8'))
  } catch {
    // A kernel without modules, or an image that does not see the host's.
    return false
  }
}
