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
import type { Problem, Snapshot } from '../../model/types.js'
import type { Mistake } from './document.js'
import { parseFile, type ParsedFile } from './parse.js'
import { describeProblem, problemOf, snapshotOf } from './problems.js'
import { fileSignature, readBounded, type FileText } from './read.js'

/** pino's shape. */
export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

export interface FileSourceOptions {
  readonly onSnapshot: (snapshot: Snapshot) => void
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
  #last: Omit<Snapshot, 'problems'> = { networks: [], services: [] }
  #firstAgent: unknown
  /** JSON of the problems published last. */
  #problems: ReadonlySet<string> = new Set()
  #closed = false

  /** @param path messages name the file as it is given here */
  constructor(path: string, options: FileSourceOptions) {
    this.#path = path
    this.#options = options
  }

  /**
   * Publishes the first snapshot before it resolves, then watches.
   * @throws FairleadError FILE, SCHEMA or VALUE when the file as a whole is unusable
   */
  start(): Promise<void> {
    // The executor's exceptions reject.
    return new Promise((done) => {
      this.#start()
      done()
    })
  }

  /**
   * Reads the file again, changed or not. Mistakes of single items are problems only.
   * @throws FairleadError FILE, SCHEMA or VALUE when the file as a whole is unusable, besides the
   *         problem that says so
   */
  reload(): Promise<void> {
    return new Promise((done, failed) => {
      const fault = this.#read()
      if (fault === undefined) done()
      else failed(fault)
    })
  }

  /** Nothing is called after this. Idempotent. */
  close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#debounce)
    clearInterval(this.#poll)
    for (const { watcher } of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
    return Promise.resolve()
  }

  #start(): void {
    const { text, signature } = readBounded(this.#path)
    const outcome = parseFile(this.#path, text)
    if (!outcome.ok) throw faultOf(outcome.mistakes)
    this.#signature = signature
    this.#firstAgent = outcome.file.agent
    this.#accept(outcome.file)
    this.#watch()
    this.#poll = setInterval(() => this.#check(), this.#options.pollMs ?? POLL_MS)
    this.#poll.unref()
    // What changed between the read and the watch.
    this.#changed()
  }

  /** @returns what is wrong with the file as a whole */
  #read(): FairleadError | undefined {
    if (this.#closed) return undefined
    let read: FileText
    try {
      read = readBounded(this.#path)
    } catch (error) {
      if (!(error instanceof FairleadError)) throw error
      // Asked for again when there is something else to read.
      this.#signature = fileSignature(this.#path)
      const { code, message } = error
      this.#publish([
        { source: 'file', item: 'file', place: this.#path, code, reason: `${message}${KEPT}` },
      ])
      return error
    }
    this.#signature = read.signature
    const outcome = parseFile(this.#path, read.text, this.#last)
    if (outcome.ok) {
      this.#accept(outcome.file)
      return undefined
    }
    this.#publish(outcome.mistakes.map((mistake) => problemOf('file', mistake, KEPT)))
    return faultOf(outcome.mistakes)
  }

  #accept(file: ParsedFile): void {
    const { problems: found, ...last } = snapshotOf(file)
    this.#last = last
    const problems = [...found]
    if (!sameData(file.agent ?? null, this.#firstAgent ?? null)) {
      problems.push({
        source: 'file',
        item: 'agent',
        place: file.yaml.place(['agent']),
        code: 'CONFIG',
        reason: 'has changed; this takes effect when the agent is restarted',
      })
    }
    this.#publish(problems)
  }

  #publish(problems: readonly Problem[]): void {
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
    this.#options.onSnapshot({ ...this.#last, problems })
  }

  #changed(): void {
    if (this.#closed) return
    clearTimeout(this.#debounce)
    this.#debounce = setTimeout(() => this.#check(), this.#options.debounceMs ?? DEBOUNCE_MS)
  }

  /** Reads the file if it is another one, or another version, than was read last. */
  #check(): void {
    if (this.#closed) return
    this.#watch()
    if (fileSignature(this.#path) !== this.#signature) this.#read()
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
