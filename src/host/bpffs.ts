/** The BPF file system below the pins: it holds what must outlive the agent, until a reboot. */
import { mkdirSync } from 'node:fs'
import { FairleadError } from '../errors.js'
import { mountOf } from './mounts.js'
import { run } from './run.js'

const CUSTOMARY_MOUNT = '/sys/fs/bpf'

/**
 * Makes the directory of the pins, mounting the BPF file system at /sys/fs/bpf if that is where the
 * path points and nothing is mounted.
 *
 * @throws FairleadError HOST when the path lies on another file system, or the mount is refused
 */
export async function ensurePinDirectory(pinPath: string): Promise<void> {
  // bpffs reserves names with dots and answers them with a bare EPERM.
  if (!pinPath.startsWith('/') || pinPath.includes('.'))
    throw new FairleadError('HOST', `${pinPath}: a pin path is absolute and without dots`)
  if (mountOf(pinPath)?.type !== 'bpf') {
    if (!pinPath.startsWith(`${CUSTOMARY_MOUNT}/`))
      throw new FairleadError(
        'HOST',
        `${pinPath} is not on a BPF file system; mount one above it (mount -t bpf bpf DIRECTORY), or choose a path below ${CUSTOMARY_MOUNT}`,
      )
    await run(undefined, 'mount', ['-t', 'bpf', 'bpf', CUSTOMARY_MOUNT])
  }
  try {
    mkdirSync(pinPath, { recursive: true, mode: 0o700 })
  } catch (cause) {
    throw new FairleadError('HOST', `${pinPath} cannot be made`, { cause })
  }
}
