/** Boots the guest with this tree's programs, and reads what it reports. */
import { bootGuest } from '../lib/guest/boot.js'
import { GUEST_HOME, treeFiles } from '../lib/guest/tree.js'
import type { GuestReport } from './inside.js'

const SCRIPT = `
busybox mount -t bpf bpf /sys/fs/bpf
cd ${GUEST_HOME}
/usr/bin/node dist/test/guest/inside.js || echo FAILED
`

/**
 * One boot of Debian's kernel; half a minute.
 * @param stop ends the guest early
 * @throws Error with the end of the guest's console when it reports nothing
 */
export async function runGuest(stop: AbortSignal): Promise<GuestReport> {
  const files = () => treeFiles(['test/guest', 'test/fuzz', 'test/lib'])
  const { said, console } = await bootGuest(files, SCRIPT, stop)
  const line = /^REPORT (.*)$/m.exec(said)?.[1]
  if (line === undefined)
    throw new Error(`the guest reported nothing: ${said.slice(-2000)}\n${console.slice(-2000)}`)
  return JSON.parse(line) as GuestReport
}
