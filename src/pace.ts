/** Long work in slices, so that DNS and the rest of the loop are never kept waiting. */
import { setImmediate as breathe } from 'node:timers/promises'

const SLICE_MS = 8

export class Pace {
  readonly #signal: AbortSignal | undefined
  #sliceEnd = performance.now() + SLICE_MS

  /** @param signal ends the work at its next rest */
  constructor(signal?: AbortSignal) {
    this.#signal = signal
  }

  /** True when the slice is used up; to be asked between steps, because an await costs as much. */
  get due(): boolean {
    return performance.now() >= this.#sliceEnd
  }

  /**
   * Lets others run.
   *
   * @throws the signal's reason once it is aborted
   */
  async rest(): Promise<void> {
    await breathe()
    this.#signal?.throwIfAborted()
    this.#sliceEnd = performance.now() + SLICE_MS
  }
}
