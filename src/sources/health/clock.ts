/** Time as a parameter. */

export interface Clock {
  /** Milliseconds that only grow. */
  now(): number
  /** @returns cancels the call; idempotent */
  after(delayMs: number, call: () => void): () => void
}

export const monotonic: Clock = {
  now: () => performance.now(),
  after: (delayMs, call) => {
    const timer = setTimeout(call, delayMs)
    return () => clearTimeout(timer)
  },
}
