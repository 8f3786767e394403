/**
 * What must survive a reboot, in a small file: the automatic VIPs.
 *
 * Written beside and renamed over, after fsync, so that a crash leaves the old one or the new one.
 * A file that cannot be understood is moved aside, never fatal: hashing places the VIPs again.
 */
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isAddress } from './model/address.js'
import type { Problem } from './model/types.js'
import { reasonOf } from './reason.js'

const VERSION = 1

export class StateFile {
  private queue: Promise<void> = Promise.resolve()
  /** Differs from what is on disk after a failed write, which the next save then makes good. */
  private written: string
  /** Last given to `save`, and that of it which is on disk. */
  private given: ReadonlyMap<string, string> | undefined
  private saved: ReadonlyMap<string, string> | undefined

  private constructor(
    readonly path: string,
    /** `network/service/family` → address, as read by `open` or last given to `save`. */
    private current: ReadonlyMap<string, string>,
    /** Why what was there could not be used. */
    readonly problem: Problem | undefined,
    text = '',
  ) {
    this.written = text
  }

  /** An absent file is an empty one. */
  static async open(path: string): Promise<StateFile> {
    let text: string
    try {
      text = await readFile(path, 'utf8')
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return new StateFile(path, new Map(), undefined)
      return new StateFile(path, new Map(), problemOf(path, `cannot be read: ${reasonOf(error)}`))
    }
    try {
      return new StateFile(path, decode(text), undefined, text)
    } catch (error) {
      const aside = `${path}.corrupt`
      const moved = await rename(path, aside).then(
        () => `moved to ${aside}`,
        (reason: unknown) => `could not be moved aside: ${reasonOf(reason)}`,
      )
      const reason = `${reasonOf(error)}; ${moved}; VIPs are placed afresh`
      return new StateFile(path, new Map(), problemOf(path, reason))
    }
  }

  get vips(): ReadonlyMap<string, string> {
    return this.current
  }

  /**
   * Resolves when this, or what a later call gave, is on disk. Writes nothing that is there already.
   * @throws Error of the file system; the old file is whole then
   */
  save(vips: ReadonlyMap<string, string>): Promise<void> {
    // The same map as the last time, and on disk: encoding ten thousand of them takes a while.
    if (vips === this.saved) return this.queue
    this.current = new Map(vips)
    this.given = vips
    const done = this.queue.then(() => this.write())
    this.queue = done.catch(() => undefined)
    return done
  }

  private async write(): Promise<void> {
    const { given } = this
    const text = encode(this.current)
    if (text !== this.written) await replaceFile(this.path, text)
    this.written = text
    this.saved = given
  }
}

function encode(vips: ReadonlyMap<string, string>): string {
  const sorted = [...vips].sort(([a], [b]) => (a < b ? -1 : 1))
  return `${JSON.stringify({ version: VERSION, vips: Object.fromEntries(sorted) }, null, 2)}\n`
}

function decode(text: string): Map<string, string> {
  const value: unknown = JSON.parse(text)
  if (!isRecord(value)) throw new TypeError('is not an object')
  if (value['version'] !== VERSION) {
    throw new TypeError(`is of version ${JSON.stringify(value['version'])}, not ${VERSION}`)
  }
  if (!isRecord(value['vips'])) throw new TypeError('has no vips')
  const vips = new Map<string, string>()
  for (const [key, address] of Object.entries(value['vips'])) {
    if (typeof address !== 'string' || !isAddress(address)) {
      throw new TypeError(`has no address for ${JSON.stringify(key)}`)
    }
    vips.set(key, address)
  }
  return vips
}

async function replaceFile(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const beside = `${path}.${process.pid}.tmp`
  try {
    const file = await open(beside, 'w', 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(beside, path)
  } catch (error) {
    await rm(beside, { force: true }).catch(() => undefined)
    throw error
  }
  // The rename itself is only durable with its folder.
  const folder = await open(dirname(path), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

function problemOf(path: string, reason: string): Problem {
  return { source: 'state', item: 'state file', place: path, code: 'FILE', reason }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
