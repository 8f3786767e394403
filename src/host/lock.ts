/** A directory that one process at a time may use; the kernel gives the lock up with its holder. */
import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { FairleadError } from '../errors.js'

/** A holder that was killed just now may have left such a child. */
const WAIT_SECONDS = '1'

export interface Lock {
  /** Idempotent. */
  close(): void
}

/**
 * @param path a directory that is there
 * @throws FairleadError HOST when another process holds it
 */
export async function lockDirectory(path: string): Promise<Lock> {
  const fd = openSync(path, 'r')
  try {
    // The lock is the open file's: it stays with this process when flock(1) has ended.
    if ((await exitCode(fd)) !== 0)
      throw new FairleadError('HOST', `${path} is in use by an agent that runs`)
  } catch (error) {
    closeSync(fd)
    throw error
  }
  let held = true
  return {
    close: () => {
      if (held) closeSync(fd)
      held = false
    },
  }
}

function exitCode(fd: number): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const args = ['--timeout', WAIT_SECONDS, '3']
    const child = spawn('flock', args, { stdio: ['ignore', 'ignore', 'ignore', fd] })
    child.once('error', (cause) => {
      reject(new FairleadError('HOST', `flock: ${cause.message}`, { cause }))
    })
    child.once('exit', resolve)
  })
}
