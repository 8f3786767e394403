/** Whether programs and kernel parts are there, asked in a namespace of its own. */
import { access, constants } from 'node:fs/promises'
import { join } from 'node:path'
import { NetLab, run } from '../../test/lib/netns.js'

const FOLDERS = ['/usr/sbin', '/usr/bin', '/sbin', '/bin']

/** Its path; undefined: not installed. */
export async function installed(program: string): Promise<string | undefined> {
  for (const folder of FOLDERS) {
    const path = join(folder, program)
    if (
      await access(path, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return path
  }
  return undefined
}

/** Why a command, which changes nothing outside a namespace, fails; undefined: it works. */
export async function fails(
  program: string,
  args: readonly string[],
  input = '',
): Promise<string | undefined> {
  if (!(await installed(program))) return `${program} is not installed`
  const lab = new NetLab(undefined, 'fb')
  try {
    const space = await lab.namespace('try')
    const { code, stderr, stdout } = await run(
      'nsenter',
      [`--net=${space.path}`, '--', program, ...args],
      { mayFail: true, input },
    )
    return code === 0 ? undefined : `${program}: ${(stderr || stdout).trim().split('\n')[0] ?? ''}`
  } finally {
    await lab.close()
  }
}
