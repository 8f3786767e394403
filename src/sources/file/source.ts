/**
 * The file source: publishes what the file says, again whenever it changes.
 *
 * The folder is watched, not the file, so that editors that rename, symlink swaps and writes in
 * place are all seen; a slow poll catches what a watch misses (network file systems, a folder that
 * was replaced). The last good state stays in force whatever happens to the file.
 */
import { realpathSync, statSync, watch, type FSWatcher } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { FairleadError } from '../../errors.js'
import { sameData } from '../../model/diff.js'
import type { SnapshotNote } from '../../model/observe.js'
import type { Problem, ServiceSpec, Snapshot } from '../../model/types.js'
import { Pace } from '../../pace.js'
import { entryPlaces, type Mistake } from './document.js'
import { keepServices, type Entry } from './parse.js'
import { describeProblem, problemOf, snapshotOfEntries } from './problems.js'
import { fileSignature } from './read.js'
import { readFile, type FileReading } from './reading.js'

/** pino's shape. */
export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

export interface FileSourceOptions {
  readonly onSnapshot: (snapshot: Snapshot, note: SnapshotNote) => void
  /** Called once for each problem that was not there before. */
  readonly onProblem?: (problem: Problem) => void
  readonly log?: Log
  /** Quiet time after a change before the file is read. */
  readonly debounceMs?: number
  readonly pollMs?: number
}

const DEBOUNCE_MS = 50
const POLL_MS = 2000
const KEPT = '; the last good state stays in force'

export class FileSource {
  static readonly sourceName = 'file'

  readonly #path: string
  readonly #options: FileSourceOptions
  /** By folder; the inode tells a folder from another one of the same name. */
  readonly #watchers = new Map<string, { readonly watcher: FSWatcher; readonly inode: string }>()
  #debounce: NodeJS.Timeout | undefined
  #poll: NodeJS.Timeout | undefined
  #signature = ''
  /** When what is being read was first noticed, by performance.now(). */
  #seenMs: number | undefined
  #last: Omit<Snapshot, 'problems'> = { networks: [], services: [] }
  #firstAgent: unknown
  /** JSON of the problems published last. */
  #problems: ReadonlySet<string> = new Set()
  /** By the text that they were read from. */
  #entries: ReadonlyMap<string, Entry<ServiceSpec>> = new Map()
  #turn: Promise<unknown> = Promise.resolve()
  /** Readings that have not ended. */
  #turns = 0
  readonly #leaving = new AbortController()
  #closed = false

  /** @param path messages name the file as it is given here */
  constructor(path: string, options: FileSourceOptions) {
    this.#path = path
    this.#options = options
  }

  /**
   * Publishes the first snapshot before it resolves, then watches.
   *
   * @param first what it says, if it has been read already; taken unless it was written to since
   * @throws FairleadError FILE, SCHEMA or VALUE when the file as a whole is unusable
   */
  async start(first?: FileReading): Promise<void> {
    const current = fileSignature(this.#path) === first?.signature ? first : undefined
    const reading = current ?? (await this.#readFile())
    this.#signature = reading.signature
    if (reading.mistakes.length > 0) throw faultOf(reading.mistakes)
    this.#firstAgent = reading.agent
    await this.#accept(reading)
    if (this.#isClosed()) return
    this.#watch()
    this.#poll = setInterval(() => this.#check(), this.#options.pollMs ?? POLL_MS)
    this.#poll.unref()
    // What changed between the read and the watch.
    this.#changed()
  }

  /**
   * Reads the file again, changed or not. Mistakes of single items are problems only.
   * @throws FairleadError FILE, SCHEMA or VALUE when the file as a whole is unusable, besides the
   *         problem that says so
   */
  async reload(): Promise<void> {
    const fault = await this.#read()
    if (fault !== undefined) throw fault
  }

  /** Nothing is called after this. Idempotent. */
  close(): Promise<void> {
    this.#closed = true
    this.#leaving.abort()
    clearTimeout(this.#debounce)
    clearInterval(this.#poll)
    for (const { watcher } of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
    return Promise.resolve()
  }

  /** One reading at a time. @returns what is wrong with the file as a whole */
  #read(): Promise<FairleadError | undefined> {
    this.#turns++
    this.#seenMs ??= performance.now()
    const turn = this.#turn.then(() => this.#readNow())
    this.#turn = turn
      .catch(() => undefined)
      .then(() => {
        // What changed while it was read.
        if (--this.#turns === 0) this.#check()
      })
    return turn
  }

  async #readNow(): Promise<FairleadError | undefined> {
    if (this.#closed) return undefined
    let reading: FileReading
    try {
      reading = await this.#readFile()
    } catch (error) {
      if (!(error instanceof FairleadError)) throw error
      if (this.#isClosed()) return undefined
      // Asked for again when there is something else to read.
      this.#signature = fileSignature(this.#path)
      const { code, message } = error
      this.#publish(
        [{ source: 'file', item: 'file', place: this.#path, code, reason: `${message}${KEPT}` }],
        true,
      )
      return error
    }
    if (reading.mistakes.length === 0) {
      await this.#accept(reading)
      return undefined
    }
    if (this.#isClosed()) return undefined
    const problems = reading.mistakes.map((mistake) => problemOf('file', mistake, KEPT))
    this.#publish(problems, true)
    return faultOf(reading.mistakes)
  }

  async #readFile(): Promise<FileReading> {
    const task = { path: this.#path, networks: this.#last.networks }
    const reading = await readFile(task, this.#leaving.signal)
    this.#signature = reading.signature
    return reading
  }

  async #accept(reading: FileReading): Promise<void> {
    const { networks, starts, agent, agentPlace } = reading
    const services = keepServices(await this.#entriesOf(reading), this.#last.services)
    if (this.#closed) return
    const places = entryPlaces(this.#path, 'services', starts)
    const { problems: found, ...last } = snapshotOfEntries({ networks, services }, places)
    this.#last = last
    const problems = [...found]
    if (!sameData(agent ?? null, this.#firstAgent ?? null)) {
      problems.push({
        source: 'file',
        item: 'agent',
        place: agentPlace,
        code: 'CONFIG',
        reason: 'has changed; this takes effect when the agent is restarted',
      })
    }
    this.#publish(problems, false)
  }

  /** Entries of which the text is as it was are the same objects: nobody has to compare them again. */
  async #entriesOf({ services }: FileReading): Promise<Entry<ServiceSpec>[]> {
    const entries = new Map<string, Entry<ServiceSpec>>()
    const pace = new Pace()
    for (const text of services) {
      const known = this.#entries.get(text)
      entries.set(text, known ?? (JSON.parse(text) as Entry<ServiceSpec>))
      if (pace.due) await pace.rest()
    }
    this.#entries = entries
    return services.flatMap((text) => entries.get(text) ?? [])
  }

  #publish(problems: readonly Problem[], stale: boolean): void {
    const known = this.#problems
    const texts = problems.map((problem) => JSON.stringify(problem))
    this.#problems = new Set(texts)
    problems.forEach((problem, i) => {
      if (known.has(texts[i] ?? '')) return
      this.#options.log?.warn({ problem }, describeProblem(problem))
      this.#options.onProblem?.(problem)
    })
    const { networks, services } = this.#last
    this.#options.log?.info(
      { networks: networks.length, services: services.length, problems: problems.length },
      'file read',
    )
    const seenMs = this.#seenMs ?? performance.now()
    this.#seenMs = undefined
    this.#options.onSnapshot({ ...this.#last, problems }, { seenMs, stale })
  }

  #changed(): void {
    if (this.#closed) return
    this.#seenMs ??= performance.now()
    clearTimeout(this.#debounce)
    this.#debounce = setTimeout(() => this.#check(), this.#options.debounceMs ?? DEBOUNCE_MS)
  }

  /** Reads the file if it is another one, or another version, than was read last. */
  #check(): void {
    // It is looked at again when the reading has ended.
    if (this.#closed || this.#turns > 0) return
    this.#watch()
    if (fileSignature(this.#path) !== this.#signature) void this.#read()
    // Something else in the folder.
    else this.#seenMs = undefined
  }

  /** Apart, because the field changes behind an await. */
  #isClosed(): boolean {
    return this.#closed
  }

  /** Watches the folder of the path and, behind symlinks, that of the file itself. */
  #watch(): void {
    const folders = this.#folders()
    for (const [folder, { watcher, inode }] of this.#watchers) {
      if (folders.get(folder) === inode) continue
      watcher.close()
      this.#watchers.delete(folder)
    }
    for (const [folder, inode] of folders) {
      if (!this.#watchers.has(folder)) this.#watchFolder(folder, inode)
    }
  }

  /** The folders that are there, with what tells each from another one of its name. */
  #folders(): Map<string, string> {
    const path = resolve(this.#path)
    const folders = new Map<string, string>()
    const add = (find: () => string): void => {
      try {
        const folder = dirname(find())
        const { dev, ino } = statSync(folder, { bigint: true })
        folders.set(folder, `${dev} ${ino}`)
      } catch {
        // Away for now; the poll finds it again.
      }
    }
    add(() => path)
    add(() => realpathSync(path))
    return folders
  }

  #watchFolder(folder: string, inode: string): void {
    try {
      const watcher = watch(folder, { persistent: false }, () => this.#changed())
      watcher.on('error', () => {
        watcher.close()
        this.#watchers.delete(folder)
      })
      this.#watchers.set(folder, { watcher, inode })
    } catch (error) {
      // No inotify watch left: the poll still sees changes.
      this.#options.log?.info({ folder, error }, 'folder cannot be watched; polling')
    }
  }
}

function faultOf(mistakes: readonly Mistake[]): FairleadError {
  const message = mistakes.map(({ place, reason }) => `${place}: ${reason}`).join('\n')
  return new FairleadError(mistakes[0]?.code ?? 'FILE', message)
}
