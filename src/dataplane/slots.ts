/**
 * Which elements of the slots map belong to whom: first fit, so the map fills from the front. A
 * range that is given back may still be read by a program that looked its service up just before,
 * and is free only from the next cycle on.
 */

export interface SlotRange {
  readonly start: number
  readonly length: number
}

export const NO_SLOTS: SlotRange = { start: 0, length: 0 }

export class SlotAllocator {
  /** Sorted by start, never touching one another. */
  #free: { start: number; length: number }[]
  #leaving: SlotRange[] = []
  #used = 0

  /** @param size elements of the map */
  constructor(readonly size: number) {
    this.#free = size > 0 ? [{ start: 0, length: size }] : []
  }

  /** Elements in use, those that are still leaving included. */
  get used(): number {
    return this.#used
  }

  /** undefined when no gap is long enough. */
  take(length: number): SlotRange | undefined {
    if (length === 0) return NO_SLOTS
    const index = this.#free.findIndex((gap) => gap.length >= length)
    const gap = this.#free[index]
    if (gap === undefined) return undefined
    const range = { start: gap.start, length }
    this.#cut(index, range)
    return range
  }

  /** Takes over what a pinned row says; false when any of it is taken or out of range. */
  adopt(range: SlotRange): boolean {
    if (range.length === 0) return true
    const index = this.#free.findIndex(
      (gap) => gap.start <= range.start && range.start + range.length <= gap.start + gap.length,
    )
    if (index === -1) return false
    this.#cut(index, range)
    return true
  }

  release(range: SlotRange): void {
    if (range.length > 0) this.#leaving.push(range)
  }

  nextCycle(): void {
    const leaving = this.#leaving
    this.#leaving = []
    for (const range of leaving) this.#join(range)
  }

  /** True while ranges wait for the next cycle. */
  get pending(): boolean {
    return this.#leaving.length > 0
  }

  #cut(index: number, range: SlotRange): void {
    const gap = this.#free[index]
    if (gap === undefined) return
    const end = range.start + range.length
    const rest = [
      { start: gap.start, length: range.start - gap.start },
      { start: end, length: gap.start + gap.length - end },
    ].filter(({ length }) => length > 0)
    this.#free.splice(index, 1, ...rest)
    this.#used += range.length
  }

  #join(range: SlotRange): void {
    this.#used -= range.length
    let index = this.#free.findIndex((gap) => gap.start > range.start)
    if (index === -1) index = this.#free.length
    const joined = { ...range }
    const after = this.#free[index]
    if (after?.start === range.start + range.length) {
      joined.length += after.length
      this.#free.splice(index, 1)
    }
    const before = this.#free[index - 1]
    if (before !== undefined && before.start + before.length === joined.start)
      before.length += joined.length
    else this.#free.splice(index, 0, joined)
  }
}
