/**
 * Rows that several services may have a part in: an address that is a VIP of one and a backend of
 * another, a port that moves from one to the next. The row is what its claims merge to.
 */
import type { Value } from 'libbpf-ts'
import type { Pace } from './pace.js'
import type { HashTable } from './tables.js'

interface Claim<Part> {
  readonly owner: string
  readonly part: Part
}

export class ClaimedTable<Part, K extends Value, V extends Value> {
  /** Nearly every row has one claim; a map for each would be most of the memory. */
  readonly #claims = new Map<string, Claim<Part> | Map<string, Part>>()
  readonly #dropped = new Set<string>()

  constructor(
    readonly table: HashTable<K, V>,
    readonly merge: (parts: Part[]) => Value,
  ) {}

  /** Takes a claim for written: the row was found so. */
  adopt(key: string, owner: string, part: Part): void {
    this.#set(key, owner, part)
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
    const before = this.#get(key, owner)
    const restore = () => {
      if (before === undefined) this.#remove(key, owner)
      else this.#set(key, owner, before)
    }
    this.#set(key, owner, part)
    try {
      this.#write(key)
    } catch (error) {
      restore()
      throw error
    }
    return () => {
      restore()
      this.#write(key)
    }
  }

  /** Gives a claim up; the table hears of it at the next flush. */
  drop(key: string, owner: string): void {
    this.#remove(key, owner)
    this.#dropped.add(key)
  }

  /** Puts or deletes the rows whose claims were dropped. */
  async flush(pace: Pace): Promise<void> {
    for (const key of this.#dropped) {
      this.#write(key)
      this.#dropped.delete(key)
      if (pace.due) await pace.rest()
    }
  }

  #get(key: string, owner: string): Part | undefined {
    const claims = this.#claims.get(key)
    if (claims instanceof Map) return claims.get(owner)
    return claims?.owner === owner ? claims.part : undefined
  }

  #set(key: string, owner: string, part: Part): void {
    const claims = this.#claims.get(key)
    if (claims instanceof Map) claims.set(owner, part)
    else if (claims === undefined || claims.owner === owner) this.#claims.set(key, { owner, part })
    else
      this.#claims.set(
        key,
        new Map([
          [claims.owner, claims.part],
          [owner, part],
        ]),
      )
  }

  #remove(key: string, owner: string): void {
    const claims = this.#claims.get(key)
    if (claims instanceof Map) {
      claims.delete(owner)
      if (claims.size === 0) this.#claims.delete(key)
    } else if (claims?.owner === owner) this.#claims.delete(key)
  }

  #write(key: string): void {
    const claims = this.#claims.get(key)
    if (claims === undefined) this.table.delete(key)
    else if (claims instanceof Map) this.table.put(key, this.merge([...claims.values()]))
    else this.table.put(key, this.merge([claims.part]))
  }
}
