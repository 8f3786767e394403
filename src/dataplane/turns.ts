/** Work of which one turn runs at a time; asked for during a turn, another one follows. */
export class Turns {
  readonly #run: () => Promise<void>
  #running: Promise<void> | undefined
  #again = false
  #ran = false
  #closed = false
  #waiting: (() => void)[] = []

  /** @param run must not reject */
  constructor(run: () => Promise<void>) {
    this.#run = run
  }

  get closed(): boolean {
    return this.#closed
  }

  ask(): void {
    if (this.#closed) return
    if (this.#running !== undefined) {
      this.#again = true
      return
    }
    this.#running = this.#run().finally(() => {
      this.#running = undefined
      this.#ran = true
      if (this.#again && !this.#closed) {
        this.#again = false
        this.ask()
      } else this.#release()
    })
  }

  /** Resolves when a first turn has ended and none is under way. */
  async settled(): Promise<void> {
    if (this.#closed || (this.#ran && this.#running === undefined)) return
    await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  /** Resolves when the turn that is under way has ended; none follows. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#running
    this.#release()
  }

  #release(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
