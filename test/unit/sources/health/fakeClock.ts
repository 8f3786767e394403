/** A clock that stands until it is moved. */
import { setImmediate as turn } from 'node:timers/promises'
import type { Clock } from '../../../../src/sources/health/clock.js'

export class FakeClock implements Clock {
  #now = 0
  #calls = new Map<object, { readonly at: number; readonly call: () => void }>()
  /** The most calls that were awaited at a time. */
  mostAwaited = 0

  now(): number {
    return this.#now
  }

  after(delayMs: number, call: () => void): () => void {
    const key = {}
    this.#calls.set(key, { at: this.#now + delayMs, call })
    this.mostAwaited = Math.max(this.mostAwaited, this.#calls.size)
    return () => void this.#calls.delete(key)
  }

  /** Moves on, call by call; what they begin has ended its turn before the next. */
  async move(ms: number): Promise<void> {
    const end = this.#now + ms
    for (;;) {
      await turn()
      const next = [...this.#calls].sort(([, a], [, b]) => a.at - b.at)[0]
      if (next === undefined || next[1].at > end) break
      this.#now = Math.max(this.#now, next[1].at)
      this.#calls.delete(next[0])
      next[1].call()
    }
    this.#now = end
  }
}
