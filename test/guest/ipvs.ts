/**
 * IPVS in the guest: its modules from the kernel's package, and what a script of real `ipvsadm` commands
 * leaves, as `ipvsadm-save -n` prints it (which runs `ipvsadm -S -n`).
 */
import { basename } from 'node:path'
import { bootGuest, type GuestFiles, libraries } from '../lib/guest/boot.js'
import { modulesOf } from '../lib/guest/modules.js'

export const COMMANDS = new URL('../../../test/vectors/ipvs/commands', import.meta.url).pathname
export const SAVED = new URL('../../../test/vectors/ipvs/saved', import.meta.url).pathname

const IPVSADM = '/sbin/ipvsadm'
/** Where the rest is in the guest. */
const HOME = '/ipvs'

const SCRIPT = `
for module in $(busybox cat ${HOME}/order); do busybox insmod ${HOME}/$module; done
while read -r line; do /sbin/ipvsadm $line || echo "refused: $line"; done < ${HOME}/commands
/sbin/ipvsadm -S -n > /tmp/saved
/sbin/ipvsadm -C
/sbin/ipvsadm -R < /tmp/saved
/sbin/ipvsadm -S -n > /tmp/restored
echo IPVS SAVED
busybox cat /tmp/saved
echo IPVS RESTORED
busybox cat /tmp/restored
echo IPVS END
`

export interface IpvsReport {
  /** What the commands left. */
  readonly saved: string
  /** The same, saved again after its own parser had read it. */
  readonly restored: string
  /** What was said besides: commands and lines that were refused. */
  readonly complaints: string
}

/**
 * One boot; ten seconds.
 * @throws Error with the end of what the guest said when it did not get to its end
 */
export async function runIpvs(stop: AbortSignal): Promise<IpvsReport> {
  const { said, console } = await bootGuest(
    ({ modules }) => filesOf(modulesOf(modules, /^ip_vs(_|$)/)),
    SCRIPT,
    stop,
  )
  const [, complaints, saved, restored] =
    /^([^]*?)IPVS SAVED\n([^]*)IPVS RESTORED\n([^]*)IPVS END$/m.exec(said) ?? []
  if (complaints === undefined || saved === undefined || restored === undefined)
    throw new Error(`the guest ended early: ${said.slice(-2000)}\n${console.slice(-2000)}`)
  return { complaints, saved, restored }
}

function filesOf(modules: readonly string[]): GuestFiles {
  return new Map<string, string | Buffer>([
    [IPVSADM, IPVSADM],
    ...libraries(IPVSADM).map((path): [string, string] => [path, path]),
    [`${HOME}/commands`, COMMANDS],
    [`${HOME}/order`, Buffer.from(`${modules.map((path) => basename(path)).join('\n')}\n`)],
    ...modules.map((path): [string, string] => [`${HOME}/${basename(path)}`, path]),
  ])
}
