/**
 * Puts one service into the kernel, or takes it out. Written in the order backends, slots, service,
 * ports, VIPs, and taken out in reverse, so that no row ever names one that is not there. A service
 * is installed whole or stays as it was.
 */
import { FairleadError } from '../errors.js'
import { sameData } from '../model/diff.js'
import { serviceKey, type Family, type Network, type Service } from '../model/types.js'
import { ClaimedTable } from './claims.js'
import type { Ids } from './ids.js'
import { LAYOUT_VERSION, type Constants } from './layout.js'
import type { Outside } from './outside.js'
import type { Pace } from './pace.js'
import type { AddressKey, PortRow, Tables, VipRow } from './records.js'
import type { Retirement } from './retirement.js'
import {
  mergeVips,
  reachableBackends,
  servicePlan,
  type BackendPlan,
  type Fields,
  type PortPlan,
  type ServicePlan,
  type VipPlan,
} from './rows.js'
import type { SlotAllocator, SlotRange } from './slots.js'
import type { HashTable } from './tables.js'

export interface AllIds {
  readonly networks: Ids
  readonly services: Ids
  /** By `backendKey`. */
  readonly backends: Ids
}

export function backendKey(service: number, address: string): string {
  return `${service} ${address}`
}

/** The address of a backend's key. */
export function addressOf(key: string): string {
  return key.slice(key.indexOf(' ') + 1)
}

/** What the kernel holds of one service. */
export interface Installed {
  /** Absent: found in pinned maps, not yet compared with what is wanted. */
  readonly source?: {
    readonly service: Service
    readonly network: Network
    readonly outside: Outside | undefined
  }
  readonly plan: ServicePlan
  readonly range4: SlotRange
  readonly range6: SlotRange
}

type VipPart = Pick<VipPlan, 'flags' | 'service'>
type Undo = (() => void)[]

export class Installer {
  readonly vips: Readonly<Record<Family, ClaimedTable<VipPart, AddressKey, VipRow>>>
  readonly ports: Readonly<Record<Family, ClaimedTable<Fields, AddressKey, PortRow>>>
  readonly installed = new Map<string, Installed>()
  /** What is reached from outside; absent: this node has no edge. */
  outside: Outside | undefined
  #endings = 0
  /** Backends whose flows were ended because they are down; ids. */
  readonly #down = new Set<number>()
  /** Removed services by key, and backends by id, whose rows are still in the kernel. */
  readonly #gone = new Map<string, Installed>()
  readonly #leaving = new Map<number, { readonly plan: BackendPlan; readonly service: number }>()

  /** @param adopted the maps were there before, so a free id may have dirty counters */
  constructor(
    readonly tables: Tables,
    readonly ids: AllIds,
    readonly slots: SlotAllocator,
    readonly retirement: Retirement,
    readonly constants: Constants,
    readonly adopted: boolean,
    /** Name of this node. */
    readonly node = '',
    /** Jiffies in a second. */
    readonly hz = 250,
  ) {
    const { vips, ports } = tables
    this.vips = {
      4: new ClaimedTable(vips[4], mergeVips),
      6: new ClaimedTable(vips[6], mergeVips),
    }
    this.ports = {
      4: new ClaimedTable(ports[4], lowestService),
      6: new ClaimedTable(ports[6], lowestService),
    }
  }

  /** True when the kernel holds this very object: what has not changed costs no more than this. */
  holds(key: string, service: Service, network: Network): boolean {
    const source = this.installed.get(key)?.source
    return (
      source?.service === service && source.network === network && source.outside === this.outside
    )
  }

  /** Grows when flows of a backend have ended by our doing. */
  get endings(): number {
    return this.#endings
  }

  /** True when the kernel holds exactly this; nothing has to be written. */
  isCurrent(service: Service, network: Network): boolean {
    const source = this.installed.get(serviceKey(service))?.source
    if (source === undefined) return false
    if (!sameData(source.outside?.addresses, this.outside?.addresses)) return false
    if (source.service === service && source.network === network) return true
    if (source.network.edge !== network.edge) return false
    return sameData(source.service, service) && sameData(source.network.subnets, network.subnets)
  }

  /**
   * @throws FairleadError MAP_FULL, or what the kernel refused with; what was there stays
   */
  install(service: Service, network: Network): void {
    const key = serviceKey(service)
    this.#recall(key)
    const before = this.installed.get(key)
    const undo: Undo = []
    try {
      const after = this.#write(key, service, network, before, undo)
      this.installed.set(key, after)
      if (before !== undefined) this.#drop(key, before, after)
    } catch (error) {
      rollBack(undo)
      throw error
    }
  }

  /** The kernel hears of it at the next flush. */
  remove(key: string): void {
    const before = this.installed.get(key)
    if (before === undefined) return
    this.installed.delete(key)
    this.#dropClaims(key, before.plan, undefined)
    this.#gone.set(key, before)
  }

  /** Deletes what is not wanted any more, from the VIPs down to the backends. */
  async flush(pace: Pace): Promise<void> {
    for (const table of [this.vips[4], this.vips[6], this.ports[4], this.ports[6]])
      await table.flush(pace)
    for (const [key, before] of this.#gone) {
      this.tables.services.delete(this.tables.services.keyOf(before.plan.id))
      this.#dropSources(before.plan, undefined)
      this.#free(before.range4)
      this.#free(before.range6)
      this.#leave(before.plan, new Set())
      if (this.tables.timers.has(before.plan.id)) this.tables.timers.delete(before.plan.id)
      this.retirement.leaveService(before.plan.id, key)
      this.#gone.delete(key)
      if (pace.due) await pace.rest()
    }
    for (const [id, { plan, service }] of this.#leaving) {
      this.tables.backends.delete(id)
      this.tables.vias.delete(id)
      this.#down.delete(id)
      this.retirement.leaveBackend(id, backendKey(service, plan.address), service)
      this.#endings++
      this.#leaving.delete(id)
      if (pace.due) await pace.rest()
    }
  }

  #leave({ id: service, backends }: ServicePlan, kept: ReadonlySet<number>): void {
    for (const plan of backends)
      if (!kept.has(plan.id)) this.#leaving.set(plan.id, { plan, service })
  }

  /** A service that comes back before its removal reached the kernel is only a changed one. */
  #recall(key: string): void {
    const before = this.#gone.get(key)
    if (before === undefined) return
    this.#gone.delete(key)
    this.installed.set(key, before)
  }

  #write(
    key: string,
    service: Service,
    network: Network,
    before: Installed | undefined,
    undo: Undo,
  ): Installed {
    const networkId = this.ids.networks.get(network.name)
    if (networkId === undefined)
      throw new FairleadError('REFERENCE', `network ${network.name} has no id`)
    const id = this.#takeService(key, undo)
    const backendIds = new Map<string, number>()
    for (const { address } of reachableBackends(service, this.outside))
      backendIds.set(address, this.#takeBackend(id, address, undo))
    const ids = {
      network: networkId,
      service: id,
      node: this.node,
      backend: (address: string) => backendIds.get(address) ?? 0,
    }
    const plan = servicePlan(service, network, ids, this.constants, this.outside)
    this.#writeBackends(plan, undo)
    const range4 = this.#writeRing(plan.ring4, before?.plan.ring4, before?.range4, undo)
    const range6 = this.#writeRing(plan.ring6, before?.plan.ring6, before?.range6, undo)
    this.#writeSources(plan, undo)
    this.#writeTimers(id, service, undo)
    this.#writeService(plan, range4, range6, undo)
    for (const { family, key: row, value } of plan.ports) {
      const table = this.ports[family]
      undo.push(table.claim(table.table.keyOf(row), key, value))
    }
    for (const [row, { family, part }] of this.#vipParts(plan.vips)) {
      undo.push(this.vips[family].claim(row, key, part))
    }
    return { source: { service, network, outside: this.outside }, plan, range4, range6 }
  }

  #takeService(key: string, undo: Undo): number {
    const known = this.ids.services.get(key)
    const id = this.ids.services.take(key)
    if (id === undefined) throw idsExhausted('services', this.ids.services)
    this.retirement.keepService(id)
    if (known === undefined) {
      undo.push(() => this.ids.services.release(key))
      if (this.adopted) this.retirement.clearService(id)
    }
    const row = this.tables.names.keyOf({ kind: this.constants.name.service, id })
    const named = this.tables.names.has(row)
    this.tables.names.put(row, { text: key })
    if (!named) undo.push(() => this.tables.names.delete(row))
    return id
  }

  #takeBackend(service: number, address: string, undo: Undo): number {
    const key = backendKey(service, address)
    const known = this.ids.backends.get(key)
    const id = this.ids.backends.take(key)
    if (id === undefined) throw idsExhausted('backends', this.ids.backends)
    this.retirement.keepBackend(id)
    this.#leaving.delete(id)
    if (known !== undefined) return id
    undo.push(() => this.ids.backends.release(key))
    if (this.adopted) this.retirement.clearBackend(id)
    return id
  }

  #writeBackends(plan: ServicePlan, undo: Undo): void {
    const { backends } = this.tables
    const renewed = plan.backends.filter(
      ({ id, down }) => !backends.has(id) || (down && !this.#down.has(id)),
    )
    let incarnation = this.#reserveIncarnations(renewed.length)
    for (const backend of plan.backends) {
      this.#writeVia(backend, undo)
      const before = backends.get(backend.id)
      const wasDown = this.#down.has(backend.id)
      const renew = before === undefined || (backend.down && !wasDown)
      backends.put(backend.id, {
        addr: backend.words,
        service: plan.id,
        incarnation: renew ? ++incarnation : before.incarnation,
        flags: backend.flags,
        weight: backend.weight,
      })
      if (renew && before !== undefined) {
        this.retirement.clearActive(backend.id)
        this.#endings++
      }
      setMembership(this.#down, backend.id, backend.down)
      undo.push(() => {
        setMembership(this.#down, backend.id, wasDown)
        if (before === undefined) backends.delete(backend.id)
        else backends.put(backend.id, before)
      })
    }
  }

  #writeVia({ id, via }: BackendPlan, undo: Undo): void {
    const { vias } = this.tables
    const before = vias.get(id)
    if (via.kind !== this.constants.via.here) vias.put(id, { addr: via.words, kind: via.kind })
    else if (before !== undefined) vias.delete(id)
    undo.push(() => {
      if (before === undefined) vias.delete(id)
      else vias.put(id, before)
    })
  }

  /** Written before the rows that use them: an agent that dies between hands none out twice. */
  #reserveIncarnations(count: number): number {
    const last = this.tables.layout.get(0)
    const from = last?.incarnation ?? 0
    if (count > 0)
      this.tables.layout.put(0, { version: LAYOUT_VERSION, incarnation: (from + count) >>> 0 })
    return from
  }

  #writeRing(
    ring: readonly number[],
    ringBefore: readonly number[] | undefined,
    rangeBefore: SlotRange | undefined,
    undo: Undo,
  ): SlotRange {
    if (rangeBefore !== undefined && ringBefore !== undefined && sameData(ring, ringBefore))
      return rangeBefore
    const range = this.slots.take(ring.length)
    if (range === undefined)
      throw new FairleadError(
        'MAP_FULL',
        `map slots (${this.slots.size} entries, ${this.slots.used} in use) has no room for ${ring.length} more`,
      )
    undo.push(() => this.#free(range))
    this.tables.slots.put(range.start, ring)
    this.tables.slots.watch(range.start, range.length, true)
    return range
  }

  #writeSources(plan: ServicePlan, undo: Undo): void {
    const { sources } = this.tables
    for (const { key, value } of plan.sources) {
      const row = sources.keyOf(key)
      const before = sources.get(row)
      sources.put(row, value)
      undo.push(() => {
        if (before === undefined) sources.delete(row)
        else sources.put(row, before)
      })
    }
  }

  #dropSources(before: ServicePlan, after: ServicePlan | undefined): void {
    const { sources } = this.tables
    const kept = new Set(after?.sources.map(({ key }) => sources.keyOf(key)))
    for (const { key } of before.sources) {
      const row = sources.keyOf(key)
      if (!kept.has(row)) sources.delete(row)
    }
  }

  #writeService(plan: ServicePlan, range4: SlotRange, range6: SlotRange, undo: Undo): void {
    const { services } = this.tables
    const row = services.keyOf(plan.id)
    const before = services.get(row)
    services.put(row, {
      ring4: range4.start,
      slots4: range4.length,
      ring6: range6.start,
      slots6: range6.length,
      algorithm: plan.algorithm,
      ...plan.policy,
    })
    undo.push(() => {
      if (before === undefined) services.delete(row)
      else services.put(row, before)
    })
  }

  /** No row is as good as one of zeros: the defaults. */
  #writeTimers(id: number, { timeouts = {} }: Service, undo: Undo): void {
    const { timers } = this.tables
    const before = timers.get(id)
    const jiffies = (seconds = 0) => Math.round(seconds * this.hz)
    const row = {
      syn_jiffies: jiffies(timeouts.synSeconds),
      established_jiffies: jiffies(timeouts.establishedSeconds),
      closing_jiffies: jiffies(timeouts.closingSeconds),
      udp_jiffies: jiffies(timeouts.udpSeconds),
    }
    if (Object.values(row).some((value) => value > 0)) timers.put(id, row)
    else if (before !== undefined) timers.delete(id)
    undo.push(() => {
      if (before !== undefined) timers.put(id, before)
      else if (timers.has(id)) timers.delete(id)
    })
  }

  /** One part a row: an address may be VIP and backend of the same service. */
  #vipParts(vips: readonly VipPlan[]): Map<string, { family: Family; part: VipPart }> {
    const rows = new Map<string, { family: Family; part: VipPart }>()
    for (const { family, key, flags, service } of vips) {
      const row = this.vips[family].table.keyOf(key)
      const other = rows.get(row)?.part
      const part = other === undefined ? { flags, service } : mergeVips([other, { flags, service }])
      rows.set(row, { family, part })
    }
    return rows
  }

  #drop(key: string, before: Installed, after: Installed): void {
    this.#dropClaims(key, before.plan, after.plan)
    this.#dropSources(before.plan, after.plan)
    if (before.range4 !== after.range4) this.#free(before.range4)
    if (before.range6 !== after.range6) this.#free(before.range6)
    this.#leave(before.plan, new Set(after.plan.backends.map(({ id }) => id)))
  }

  #dropClaims(key: string, before: ServicePlan, after: ServicePlan | undefined): void {
    const keepPorts = this.#rowsOf(this.ports, after?.ports ?? [])
    for (const [row, family] of this.#rowsOf(this.ports, before.ports))
      if (!keepPorts.has(row)) this.ports[family].drop(row, key)
    const keepVips = this.#rowsOf(this.vips, after?.vips ?? [])
    for (const [row, family] of this.#rowsOf(this.vips, before.vips))
      if (!keepVips.has(row)) this.vips[family].drop(row, key)
  }

  /** Keys of both families differ in length, so one map can hold them. */
  #rowsOf(
    tables: Readonly<Record<Family, { readonly table: Pick<HashTable, 'keyOf'> }>>,
    plans: readonly (PortPlan | VipPlan)[],
  ): Map<string, Family> {
    return new Map(plans.map(({ family, key }) => [tables[family].table.keyOf(key), family]))
  }

  #free(range: SlotRange): void {
    this.slots.release(range)
    this.tables.slots.watch(range.start, range.length, false)
  }
}

function setMembership(set: Set<number>, id: number, member: boolean): void {
  if (member) set.add(id)
  else set.delete(id)
}

/** Two services on one port are the model's to refuse; should they come, the lower id has it. */
function lowestService(parts: Fields[]): Fields {
  return parts.reduce((a, b) => ((b['service'] ?? 0) < (a['service'] ?? 0) ? b : a))
}

function idsExhausted(map: string, ids: Ids): FairleadError {
  return new FairleadError('MAP_FULL', `map ${map} is full (${ids.last} entries)`)
}

function rollBack(undo: Undo): void {
  for (const step of undo.reverse()) {
    try {
      step()
    } catch {
      // The shadow says what the kernel has, and the next try starts from there.
    }
  }
}
