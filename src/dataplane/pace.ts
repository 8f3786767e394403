/** Long work in slices, so that DNS and the rest of the loop are never kept waiting. */
import { setImmediate as breathe } from 'node:timers/promises'

const SLICE_MS = 8

export class Pace {
  #sliceEnd = performance.now() + SLICE_MS

  /** To be called between steps; lets others run when the slice is used up. */
  async step(): Promise<void> {
    if (performance.now() < this.#sliceEnd) return
    await breathe()
    this.#sliceEnd = performance.now() + SLICE_MS
  }
}
