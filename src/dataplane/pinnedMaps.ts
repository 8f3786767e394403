/**
 * The maps that all programs share, pinned by name: made by whoever comes first, taken over by
 * everybody after.
 */
import { rmSync } from 'node:fs'
import { BpfError, BpfMap, BpfObject } from 'libbpf-ts'
import { FairleadError } from '../errors.js'
import type { Log } from '../host/log.js'
import { checkRecords, LAYOUT_VERSION, readConstants, type Constants } from './layout.js'
import { namesIn, type Pins } from './pins.js'
import type { KernelMap } from './tables.js'

/** Rows that the maps have room for. */
export interface Limits {
  readonly services: number
  readonly backends: number
  readonly slots: number
  readonly vips: number
  readonly ports: number
  /** Per family. */
  readonly flows: number
}

export const DEFAULT_LIMITS: Limits = {
  services: 16384,
  backends: 65536,
  slots: 262_144,
  vips: 32768,
  ports: 65536,
  flows: 262_144,
}

/** Networks that the names map has room for besides the services. */
export const MAX_NETWORKS = 4096

export class PinnedMaps {
  readonly #maps = new Map<string, KernelMap>()

  private constructor(
    readonly pins: Pins,
    readonly constants: Constants,
    readonly sizes: ReadonlyMap<string, number>,
    /** True when an earlier agent left them. */
    readonly adopted: boolean,
  ) {}

  /**
   * @param objectFile an object that declares all maps of bpf/maps.h; its programs stay unloaded
   * @throws FairleadError LAYOUT when records or pinned maps are of another version
   */
  static open(pins: Pins, objectFile: string, limits: Limits, log: Log): PinnedMaps {
    pins.makeDirectories()
    using object = BpfObject.open(objectFile)
    checkRecords(object.types)
    const constants = readConstants(object.types)
    const found = namesIn(pins.maps)
    const sizes = mapSizes(limits, constants.paths.length)
    const maps = new PinnedMaps(pins, constants, sizes, found.includes('layout'))
    try {
      for (const name of found) maps.#maps.set(name, BpfMap.openPinned(pins.map(name)))
      maps.#checkPinned(log)
      for (const name of object.programs.keys()) object.autoload(name, false)
      maps.share(object)
      object.load()
      maps.keep(object)
    } catch (error) {
      maps.close()
      throw error
    }
    return maps
  }

  /** @throws FairleadError LAYOUT when the programs do not declare such a map */
  get(name: string): KernelMap {
    const map = this.#maps.get(name)
    if (map === undefined)
      throw new FairleadError('LAYOUT', `the BPF programs declare no map ${name}`)
    return map
  }

  all(): KernelMap[] {
    return [...this.#maps.values()]
  }

  /** Before load: the object's maps are the pinned ones, or get the size asked for. */
  share(object: BpfObject): void {
    for (const name of object.maps.keys()) {
      if (!isShared(name)) continue
      const pinned = this.#maps.get(name)
      const size = this.sizes.get(name)
      if (pinned !== undefined) this.#reuse(object, name, pinned)
      else if (size !== undefined) object.resize(name, size)
    }
  }

  /** After load: maps that are new are pinned. */
  keep(object: BpfObject): void {
    for (const [name, map] of object.maps) {
      if (!isShared(name) || this.#maps.has(name) || map.type === 'prog_array') continue
      map.pin(this.pins.map(name))
      this.#maps.set(name, BpfMap.openPinned(this.pins.map(name)))
    }
  }

  close(): void {
    for (const map of this.#maps.values()) map.close()
  }

  #reuse(object: BpfObject, name: string, pinned: KernelMap): void {
    try {
      if (object.map(name).maxEntries !== pinned.maxEntries) object.resize(name, pinned.maxEntries)
      object.reuse(name, pinned)
    } catch (cause) {
      if (!(cause instanceof BpfError) || cause.code !== 'EINVAL') throw cause
      throw this.#otherLayout(`map ${name} differs (${cause.log ?? cause.message})`, cause)
    }
  }

  #checkPinned(log: Log): void {
    const layout = this.#maps.get('layout')
    if (layout === undefined) {
      // An agent died before its maps were complete; nothing can depend on them.
      for (const [name, map] of this.#maps) {
        map.close()
        rmSync(this.pins.map(name))
      }
      this.#maps.clear()
      return
    }
    const { version } = (layout.get(0) ?? {}) as { version?: unknown }
    if (version !== LAYOUT_VERSION && version !== 0)
      throw this.#otherLayout(`their layout is version ${String(version)}, not ${LAYOUT_VERSION}`)
    for (const [name, size] of this.sizes) {
      const entries = this.#maps.get(name)?.maxEntries
      if (entries !== undefined && entries !== size)
        log.warn({ map: name, entries, asked: size }, 'a pinned map keeps its size until detached')
    }
  }

  #otherLayout(why: string, cause?: unknown): FairleadError {
    return new FairleadError(
      'LAYOUT',
      `the maps pinned under ${this.pins.maps} were made by another version: ${why}. ` +
        'Remove them with "fairlead detach", which ends the flows they hold, and start again',
      { cause },
    )
  }
}

/** Not the object's own sections (.rodata and the like), whose names have a dot. */
function isShared(name: string): boolean {
  return !name.includes('.')
}

/** Arrays are indexed by ids, which begin at 1. */
function mapSizes(limits: Limits, paths: number): Map<string, number> {
  return new Map([
    ['vips4', limits.vips],
    ['vips6', limits.vips],
    ['ports4', limits.ports],
    ['ports6', limits.ports],
    ['services', limits.services],
    ['cursors', limits.services + 1],
    ['retired', (limits.services + 1) * paths],
    ['names', limits.services + MAX_NETWORKS],
    ['slots', limits.slots],
    ['backends', limits.backends + 1],
    ['actives', limits.backends + 1],
    ['counters', (limits.backends + 1) * paths],
    ['flows4', limits.flows],
    ['flows6', limits.flows],
  ])
}
