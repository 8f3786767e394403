/**
 * Rows that several services may have a part in: an address that is a VIP of one and a backend of
 * another, a port that moves from one to the next. The row is what its claims merge to.
 */
import type { Value } from 'libbpf-ts'
import type { HashTable } from './hashTable.js'
import type { Pace } from '../pace.js'

/** Immutable, so that all rows of which a service has the same part can share one. */
export interface Claim<Part> {
  readonly owner: string
  readonly part: Part
  /** Those of one owner and turn add up; else the later one replaces the earlier. */
  readonly turn: number
}

/** Rows that were claimed for one owner, in order, and by their place there what it had of them. */
export interface Taken<Part> {
  readonly rows: number[]
  readonly before: Map<number, Claim<Part>>
}

type Claims<Part> = Claim<Part> | readonly Claim<Part>[] | undefined

export class ClaimedTable<Part extends Value, K extends Value = Value, V extends Value = Value> {
  /** By row. Nearly every row has one claim: a list for each would be most of the memory. */
  readonly #claims: Claims<Part>[] = []
  readonly #dropped = new Set<number>()

  /** @param merge what several parts make; one is the row itself */
  constructor(
    readonly table: HashTable<K, V>,
    readonly merge: (parts: Part[]) => Part,
  ) {}

  /** Takes a claim for written: the row was found so. */
  adopt(row: number, claim: Claim<Part>): void {
    this.#set(row, withClaim(this.#claims[row], claim))
  }

  isClaimed(row: number): boolean {
    return this.#claims[row] !== undefined
  }

  /**
   * Claims a row and writes it.
   *
   * @param taken is told of it; one for all claims of an owner that are given back together
   * @throws what the table throws; then nothing is claimed
   */
  claim(key: Value, claim: Claim<Part>, taken: Taken<Part>): void {
    let before: Claims<Part>
    let after: Claims<Part>
    const row = this.table.update(key, (known) => {
      before = known === -1 ? undefined : this.#claims[known]
      after = before === undefined ? claim : withClaim(before, this.#added(before, claim))
      return this.#valueOf(after)
    })
    this.#set(row, after)
    const own = ownOf(before, claim.owner)
    if (own !== undefined) taken.before.set(taken.rows.length, own)
    taken.rows.push(row)
  }

  /** Undoes claim() of all that was taken. */
  giveBack(owner: string, { rows, before }: Taken<Part>): void {
    for (let i = rows.length - 1; i >= 0; i--) {
      const row = rows[i] ?? 0
      const own = before.get(i)
      const claims = this.#claims[row]
      this.#claims[row] = own === undefined ? withoutClaim(claims, owner) : withClaim(claims, own)
      this.#write(row)
    }
  }

  #added(before: Claims<Part>, claim: Claim<Part>): Claim<Part> {
    const { owner, turn } = claim
    const own = ownOf(before, owner)
    if (own?.turn !== turn) return claim
    return { owner, turn, part: this.merge([own.part, claim.part]) }
  }

  /** What an owner has claimed of a row. */
  claimOf(row: number, owner: string): Claim<Part> | undefined {
    return ownOf(this.#claims[row], owner)
  }

  /** Gives a claim up; the table hears of it at the next flush. */
  drop(row: number, owner: string): void {
    this.#claims[row] = withoutClaim(this.#claims[row], owner)
    this.#dropped.add(row)
  }

  /** Puts or deletes the rows whose claims were dropped. */
  async flush(pace: Pace): Promise<void> {
    for (const row of this.#dropped) {
      this.#write(row)
      this.#dropped.delete(row)
      if (pace.due) await pace.rest()
    }
  }

  /** An array with a gap would be kept as a dictionary. */
  #set(row: number, claims: Claims<Part>): void {
    while (this.#claims.length < row) this.#claims.push(undefined)
    this.#claims[row] = claims
  }

  #write(row: number): void {
    const claims = this.#claims[row]
    if (claims === undefined) this.table.delete(row)
    else this.table.putAt(row, this.#valueOf(claims))
  }

  #valueOf(claims: Claim<Part> | readonly Claim<Part>[]): Value {
    return isList(claims) ? this.merge(claims.map(({ part }) => part)) : claims.part
  }
}

function isList<Part>(claims: Claims<Part>): claims is readonly Claim<Part>[] {
  return Array.isArray(claims)
}

function ownOf<Part>(claims: Claims<Part>, owner: string): Claim<Part> | undefined {
  if (isList(claims)) return claims.find((claim) => claim.owner === owner)
  return claims?.owner === owner ? claims : undefined
}

function withClaim<Part>(
  claims: Claims<Part>,
  claim: Claim<Part>,
): Claim<Part> | readonly Claim<Part>[] {
  if (claims === undefined) return claim
  if (!isList(claims)) return claims.owner === claim.owner ? claim : [claims, claim]
  const index = claims.findIndex(({ owner }) => owner === claim.owner)
  return index === -1 ? [...claims, claim] : claims.with(index, claim)
}

function withoutClaim<Part>(claims: Claims<Part>, owner: string): Claims<Part> {
  if (!isList(claims)) return claims?.owner === owner ? undefined : claims
  const left = claims.filter((claim) => claim.owner !== owner)
  return left.length > 1 ? left : left[0]
}
