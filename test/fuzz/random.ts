/** A seeded generator: xoshiro128** (Blackman, Vigna), seeded by splitmix32. */
export class Random {
  readonly #state: Uint32Array

  constructor(seed: number) {
    let word = seed >>> 0
    this.#state = Uint32Array.from({ length: 4 }, () => {
      word = (word + 0x9e3779b9) >>> 0
      let mixed = word
      mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad)
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
      return (mixed ^ (mixed >>> 15)) >>> 0
    })
  }

  next32(): number {
    const [a = 0, b = 0, c = 0, d = 0] = this.#state
    const scrambled = Math.imul(b, 5)
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0
    const third = c ^ a
    const fourth = d ^ b
    this.#state[1] = b ^ third
    this.#state[0] = a ^ fourth
    this.#state[2] = third ^ (b << 9)
    this.#state[3] = (fourth << 11) | (fourth >>> 21)
    return result
  }

  /** 0..limit-1; the bias is below limit / 2^32. */
  below(limit: number): number {
    return Math.floor((this.next32() / 0x1_0000_0000) * limit)
  }

  chance(probability: number): boolean {
    return this.next32() < probability * 0x1_0000_0000
  }

  pick<T>(from: readonly T[]): T {
    const one = from[this.below(from.length)]
    if (one === undefined) throw new RangeError('nothing to pick from')
    return one
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(length)
    for (let at = 0; at < length; at++) bytes[at] = this.next32() & 255
    return bytes
  }
}
