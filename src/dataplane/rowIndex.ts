/**
 * Numbers for the rows of a table, by key: open addressing over the keys' own words. A Map of strings
 * would hash and allocate for each of some hundred thousand rows.
 */
const FREE = 0
/** More are made room for when they come. */
const MOST_AT_FIRST = 1 << 18

/** Keys are of one size, a multiple of four bytes, and given as words at a place in an array. */
export class RowIndex {
  readonly #words: number
  /** By row. */
  #keys: Uint32Array
  #hashes: Uint32Array
  /** Rows, plus one, where their hashes lead. At least half of it is free. */
  #places: Uint32Array
  readonly #given: number[] = []
  #used = 0
  #size = 0

  /**
   * @param keySize  bytes
   * @param expected rows; memory that they do not use is not touched
   */
  constructor(keySize: number, expected: number) {
    if (keySize % 4 !== 0) throw new RangeError(`keys of ${keySize} bytes`)
    this.#words = keySize / 4
    const rows = 2 ** Math.ceil(Math.log2(Math.max(2, Math.min(expected, MOST_AT_FIRST))))
    this.#keys = new Uint32Array(rows * this.#words)
    this.#hashes = new Uint32Array(rows)
    this.#places = new Uint32Array(rows * 2)
  }

  /** Rows there are. */
  get size(): number {
    return this.#size
  }

  /** Numbers are below this; some of them may be free. */
  get end(): number {
    return this.#used
  }

  /** Rows there is room for without growing. */
  get capacity(): number {
    return this.#hashes.length
  }

  /** -1 when there is none. */
  find(key: Uint32Array, from = 0): number {
    const mask = this.#places.length - 1
    for (let at = this.#hash(key, from) & mask; ; at = (at + 1) & mask) {
      const place = this.#places[at] ?? FREE
      if (place === FREE) return -1
      if (this.#equals(place - 1, key, from)) return place - 1
    }
  }

  /** The number of a key that is not there yet. */
  add(key: Uint32Array, from = 0): number {
    const row = this.#given.pop() ?? this.#used++
    if (row >= this.capacity) this.#grow()
    const start = row * this.#words
    for (let i = 0; i < this.#words; i++) this.#keys[start + i] = key[from + i] ?? 0
    this.#hashes[row] = this.#hash(key, from)
    this.#place(row)
    this.#size++
    return row
  }

  /** The number may be given to another key from now on. */
  remove(row: number): void {
    const places = this.#places
    const mask = places.length - 1
    let hole = (this.#hashes[row] ?? 0) & mask
    while (places[hole] !== row + 1) hole = (hole + 1) & mask
    // Those behind move up, or they would no longer be found past the hole.
    for (let at = (hole + 1) & mask; places[at] !== FREE; at = (at + 1) & mask) {
      const other = places[at] ?? FREE
      const home = (this.#hashes[other - 1] ?? 0) & mask
      if (((at - home) & mask) < ((at - hole) & mask)) continue
      places[hole] = other
      hole = at
    }
    places[hole] = FREE
    this.#given.push(row)
    this.#size--
  }

  /** The keys of consecutive rows, in the index's own memory: good until the next add(). */
  keys(first: number, count = 1): Uint8Array {
    const bytes = this.#words * 4
    return new Uint8Array(this.#keys.buffer, first * bytes, count * bytes)
  }

  #place(row: number): void {
    const mask = this.#places.length - 1
    let at = (this.#hashes[row] ?? 0) & mask
    while (this.#places[at] !== FREE) at = (at + 1) & mask
    this.#places[at] = row + 1
  }

  #grow(): void {
    const rows = this.capacity
    const keys = new Uint32Array(this.#keys.length * 2)
    keys.set(this.#keys)
    this.#keys = keys
    const hashes = new Uint32Array(rows * 2)
    hashes.set(this.#hashes)
    this.#hashes = hashes
    const before = this.#places
    this.#places = new Uint32Array(before.length * 2)
    for (const place of before) if (place !== FREE) this.#place(place - 1)
  }

  #equals(row: number, key: Uint32Array, from: number): boolean {
    const start = row * this.#words
    for (let i = 0; i < this.#words; i++) if (this.#keys[start + i] !== key[from + i]) return false
    return true
  }

  /** Murmur3's mixing: keys are ids and addresses, which differ in few bits. */
  #hash(key: Uint32Array, from: number): number {
    let hash = 0
    for (let i = 0; i < this.#words; i++) {
      let word = Math.imul(key[from + i] ?? 0, 0xcc9e2d51)
      word = Math.imul((word << 15) | (word >>> 17), 0x1b873593)
      hash ^= word
      hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0
    }
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
    return (hash ^ (hash >>> 16)) >>> 0
  }
}
