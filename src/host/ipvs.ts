/**
 * Whether this kernel has IPVS. An engine loads it when its first swarm service comes, so a module that
 * could be loaded counts: it would balance the same VIPs a moment later.
 */
import { existsSync, readFileSync } from 'node:fs'
import { release as runningRelease } from 'node:os'
import { join } from 'node:path'

/** `loaded`: also when it is built in. `loadable`: as a module of the running release, or perhaps so. */
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
  // A kernel that takes modules whose list is not to be seen, as in an image: it may have this one.
  const unseen = existsSync(join(root, 'proc/modules'))
  return (names(join(modules, 'modules.dep')) ?? unseen) ? 'loadable' : 'absent'
}

/** @returns undefined if the list cannot be read */
function names(list: string): boolean | undefined {
  try {
    return MODULE.test(readFileSync(list, 'utf8'))
  } catch {
    return undefined
  }
}
