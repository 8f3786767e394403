/**
 * Network namespaces by the files that name them. A file comes before the namespace is mounted on
 * it, and a namespace may be replaced under the same name; the inode tells.
 */
import { watch, type FSWatcher } from 'node:fs'
import { stat, statfs } from 'node:fs/promises'
import { netnsCookie } from 'libbpf-ts'
import { expandGlob, globRoot, isGlob } from './glob.js'

const NSFS_MAGIC = 0x6e736673
const OWN_NAMESPACE = '/proc/self/ns/net'

/** How a configuration names the agent's own namespace among its globs. */
export const HOST_NAMESPACE = 'host'

/** For directories that are not there yet, and for what inotify does not tell. */
const POLL_MS = 2_000
/** A mount gives no inotify event, so a change of the directory is followed by further looks. */
const LOOKS_AFTER_EVENT_MS = [10, 50, 150, 400]

/** Inode of the namespace, the same for all its names; undefined while there is none. */
export async function namespaceInode(path: string = OWN_NAMESPACE): Promise<number | undefined> {
  try {
    const [filesystem, file] = await Promise.all([statfs(path), stat(path)])
    return filesystem.type === NSFS_MAGIC ? file.ino : undefined
  } catch {
    return undefined
  }
}

export interface FoundNamespace {
  /** A path, or `host`. */
  readonly path: string
  readonly inode: number
  readonly cookie: bigint
}

/**
 * Follows the namespaces that match globs; tells the whole list each time it differs.
 * Two names of one namespace are two entries with one cookie.
 */
export class NamespaceWatcher {
  readonly #globs: readonly string[]
  readonly #onChange: (found: readonly FoundNamespace[]) => void
  readonly #watchers = new Map<string, FSWatcher>()
  readonly #timers = new Set<NodeJS.Timeout>()
  #found: readonly FoundNamespace[] = []
  #looking: Promise<void> | undefined
  #again = false
  #told = false
  #closed = false

  constructor(globs: readonly string[], onChange: (found: readonly FoundNamespace[]) => void) {
    this.#globs = globs
    this.#onChange = onChange
    const poll = setInterval(() => this.#look(), POLL_MS)
    this.#timers.add(poll)
    this.#look()
  }

  /** Resolves when a look that began after this call has ended. */
  async refreshed(): Promise<void> {
    this.#look()
    while (this.#looking !== undefined) await this.#looking
  }

  close(): void {
    this.#closed = true
    for (const timer of this.#timers) clearInterval(timer)
    for (const watcher of this.#watchers.values()) watcher.close()
    this.#timers.clear()
    this.#watchers.clear()
  }

  #look(): void {
    if (this.#closed) return
    if (this.#looking !== undefined) {
      this.#again = true
      return
    }
    this.#looking = this.#scan().finally(() => {
      this.#looking = undefined
      if (!this.#again) return
      this.#again = false
      this.#look()
    })
  }

  async #scan(): Promise<void> {
    this.#watchRoots()
    const found = await this.#findAll()
    if (this.#closed) return
    const same = (a: FoundNamespace, b: FoundNamespace | undefined) =>
      a.path === b?.path && a.inode === b.inode && a.cookie === b.cookie
    const unchanged =
      found.length === this.#found.length && found.every((entry, i) => same(entry, this.#found[i]))
    if (unchanged && this.#told) return
    this.#found = found
    this.#told = true
    this.#onChange(found)
  }

  async #findAll(): Promise<FoundNamespace[]> {
    const known = new Map(this.#found.map((entry) => [`${entry.path} ${entry.inode}`, entry]))
    const paths = new Set<string>()
    for (const glob of this.#globs) {
      if (glob === HOST_NAMESPACE) paths.add(HOST_NAMESPACE)
      else for (const path of await expandGlob(glob)) paths.add(path)
    }
    const found: FoundNamespace[] = []
    for (const path of paths) {
      const file = path === HOST_NAMESPACE ? undefined : path
      const inode = await namespaceInode(file)
      if (inode === undefined) continue
      const entry = known.get(`${path} ${inode}`) ?? readNamespace(path, inode)
      if (entry !== undefined) found.push(entry)
    }
    return found
  }

  #watchRoots(): void {
    for (const glob of this.#globs) {
      if (glob === HOST_NAMESPACE) continue
      const root = isGlob(glob) ? globRoot(glob) : glob.slice(0, glob.lastIndexOf('/')) || '/'
      if (this.#watchers.has(root)) continue
      try {
        const watcher = watch(root, { persistent: false }, () => this.#lookSoon())
        watcher.on('error', () => this.#unwatch(root))
        this.#watchers.set(root, watcher)
      } catch {
        // Not there yet: the poll finds it.
      }
    }
  }

  #unwatch(root: string): void {
    this.#watchers.get(root)?.close()
    this.#watchers.delete(root)
  }

  #lookSoon(): void {
    for (const delayMs of LOOKS_AFTER_EVENT_MS) {
      const timer = setTimeout(() => {
        this.#timers.delete(timer)
        this.#look()
      }, delayMs)
      this.#timers.add(timer)
    }
  }
}

function readNamespace(path: string, inode: number): FoundNamespace | undefined {
  try {
    const cookie = path === HOST_NAMESPACE ? netnsCookie() : netnsCookie(path)
    return { path, inode, cookie }
  } catch {
    // It went between the look and the question; the next look settles it.
    return undefined
  }
}
