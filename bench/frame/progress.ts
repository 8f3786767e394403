/** One line that tells what long work is at: rewritten on a terminal, else printed now and then. */

const QUIET_MS = 5000

export class Progress {
  readonly #begun = performance.now()
  #last = ''
  #due = 0

  constructor(private readonly stream: NodeJS.WriteStream = process.stderr) {}

  at(what: string): void {
    if (what === this.#last || !(this.stream.isTTY || this.isDue())) return
    this.#last = what
    const seconds = Math.round((performance.now() - this.#begun) / 1000)
    const line = `${seconds.toString().padStart(5)} s  ${what}`
    this.stream.write(this.stream.isTTY ? `\r\x1b[K${line}` : `${line}\n`)
  }

  private isDue(): boolean {
    const now = performance.now()
    if (now < this.#due) return false
    this.#due = now + QUIET_MS
    return true
  }

  end(): void {
    if (this.stream.isTTY) this.stream.write('\r\x1b[K')
  }
}
