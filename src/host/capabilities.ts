/** Linux capabilities of this process, from /proc (capabilities(7)). */
import { readFileSync } from 'node:fs'
import { FairleadError } from '../errors.js'

/**
 * Bit numbers of include/uapi/linux/capability.h, and why the agent asks. CAP_SYS_ADMIN is all that
 * CAP_BPF and CAP_PERFMON would be, and setns(2) takes nothing less (decision 0212).
 */
const NEEDED = [
  { name: 'CAP_NET_ADMIN', bit: 12n, why: 'to attach programs to interfaces' },
  {
    name: 'CAP_SYS_ADMIN',
    bit: 21n,
    why: "to load programs and to enter containers' network namespaces",
  },
] as const

/** Without these it works but for a port below 1024, or for telling the ends of idle connections. */
const WANTED = ['CAP_NET_BIND_SERVICE', 'CAP_NET_RAW']

export type Capability = (typeof NEEDED)[number]['name']

/** @param status text of /proc/PID/status */
export function missingCapabilities(
  status: string = readFileSync('/proc/self/status', 'utf8'),
): Capability[] {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`)
  return NEEDED.filter(({ bit }) => ((effective >> bit) & 1n) === 0n).map(({ name }) => name)
}

/** @throws FairleadError CAPABILITY, naming what is missing and how to grant it */
export function requireCapabilities(missing: readonly Capability[] = missingCapabilities()): void {
  if (missing.length === 0) return
  const reasons = NEEDED.filter(({ name }) => missing.includes(name)).map(
    ({ name, why }) => `${name} (${why})`,
  )
  const all = [...NEEDED.map(({ name }) => name), ...WANTED]
  const short = all.map((name) => name.slice('CAP_'.length))
  throw new FairleadError(
    'CAPABILITY',
    `the agent lacks ${reasons.join(', ')}. Run it as root, or grant the capabilities: ` +
      `CapabilityBoundingSet=${all.join(' ')} in a systemd unit, ` +
      `--cap-add ${short.join(' --cap-add ')} for a container, ` +
      `setpriv --ambient-caps +${short.join(',+').toLowerCase()} from a root shell`,
  )
}
