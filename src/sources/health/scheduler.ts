/**
 * Thousands of things that recur, on one timer: two heaps, of what is to start and of what is to be
 * given up. Each keeps its phase, so that what was spread at the start stays spread. Knows nothing
 * of what it runs.
 */
import type { Clock } from './clock.js'
import { Heap, type Node } from './heap.js'

export interface Task {
  /** Tasks of one kind share a limit of how many run at a time. */
  readonly kind: string
  readonly intervalMs: number
  readonly timeoutMs: number
  /** Must settle soon after `signal` aborts, and must not reject. */
  run(signal: AbortSignal): Promise<void>
}

export interface SchedulerOptions {
  readonly clock: Clock
  /** 0..1, where in its interval a task starts. */
  readonly random: () => number
  /** Most that run at a time, by kind. */
  readonly limits: Readonly<Record<string, number>>
}

interface Entry {
  readonly task: Task
  dueAt: number
  start?: Node<Entry>
  deadline?: Node<Entry>
  running?: AbortController
}

/** Starts of one turn of the event loop: a start costs tens of microseconds, and DNS shares it. */
const STARTS_A_TURN = 32

export class Scheduler {
  readonly #options: SchedulerOptions
  readonly #entries = new Map<Task, Entry>()
  readonly #starts = new Heap<Entry>()
  readonly #deadlines = new Heap<Entry>()
  /** Due, but their kind's limit is reached; in order. */
  readonly #waiting = new Map<string, Set<Entry>>()
  readonly #running = new Map<string, number>()
  #timer: { readonly at: number; cancel(): void } | undefined

  constructor(options: SchedulerOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#entries.size
  }

  /** Due, but waiting for others to end. */
  get waiting(): number {
    let total = 0
    for (const entries of this.#waiting.values()) total += entries.size
    return total
  }

  /** Runs `task` for the first time at a random moment of its interval, then once an interval. */
  add(task: Task): void {
    const { clock, random } = this.#options
    const entry: Entry = { task, dueAt: clock.now() + random() * task.intervalMs }
    this.#entries.set(task, entry)
    entry.start = this.#starts.push(entry.dueAt, entry)
    this.#arm()
  }

  /** Aborts it if it runs; it is never started again. */
  remove(task: Task): void {
    const entry = this.#entries.get(task)
    if (entry === undefined) return
    this.#entries.delete(task)
    if (entry.start) this.#starts.delete(entry.start)
    this.#waiting.get(task.kind)?.delete(entry)
    entry.running?.abort()
  }

  /** Removes all. */
  close(): void {
    for (const task of [...this.#entries.keys()]) this.remove(task)
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #wake(): void {
    this.#timer = undefined
    const now = this.#options.clock.now()
    for (let late = this.#deadlines.takeDue(now); late; late = this.#deadlines.takeDue(now)) {
      late.running?.abort()
    }
    for (let count = 0; count < STARTS_A_TURN; count++) {
      const due = this.#starts.takeDue(now)
      if (due === undefined) break
      this.#startOrWait(due)
    }
    this.#arm()
  }

  #startOrWait(entry: Entry): void {
    const { kind } = entry.task
    if ((this.#running.get(kind) ?? 0) < (this.#options.limits[kind] ?? 1)) {
      this.#start(entry)
      return
    }
    const waiting = this.#waiting.get(kind) ?? new Set()
    this.#waiting.set(kind, waiting.add(entry))
  }

  #start(entry: Entry): void {
    const { task } = entry
    const controller = new AbortController()
    entry.running = controller
    entry.deadline = this.#deadlines.push(this.#options.clock.now() + task.timeoutMs, entry)
    this.#running.set(task.kind, (this.#running.get(task.kind) ?? 0) + 1)
    void task.run(controller.signal).finally(() => this.#ended(entry))
  }

  #ended(entry: Entry): void {
    const { task } = entry
    if (entry.deadline) this.#deadlines.delete(entry.deadline)
    delete entry.running
    this.#running.set(task.kind, (this.#running.get(task.kind) ?? 1) - 1)
    if (this.#entries.get(task) === entry) {
      // What was late because others took long does not make up for it.
      entry.dueAt = Math.max(entry.dueAt + task.intervalMs, this.#options.clock.now())
      entry.start = this.#starts.push(entry.dueAt, entry)
    }
    const waiting = this.#waiting.get(task.kind)
    const [next] = waiting ?? []
    if (next !== undefined) {
      waiting?.delete(next)
      this.#start(next)
    }
    this.#arm()
  }

  #arm(): void {
    const at = Math.min(this.#starts.first?.at ?? Infinity, this.#deadlines.first?.at ?? Infinity)
    if (this.#timer?.at === at) return
    this.#timer?.cancel()
    this.#timer = undefined
    if (at === Infinity) return
    const { clock } = this.#options
    // Rounded up: a timer that fires within the millisecond before would find nothing due.
    const delay = Math.max(0, Math.ceil(at - clock.now()))
    this.#timer = { at, cancel: clock.after(delay, () => this.#wake()) }
  }
}
