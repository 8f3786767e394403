/** Keeps what comes from outside from making any number of series, or unprintable ones. */

/** Longer than any name in the model (131), so that cutting never makes two of them equal. */
const MAX_LENGTH = 200

// eslint-disable-next-line no-control-regex -- control characters are what it looks for
const CONTROL = /[\u0000-\u001f\u007f]/g

/** @returns `text` without control characters, cut to a length that no name reaches */
export function labelText(text: string): string {
  if (text.length <= MAX_LENGTH && text.search(CONTROL) === -1) return text
  return text.slice(0, MAX_LENGTH).replace(CONTROL, '?')
}

/** Lets the first `limit` distinct values through and calls all others `other`. */
export class BoundedLabel {
  readonly #seen = new Map<string, string>()

  constructor(
    private readonly limit: number,
    known: readonly string[] = [],
  ) {
    for (const value of known) this.#seen.set(value, value)
  }

  of(value: string): string {
    const seen = this.#seen.get(value)
    if (seen !== undefined) return seen
    if (this.#seen.size >= this.limit) return 'other'
    const text = labelText(value)
    this.#seen.set(value, text)
    return text
  }
}
