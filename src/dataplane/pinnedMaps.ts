/**
 * The maps that all programs share, pinned by name: made by whoever comes first, taken over by
 * everybody after.
 */
import { rmSync } from 'node:fs'
import { BpfError, BpfMap, BpfObject, type Codec } from 'libbpf-ts'
import { FairleadError } from '../errors.js'
import type { Log } from '../host/log.js'
import { removeFormerLinks } from './links.js'
import { checkRecords, LAYOUT_VERSION, readConstants, type Constants } from './layout.js'
import { namesIn, type Pins } from './pins.js'
import { fateOf, fits, Move, Transition, type Fate } from './migration.js'
import { PinSwap } from './pinSwap.js'
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
  slots: 1_048_576,
  vips: 32768,
  ports: 65536,
  flows: 262_144,
}

/** Networks that the names map has room for besides the services. */
export const MAX_NETWORKS = 4096

export class PinnedMaps {
  readonly #maps = new Map<string, KernelMap>()
  #transition: Transition | undefined
  /** By name; of others as the object says. */
  private sizes = new Map<string, number>()

  private constructor(
    readonly pins: Pins,
    readonly constants: Constants,
    /** What is in the ring buffer, which has no layout of its own. */
    readonly flowEvent: Codec,
    /** True when an earlier agent left them. */
    readonly adopted: boolean,
    readonly log: Log,
  ) {}

  /**
   * Maps of another layout or size are replaced by new ones with the same rows. Programs that run
   * go on with the old ones: see `transition`.
   *
   * @param objectFiles the first declares all maps of bpf/maps.h, the others may have more of their
   *                    own; the programs stay unloaded
   * @throws FairleadError LAYOUT when what is pinned cannot be understood
   */
  static async open(
    pins: Pins,
    objectFiles: readonly string[],
    limits: Limits,
    log: Log,
  ): Promise<PinnedMaps> {
    pins.makeDirectories()
    const swap = new PinSwap(pins)
    swap.recover()
    const objects: BpfObject[] = []
    let maps: PinnedMaps | undefined
    try {
      for (const file of objectFiles) objects.push(BpfObject.open(file))
      const [first] = objects
      if (first === undefined) throw new FairleadError('LAYOUT', 'no BPF objects are given')
      checkRecords(first.types)
      const constants = readConstants(first.types)
      const found = namesIn(pins.maps)
      const flowEvent = first.types.struct('flow_event')
      maps = new PinnedMaps(pins, constants, flowEvent, found.includes('layout'), log)
      for (const name of found) maps.#maps.set(name, BpfMap.openPinned(pins.map(name)))
      maps.#checkPinned()
      maps.sizes = mapSizes(maps.#withIds(limits), constants.paths.length)
      await maps.#takeOver(objects, swap)
      return maps
    } catch (error) {
      maps?.close()
      throw error
    } finally {
      for (const object of objects) object.close()
    }
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

  /** There while programs may be using maps that were replaced. */
  get transition(): Transition | undefined {
    return this.#transition
  }

  /** Once every attached program uses the maps that are pinned. */
  async finishTransition(): Promise<void> {
    const transition = this.#transition
    if (transition === undefined) return
    await transition.catchUp()
    await removeFormerLinks(this.pins)
    await transition.finish()
    this.#transition = undefined
    transition.close()
    new PinSwap(this.pins).forget()
  }

  /**
   * Before load: the object's maps are the pinned ones, or get the size asked for.
   *
   * @param own those that stay the object's own
   */
  share(object: BpfObject, own?: ReadonlySet<string>): void {
    for (const [name, map] of object.maps) {
      if (!isShared(name) || map.type === 'prog_array' || own?.has(name)) continue
      const pinned = this.#maps.get(name)
      if (pinned !== undefined) this.#reuse(object, name, pinned)
      else if (this.#sizeOf(name, map) !== map.maxEntries)
        object.resize(name, this.#sizeOf(name, map))
    }
  }

  /**
   * After load: maps that are new are pinned.
   *
   * @param own as for share()
   */
  keep(object: BpfObject, own?: ReadonlySet<string>): void {
    for (const [name, map] of object.maps) {
      if (own?.has(name)) continue
      if (!isShared(name) || this.#maps.has(name) || map.type === 'prog_array') continue
      map.pin(this.pins.map(name))
      this.#maps.set(name, BpfMap.openPinned(this.pins.map(name)))
    }
  }

  close(): void {
    for (const map of this.#maps.values()) map.close()
    this.#transition?.close()
  }

  /** Makes the maps that are not there; replaces those that are otherwise. */
  async #takeOver(objects: readonly BpfObject[], swap: PinSwap): Promise<void> {
    this.#resume(swap.openFormer())
    if (objects.some((object) => this.#fates(object).size > 0)) await this.finishTransition()
    const replaced = new Map<string, { readonly from: KernelMap; readonly fate: Fate }>()
    for (const object of objects) {
      for (const [name, fate] of this.#fates(object)) {
        replaced.set(name, { from: this.get(name), fate })
        this.#maps.delete(name)
      }
      for (const program of object.programs.keys()) object.autoload(program, false)
      this.share(object)
      object.load()
      for (const name of replaced.keys()) {
        if (this.#maps.has(name) || !object.maps.has(name)) continue
        this.#maps.set(name, swap.prepare(name, object.map(name)))
      }
      this.keep(object)
    }
    if (replaced.size > 0) await this.#replace(replaced, swap)
  }

  /** What has to happen to the pinned maps for this object; those that stay are left out. */
  #fates(object: BpfObject): Map<string, Fate> {
    const fates = new Map<string, Fate>()
    for (const [name, wanted] of object.maps) {
      const pinned = this.#maps.get(name)
      if (pinned === undefined || !isShared(name)) continue
      const size = this.#sizeOf(name, wanted)
      const fate = this.#fateOf(pinned, wanted, size)
      if (fate === 'same') continue
      if (fits(pinned, size)) fates.set(name, fate)
      else {
        const kept = { map: name, entries: pinned.maxEntries, asked: size }
        this.log.warn(kept, 'a pinned map keeps its size, because it holds more than was asked for')
        this.sizes.set(name, pinned.maxEntries)
        if (this.#fateOf(pinned, wanted, pinned.maxEntries) !== 'same') fates.set(name, fate)
      }
    }
    return fates
  }

  #fateOf(pinned: KernelMap, wanted: KernelMap, size: number): Fate {
    try {
      return fateOf(pinned, wanted, size)
    } catch (cause) {
      throw cause instanceof FairleadError ? this.#otherLayout(cause.message, cause) : cause
    }
  }

  async #replace(
    replaced: ReadonlyMap<string, { readonly from: KernelMap; readonly fate: Fate }>,
    swap: PinSwap,
  ): Promise<void> {
    const moves: Move[] = []
    const started = performance.now()
    for (const [name, { from, fate }] of replaced) {
      if (typeof fate === 'object') moves.push(new Move(from, this.get(name), fate))
      else if (fate === 'fresh') this.log.warn({ map: name }, 'a replaced map begins empty')
    }
    try {
      for (const move of moves) await move.copyAll()
    } catch (cause) {
      swap.discard()
      throw cause instanceof FairleadError ? this.#otherLayout(cause.message, cause) : cause
    }
    swap.commit()
    this.#transition = new Transition(moves)
    const tookMs = Math.round(performance.now() - started)
    this.log.info({ maps: [...replaced.keys()], tookMs }, 'maps of another layout were taken over')
  }

  /** An agent died between replacing maps and replacing all programs that use them. */
  #resume(former: ReadonlyMap<string, KernelMap>): void {
    if (former.size === 0) return
    const moves: Move[] = []
    for (const [name, from] of former) {
      const to = this.#maps.get(name)
      const fate = to && fateOf(from, to)
      if (to !== undefined && typeof fate === 'object') moves.push(new Move(from, to, fate))
    }
    this.#transition = new Transition(moves)
  }

  /** Flows name services and backends by id, so no id that is in use may become too great. */
  #withIds(limits: Limits): Limits {
    const services = this.#maps.get('services')
    const backends = this.#maps.get('backends')
    let { services: serviceLimit, backends: backendLimit } = limits
    if (services !== undefined && services.maxEntries > serviceLimit)
      for (const id of services.keys())
        if (Number(id) > limits.services) serviceLimit = services.maxEntries
    if (backends !== undefined && !fits(backends, backendLimit + 1))
      backendLimit = backends.maxEntries - 1
    const kept = { ...limits, services: serviceLimit, backends: backendLimit }
    if (serviceLimit !== limits.services || backendLimit !== limits.backends)
      this.log.warn({ asked: limits, kept }, 'maps keep a size, because ids beyond it are in use')
    return kept
  }

  #sizeOf(name: string, declared: KernelMap): number {
    return this.sizes.get(name) ?? declared.maxEntries
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

  #checkPinned(): void {
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

/**
 * Room for a SYN flood's share of a second beside those that are in earnest. A table has the next
 * power of two as its number of buckets: one row beyond such a number halves what every new flow
 * walks.
 */
function embryonicRows({ flows }: Limits): number {
  return Math.max(1024, Math.ceil(flows / 4)) + 1
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
    ['vias', limits.backends + 1],
    ['drains', limits.backends],
    ['entries', limits.flows],
    ['actives', limits.backends + 1],
    ['sock_actives', limits.backends + 1],
    ['inactives', limits.backends + 1],
    ['timers', limits.services + 1],
    ['overloads', limits.backends + 1],
    ['counters', (limits.backends + 1) * paths],
    ['backend_ends', (limits.backends + 1) * paths],
    ['gone_ends', (limits.services + 1) * paths],
    ['retired_ends', (limits.services + 1) * paths],
    ['handshakes', (limits.backends + 2 * limits.services) * paths],
    ['flows4', limits.flows],
    ['flows6', limits.flows],
    ['embryonic4', embryonicRows(limits)],
    ['embryonic6', embryonicRows(limits)],
    ['snats', limits.flows],
    ['embryonic_snats', embryonicRows(limits)],
    ['snat_clients', 2 * limits.flows],
  ])
}
