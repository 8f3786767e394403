/**
 * A map whose copies share what does not differ. To replace one value of ten thousand copies two short
 * arrays; a copy of a Map takes a millisecond, and half a megabyte that is to be collected.
 */

/** About the root of the greatest number of services, so that both arrays stay short. */
const CHUNK = 128

/** What maps with the same keys have in common. */
interface Keys {
  readonly list: readonly string[]
  readonly places: ReadonlyMap<string, number>
}

export interface Replacement<T> {
  readonly key: string
  readonly before: T
  readonly after: T
}

/** Immutable; in the order in which it was made. */
export class SharedMap<T> implements ReadonlyMap<string, T> {
  readonly #keys: Keys
  /** Values by place, CHUNK of them in each. */
  readonly #chunks: readonly (readonly T[])[]

  private constructor(keys: Keys, chunks: readonly (readonly T[])[]) {
    this.#keys = keys
    this.#chunks = chunks
  }

  /** @param entries of a key that is there twice the first place and the last value count */
  static of<T>(entries: Iterable<readonly [string, T]>): SharedMap<T> {
    const map = new Map(entries)
    const list = [...map.keys()]
    const values = [...map.values()]
    const chunks: T[][] = []
    for (let at = 0; at < values.length; at += CHUNK) chunks.push(values.slice(at, at + CHUNK))
    return new SharedMap({ list, places: new Map(list.map((key, place) => [key, place])) }, chunks)
  }

  get size(): number {
    return this.#keys.list.length
  }

  has(key: string): boolean {
    return this.#keys.places.has(key)
  }

  get(key: string): T | undefined {
    const place = this.#keys.places.get(key)
    return place === undefined ? undefined : this.#at(place)
  }

  /** Where the key stands, from 0; -1 if there is none. */
  placeOf(key: string): number {
    return this.#keys.places.get(key) ?? -1
  }

  /** @returns this map if no value is another one; undefined if a key is not there */
  with(entries: Iterable<readonly [string, T]>): SharedMap<T> | undefined {
    let chunks: (readonly T[])[] | undefined
    const copied = new Map<number, T[]>()
    for (const [key, value] of entries) {
      const place = this.#keys.places.get(key)
      if (place === undefined) return undefined
      const which = Math.floor(place / CHUNK)
      const chunk = copied.get(which) ?? this.#chunks[which] ?? []
      if (chunk[place % CHUNK] === value) continue
      const copy = copied.get(which) ?? [...chunk]
      copied.set(which, copy)
      copy[place % CHUNK] = value
      chunks ??= [...this.#chunks]
      chunks[which] = copy
    }
    return chunks === undefined ? this : new SharedMap(this.#keys, chunks)
  }

  /** What differs from a map of which this is a copy, or the other way round; else undefined. */
  since(before: SharedMap<T>): Replacement<T>[] | undefined {
    if (before.#keys !== this.#keys) return undefined
    const found: Replacement<T>[] = []
    this.#chunks.forEach((chunk, which) => {
      const old = before.#chunks[which] ?? []
      if (chunk === old) return
      chunk.forEach((after, at) => {
        const was = old[at] as T
        if (was === after) return
        found.push({ key: this.#keys.list[which * CHUNK + at] ?? '', before: was, after })
      })
    })
    return found
  }

  *entries(): Generator<[string, T], undefined> {
    const { list } = this.#keys
    for (let place = 0; place < list.length; place++) yield [list[place] ?? '', this.#at(place)]
    return undefined
  }

  *keys(): Generator<string, undefined> {
    yield* this.#keys.list
    return undefined
  }

  *values(): Generator<T, undefined> {
    for (const chunk of this.#chunks) for (const value of chunk) yield value
    return undefined
  }

  [Symbol.iterator](): Generator<[string, T], undefined> {
    return this.entries()
  }

  forEach(call: (value: T, key: string, map: ReadonlyMap<string, T>) => void): void {
    for (const [key, value] of this) call(value, key, this)
  }

  #at(place: number): T {
    return this.#chunks[Math.floor(place / CHUNK)]?.[place % CHUNK] as T
  }
}

/**
 * The values that differ, if that can be told without looking at all of them.
 *
 * @returns undefined when keys may have come, gone or moved
 */
export function replacements<T>(
  before: ReadonlyMap<string, T> | undefined,
  after: ReadonlyMap<string, T>,
): Replacement<T>[] | undefined {
  if (before === after) return []
  if (!(before instanceof SharedMap) || !(after instanceof SharedMap)) return undefined
  return (after as SharedMap<T>).since(before as SharedMap<T>)
}
