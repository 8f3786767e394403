/** A binary heap by time, from which anything can be taken out again. */

/** A place in one heap; the heap alone changes it. */
export interface Node<T> {
  readonly value: T
  readonly at: number
  /** -1 once it has left. */
  index: number
}

export class Heap<T> {
  readonly #nodes: Node<T>[] = []

  get size(): number {
    return this.#nodes.length
  }

  /** The earliest; of those with one time, any. */
  get first(): Node<T> | undefined {
    return this.#nodes[0]
  }

  push(at: number, value: T): Node<T> {
    const node = { value, at, index: this.#nodes.length }
    this.#nodes.push(node)
    this.#up(node)
    return node
  }

  /** Takes out the first if its time has come. */
  takeDue(now: number): T | undefined {
    const { first } = this
    if (first === undefined || first.at > now) return undefined
    this.delete(first)
    return first.value
  }

  /** Idempotent. */
  delete(node: Node<T>): void {
    const { index } = node
    if (index < 0) return
    node.index = -1
    const last = this.#nodes.pop()
    if (last === undefined || last === node) return
    this.#put(last, index)
    this.#up(last)
    this.#down(last)
  }

  #put(node: Node<T>, index: number): void {
    this.#nodes[index] = node
    node.index = index
  }

  #up(node: Node<T>): void {
    while (node.index > 0) {
      const { index } = node
      const parent = this.#nodes[(index - 1) >> 1]
      if (parent === undefined || parent.at <= node.at) return
      this.#put(parent, index)
      this.#put(node, (index - 1) >> 1)
    }
  }

  #down(node: Node<T>): void {
    for (;;) {
      const { index } = node
      const left = this.#nodes[2 * index + 1]
      const right = this.#nodes[2 * index + 2]
      const least = right !== undefined && left !== undefined && right.at < left.at ? right : left
      if (least === undefined || node.at <= least.at) return
      const below = least.index
      this.#put(least, index)
      this.#put(node, below)
    }
  }
}
