/**
 * Puts a set of pinned maps in the place of another so that an agent that dies at any moment leaves
 * either the old set or the new one: `next` is filled, becomes `ready` by one rename, and from then on
 * whoever comes finishes moving the old pins to `former` and the new ones to `maps`.
 */
import { existsSync, mkdirSync, renameSync, rmdirSync, rmSync } from 'node:fs'
import { BpfMap } from 'libbpf-ts'
import { namesIn, type Pins } from './pins.js'
import type { KernelMap } from './tables.js'

export class PinSwap {
  constructor(readonly pins: Pins) {}

  /** Finishes or undoes what an agent was at when it died. */
  recover(): void {
    this.discard()
    if (existsSync(this.pins.ready)) this.#move()
  }

  /** Pins a map that is to replace `name`, and opens it once more. */
  prepare(name: string, map: KernelMap): KernelMap {
    const path = `${this.pins.next}/${name}`
    mkdirSync(this.pins.next, { recursive: true, mode: 0o700 })
    map.pin(path)
    return BpfMap.openPinned(path)
  }

  /** From here on the new maps are the ones that count. */
  commit(): void {
    renameSync(this.pins.next, this.pins.ready)
    this.#move()
  }

  /** Gives up what was prepared. */
  discard(): void {
    removeAll(this.pins.next)
  }

  /** Maps that were replaced and may be in use, by name. */
  openFormer(): Map<string, KernelMap> {
    const { former } = this.pins
    return new Map(namesIn(former).map((name) => [name, BpfMap.openPinned(`${former}/${name}`)]))
  }

  /** Once nothing uses the replaced maps. */
  forget(): void {
    removeAll(this.pins.former)
  }

  #move(): void {
    const { maps, ready, former } = this.pins
    mkdirSync(former, { recursive: true, mode: 0o700 })
    for (const name of namesIn(ready)) {
      if (existsSync(`${maps}/${name}`)) renameSync(`${maps}/${name}`, `${former}/${name}`)
      renameSync(`${ready}/${name}`, `${maps}/${name}`)
    }
    rmdirSync(ready)
  }
}

function removeAll(directory: string): void {
  for (const name of namesIn(directory)) rmSync(`${directory}/${name}`)
  if (existsSync(directory)) rmdirSync(directory)
}
