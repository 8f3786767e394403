/**
 * Reading the file: bounded, and with a signature that tells versions apart.
 */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readSync,
  statSync,
  type BigIntStats,
} from 'node:fs'
import { FairleadError } from '../../errors.js'
import { reasonOf } from '../../reason.js'

/** Some 40,000 services of ten backends. Parsing takes more than half a second a MiB. */
export const MAX_FILE_BYTES = 16 * 1024 * 1024

export interface FileText {
  readonly text: string
  readonly signature: string
}

/**
 * Synchronous: reading takes less than the parsing that follows.
 * @throws FairleadError FILE
 */
export function readBounded(path: string): FileText {
  try {
    // Without O_NONBLOCK, opening a FIFO waits for a writer.
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      // A signature from before the read: a write meanwhile makes the next check differ.
      const stats = fstatSync(fd, { bigint: true })
      return { text: decode(path, readWhole(path, fd, stats)), signature: signatureOf(stats) }
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    if (error instanceof FairleadError) throw error
    const reason = reasonOf(error)
    throw new FairleadError('FILE', `${path}: cannot be read: ${reason}`, { cause: error })
  }
}

/** Differs whenever the file is another one or was written to; empty if there is none. */
export function fileSignature(path: string): string {
  try {
    return signatureOf(statSync(path, { bigint: true }))
  } catch {
    return ''
  }
}

function readWhole(path: string, fd: number, stats: BigIntStats): Uint8Array {
  if (!stats.isFile()) throw new FairleadError('FILE', `${path}: is not a regular file`)
  if (stats.size > MAX_FILE_BYTES) {
    const size = `${stats.size} bytes, at most ${MAX_FILE_BYTES} are allowed`
    throw new FairleadError('FILE', `${path}: has ${size}`)
  }
  const buffer = Buffer.alloc(Number(stats.size))
  let length = 0
  while (length < buffer.length) {
    const bytes = readSync(fd, buffer, length, buffer.length - length, length)
    if (bytes === 0) break
    length += bytes
  }
  return buffer.subarray(0, length)
}

function signatureOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ')
}

function decode(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new FairleadError('FILE', `${path}: is not UTF-8`, { cause: error })
  }
}
