/**
 * What backends that leave had counted of how flows ended and how long handshakes took: it goes to
 * rows of their service that the agent alone writes.
 */
import type { KernelMap } from './tables.js'

export interface LeftMaps {
  readonly backendEnds: KernelMap
  readonly goneEnds: KernelMap
  readonly retiredEnds: KernelMap
  readonly handshakes: KernelMap
}

/** Rows of maps. */
export interface EndsRow {
  readonly by: readonly bigint[]
}
export interface HandshakeRow {
  readonly sum_ns: bigint
  readonly counts: readonly bigint[]
}

export class LeftCounts {
  readonly #maps: LeftMaps
  readonly #parts: readonly string[]

  /** @param parts enum handshake_part, in the order of its numbers */
  constructor(maps: LeftMaps, parts: readonly string[]) {
    this.#maps = maps
    this.#parts = parts
  }

  /**
   * @param from index of a backend's row
   * @param to   of its service's
   * @returns    whether there was anything
   */
  foldEnds(from: number, to: number): boolean {
    const { backendEnds, retiredEnds } = this.#maps
    const counted = backendEnds.get(from) as EndsRow | undefined
    if (counted === undefined || counted.by.every((count) => count === 0n)) return false
    const before = retiredEnds.get(to) as EndsRow | undefined
    retiredEnds.set(to, { by: sums(counted.by, before?.by ?? []) })
    this.clearEnds(from)
    return true
  }

  clearEnds(index: number): void {
    this.#zero(this.#maps.backendEnds, index)
  }

  /** @returns whether there was anything */
  foldHandshakes(backend: number, service: number, path: number): boolean {
    const { handshakes } = this.#maps
    const from = this.#key(backend, 'backend', path)
    const counted = handshakes.get(from) as HandshakeRow | undefined
    if (counted === undefined) return false
    const to = this.#key(service, 'left', path)
    const before = handshakes.get(to) as HandshakeRow | undefined
    handshakes.set(
      to,
      before === undefined
        ? { sum_ns: counted.sum_ns, counts: [...counted.counts] }
        : { sum_ns: before.sum_ns + counted.sum_ns, counts: sums(before.counts, counted.counts) },
    )
    handshakes.delete(from)
    return true
  }

  clearBackend(id: number, index: number, path: number): void {
    this.clearEnds(index)
    this.#maps.handshakes.delete(this.#key(id, 'backend', path))
  }

  clearService(id: number, index: number, path: number): void {
    this.#zero(this.#maps.goneEnds, index)
    this.#zero(this.#maps.retiredEnds, index)
    for (const part of ['client', 'left']) this.#maps.handshakes.delete(this.#key(id, part, path))
  }

  #key(id: number, part: string, path: number): { id: number; part: number; path: number } {
    return { id, part: this.#parts.indexOf(part), path }
  }

  #zero(map: KernelMap, index: number): void {
    const key = new Uint8Array(map.keySize)
    map.keyCodec.encode(index, key)
    map.raw.set(key, new Uint8Array(map.raw.elementSize))
  }
}

function sums(a: readonly bigint[], b: readonly bigint[]): bigint[] {
  return a.map((count, i) => count + (b[i] ?? 0n))
}
