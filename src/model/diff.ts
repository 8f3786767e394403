/**
 * What changed between two states, by content. Pure.
 */
import type { Network, Service, ServiceKey, State } from './types.js'

export interface Changes<T> {
  readonly added: readonly T[]
  readonly changed: readonly { readonly before: T; readonly after: T }[]
  readonly removed: readonly T[]
}

export interface Diff {
  readonly networks: Changes<Network>
  readonly services: Changes<Service>
}

/** @param previous undefined: everything in `next` is added */
export function diff(previous: State | undefined, next: State): Diff {
  return {
    networks: changes(previous?.networks ?? new Map<string, Network>(), next.networks),
    services: changes(previous?.services ?? new Map<ServiceKey, Service>(), next.services),
  }
}

/** Equality of plain data: JSON's types, arrays in order, an absent field unlike any value. */
export function sameData(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false
    return a.every((item, index) => sameData(item, b[index]))
  }
  const keys = Object.keys(a)
  if (keys.length !== Object.keys(b).length) return false
  return keys.every(
    (key) =>
      Object.hasOwn(b, key) &&
      sameData((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]),
  )
}

function changes<T>(before: ReadonlyMap<string, T>, after: ReadonlyMap<string, T>): Changes<T> {
  const added: T[] = []
  const changed: { before: T; after: T }[] = []
  for (const [key, value] of after) {
    const old = before.get(key)
    if (old === undefined) added.push(value)
    else if (!sameData(old, value)) changed.push({ before: old, after: value })
  }
  const removed = [...before].filter(([key]) => !after.has(key)).map(([, value]) => value)
  return { added, changed, removed }
}
