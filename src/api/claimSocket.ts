/** The life of the socket file: taken only from agents that are gone, never open to others. */
import { chmod, mkdir, rename, stat, unlink } from 'node:fs/promises'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { FairleadError } from '../errors.js'
import { reasonOf } from '../reason.js'

/** sun_path of unix(7), without its NUL. */
const MAX_PATH_BYTES = 107
const CONNECT_TIMEOUT_MS = 2000
const SOCKET_MODE = 0o660
const DIRECTORY_MODE = 0o755

export interface Claim {
  /** Removes the file, if it is still this agent's. */
  release(): Promise<void>
}

/**
 * Makes `listen` bind beside `path` and moves the socket there once its mode is set, so that nobody
 * sees it with another mode, and a stale file is replaced in one step.
 *
 * @param listen binds the socket at the path that it is given
 * @throws FairleadError HOST if another agent answers at `path`, or it cannot be made
 */
export async function claimSocket(
  path: string,
  listen: (temporary: string) => Promise<unknown>,
): Promise<Claim> {
  const temporary = join(dirname(path), `.fl${process.pid}`)
  if (Math.max(Buffer.byteLength(path), Buffer.byteLength(temporary)) > MAX_PATH_BYTES) {
    throw new FairleadError('HOST', `the socket's path is over ${MAX_PATH_BYTES} bytes: ${path}`)
  }
  try {
    await mkdir(dirname(path), { recursive: true, mode: DIRECTORY_MODE })
    await refuseLive(path)
    await unlinkIfThere(temporary)
    await listen(temporary)
    await chmod(temporary, SOCKET_MODE)
    await rename(temporary, path)
  } catch (cause) {
    if (cause instanceof FairleadError) throw cause
    const why = reasonOf(cause)
    throw new FairleadError('HOST', `cannot listen at ${path}: ${why}`, { cause })
  }
  const own = await stat(path)
  return {
    release: async () => {
      const found = await stat(path).catch(() => undefined)
      if (found?.ino === own.ino && found.dev === own.dev) await unlinkIfThere(path)
    },
  }
}

/** @throws FairleadError HOST if another agent answers at `path`, or it is something else */
export async function refuseLive(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) return
  if (!found.isSocket()) throw new FairleadError('HOST', `${path} is there and is not a socket`)
  if (await answers(path)) {
    throw new FairleadError('HOST', `another agent answers at ${path}`)
  }
}

/** Only a refusal tells that nobody listens; a full backlog or a time-out is somebody. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    const finish = (result: boolean): void => {
      socket.destroy()
      resolve(result)
    }
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => finish(true))
    socket.once('connect', () => finish(true))
    socket.once('error', (error: NodeJS.ErrnoException) => {
      finish(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT')
    })
  })
}

async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}
