/**
 * Rows that several services may have a part in: an address that is a VIP of one and a backend of
 * another, a port that moves from one to the next. The row is what its claims merge to.
 */
import type { Value } from 'libbpf-ts'
import type { Pace } from './pace.js'
import type { HashTable } from './tables.js'

export class ClaimedTable<Part, K extends Value, V extends Value> {
  readonly #claims = new Map<string, Map<string, Part>>()
  readonly #dropped = new Set<string>()

  constructor(
    readonly table: HashTable<K, V>,
    readonly merge: (parts: Part[]) => Value,
  ) {}

  /** Takes a claim for written: the row was found so. */
  adopt(key: string, owner: string, part: Part): void {
    this.#ownersOf(key).set(owner, part)
  }

  isClaimed(key: string): boolean {
    return this.#claims.has(key)
  }

  /**
   * Claims a row and writes it.
   *
   * @returns what takes the claim back and restores the row
   * @throws what the table throws; then nothing is claimed
   */
  claim(key: string, owner: string, part: Part): () => void {
    const before = this.#claims.get(key)?.get(owner)
    const undo = () => {
      if (before === undefined) this.#remove(key, owner)
      else this.#ownersOf(key).set(owner, before)
      this.#write(key)
    }
    this.#ownersOf(key).set(owner, part)
    try {
      this.#write(key)
    } catch (error) {
      if (before === undefined) this.#remove(key, owner)
      else this.#ownersOf(key).set(owner, before)
      throw error
    }
    return undo
  }

  /** Gives a claim up; the kernel hears of it at the next flush. */
  drop(key: string, owner: string): void {
    this.#remove(key, owner)
    this.#dropped.add(key)
  }

  /** Writes or deletes the rows whose claims were dropped. */
  async flush(pace: Pace): Promise<void> {
    for (const key of this.#dropped) {
      this.#write(key)
      this.#dropped.delete(key)
      await pace.step()
    }
  }

  #ownersOf(key: string): Map<string, Part> {
    let owners = this.#claims.get(key)
    if (owners === undefined) this.#claims.set(key, (owners = new Map<string, Part>()))
    return owners
  }

  #remove(key: string, owner: string): void {
    const owners = this.#claims.get(key)
    owners?.delete(owner)
    if (owners?.size === 0) this.#claims.delete(key)
  }

  #write(key: string): void {
    const owners = this.#claims.get(key)
    if (owners === undefined) this.table.delete(key)
    else this.table.put(key, this.merge([...owners.values()]))
  }
}
