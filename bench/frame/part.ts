/** A part of the benchmark: what it is asked for, and what it gives. */
import type { Progress } from './progress.js'

export interface PartOptions {
  /** By a subject's name. */
  readonly chosen: (subject: string) => boolean
  readonly quick: boolean
  readonly profile: boolean
  readonly rounds?: number
  readonly services?: readonly number[]
  readonly progress: Progress
  readonly stop: AbortSignal
}

export interface PartResult {
  /** For JSON; what a report is made of. */
  readonly document: object
  readonly text: string
  /** Aims that were not reached. */
  readonly misses: number
}
