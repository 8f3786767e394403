/** One line that tells what long work is at: rewritten on a terminal, else printed when it changes. */

export class Progress {
  readonly #begun = performance.now()
  #last = ''

  constructor(private readonly stream: NodeJS.WriteStream = process.stderr) {}

  at(what: string): void {
    if (what === this.#last) return
    this.#last = what
    const seconds = Math.round((performance.now() - this.#begun) / 1000)
    const line = `${seconds.toString().padStart(5)} s  ${what}`
    this.stream.write(this.stream.isTTY ? `\r\x1b[K${line}` : `${line}\n`)
  }

  end(): void {
    if (this.stream.isTTY) this.stream.write('\r\x1b[K')
  }
}
