/**
 * The whole terminal, as long as it is open: drawn anew without flicker, keys as they are pressed, and
 * given back as it was, also on a signal.
 */
const ENTER = '\u001b[?1049h\u001b[?25l'
const LEAVE = '\u001b[?25h\u001b[?1049l'
const HOME = '\u001b[H'
const END_OF_LINE = '\u001b[K'
const END_OF_SCREEN = '\u001b[J'
const CTRL_C = '\u0003'

export class Screen {
  #open = true
  #wake: () => void = () => undefined
  readonly #end = (): void => {
    this.#open = false
    this.#wake()
  }
  #key: (key: string) => void = () => undefined
  readonly #listen = (text: string): void => {
    for (const key of text) {
      if (key === 'q' || key === CTRL_C) this.#end()
      else this.#key(key)
    }
  }
  #resized: () => void = () => undefined
  readonly #resize = (): void => this.#resized()

  constructor() {
    const { stdin, stdout } = process
    stdout.write(ENTER)
    if (stdin.isTTY) stdin.setRawMode(true)
    stdin.setEncoding('utf8').on('data', this.#listen)
    stdout.on('resize', this.#resize)
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, this.#end)
  }

  get rows(): number {
    return process.stdout.rows || 24
  }

  onKey(listener: (key: string) => void): void {
    this.#key = listener
  }

  onResize(listener: () => void): void {
    this.#resized = listener
  }

  /** @param text lines that are wider than the screen are cut off */
  draw(text: string): void {
    const width = process.stdout.columns || 80
    const lines = text
      .split('\n')
      .slice(0, this.rows)
      .map((line) => cut(line, width))
    process.stdout.write(`${HOME}${lines.join(`${END_OF_LINE}\n`)}${END_OF_LINE}${END_OF_SCREEN}`)
  }

  /** Waits. @returns false once it is to be closed, which it does not wait for */
  async open(waitMs: number): Promise<boolean> {
    if (this.#open)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    return this.#open
  }

  close(): void {
    const { stdin, stdout } = process
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.off(signal, this.#end)
    stdout.off('resize', this.#resize)
    stdin.off('data', this.#listen)
    if (stdin.isTTY) stdin.setRawMode(false)
    stdin.pause()
    stdout.write(LEAVE)
  }
}

/** Sequences of colour have no width. */
function cut(line: string, width: number): string {
  let seen = 0
  // eslint-disable-next-line no-control-regex -- what begins a sequence is a control character
  return line.replace(/\u001b\[\d+m|[^]/gu, (part) =>
    part.length > 2 || ++seen <= width ? part : '',
  )
}
