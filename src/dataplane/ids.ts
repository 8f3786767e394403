/**
 * Numbers that stand for networks, services and backends in the kernel. A number that is given back
 * is handed out again only after all others, so that what still refers to it has time to go.
 */

export class Ids {
  readonly #byKey = new Map<string, number>()
  readonly #byId = new Map<number, string>()
  #next = 1

  /** @param last greatest id; the least is 1, because 0 means none in every row */
  constructor(readonly last: number) {}

  get size(): number {
    return this.#byKey.size
  }

  get(key: string): number | undefined {
    return this.#byKey.get(key)
  }

  keyOf(id: number): string | undefined {
    return this.#byId.get(id)
  }

  entries(): IterableIterator<[string, number]> {
    return this.#byKey.entries()
  }

  /** The id of `key`, a new one if it had none; undefined when all are taken. */
  take(key: string): number | undefined {
    const known = this.#byKey.get(key)
    if (known !== undefined) return known
    if (this.#byKey.size >= this.last) return undefined
    while (this.#byId.has(this.#next)) this.#advance(this.#next)
    const id = this.#next
    this.#set(key, id)
    return id
  }

  /** Takes over what pinned rows say; false when the id or the key is taken or out of range. */
  adopt(key: string, id: number): boolean {
    if (id < 1 || id > this.last || this.#byId.has(id) || this.#byKey.has(key)) return false
    this.#set(key, id)
    return true
  }

  release(key: string): void {
    const id = this.#byKey.get(key)
    if (id === undefined) return
    this.#byKey.delete(key)
    this.#byId.delete(id)
  }

  #set(key: string, id: number): void {
    this.#byKey.set(key, id)
    this.#byId.set(id, key)
    if (id >= this.#next) this.#advance(id)
  }

  #advance(from: number): void {
    this.#next = from >= this.last ? 1 : from + 1
  }
}
