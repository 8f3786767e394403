/** A part of the benchmark: what it is asked for, and what it gives. */
import type { AimResult } from './aims.js'
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
  /** For JSON, as `aims` are; what a report is made of. */
  readonly document: object
  readonly text: string
  readonly aims: readonly AimResult[]
}
