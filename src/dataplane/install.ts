/**
 * Puts one service into the kernel, or takes it out. Written in the order backends, slots, service,
 * ports, VIPs, and taken out in reverse, so that no row ever names one that is not there. A service
 * is installed whole or stays as it was.
 */
import { FairleadError } from '../errors.js'
import { sameData } from '../model/diff.js'
import { serviceKey, type Family, type Network, type Service } from '../model/types.js'
import type { Value } from 'libbpf-ts'
import { ClaimedTable, type Claim, type Taken } from './claims.js'
import type { Drains } from './drains.js'
import type { BackendIds, Ids } from './ids.js'
import { LAYOUT_VERSION, type Constants } from './layout.js'
import { NO_VIA, sourcesOf, type Outside, type ViaPlan } from './outside.js'
import type { Pace } from '../pace.js'
import type { AddressKey, PortRow, Tables, VipRow } from './records.js'
import type { Retirement } from './retirement.js'
import {
  mergeVips,
  reachableBackends,
  servicePlan,
  withLingering,
  type BackendPlan,
  type Fields,
  type PortPlan,
  type ServicePlan,
  type VipPlan,
} from './rows.js'
import type { SlotAllocator, SlotRange } from './slots.js'

export interface AllIds {
  readonly networks: Ids
  readonly services: Ids
  readonly backends: BackendIds
}

/** What the kernel holds of one service. */
export interface Installed {
  /** Absent: found in pinned maps, not yet compared with what is wanted. */
  readonly source?: {
    readonly service: Service
    readonly network: Network
    readonly outside: Outside | undefined
  }
  readonly id: number
  readonly backends: readonly BackendPlan[]
  /** Backend ids in the order of the slots. */
  readonly ring4: readonly number[]
  readonly ring6: readonly number[]
  readonly range4: SlotRange
  readonly range6: SlotRange
  /** Rows of the tables. */
  readonly vips: FamilyRows
  readonly ports: FamilyRows
  readonly sources: readonly number[]
}

export type FamilyRows = Readonly<Record<Family, readonly number[]>>

type VipPart = Pick<VipPlan, 'flags' | 'service'>
type Undo = (() => void)[]

export class Installer {
  readonly vips: Readonly<Record<Family, ClaimedTable<VipPart, AddressKey, VipRow>>>
  readonly ports: Readonly<Record<Family, ClaimedTable<Fields, AddressKey, PortRow>>>
  readonly installed = new Map<string, Installed>()
  /** What is reached from outside; absent: this node has no edge. */
  outside: Outside | undefined
  #endings = 0
  #turn = 0
  /** Backends whose flows were ended because they are down; ids. */
  readonly #down = new Set<number>()
  /** Removed services by key, and backends by id with their service's, whose rows are still there. */
  readonly #gone = new Map<string, Installed>()
  readonly #leaving = new Map<number, number>()

  /** @param adopted the maps were there before, so a free id may have dirty counters */
  constructor(
    readonly tables: Tables,
    readonly ids: AllIds,
    readonly slots: SlotAllocator,
    readonly retirement: Retirement,
    readonly constants: Constants,
    readonly adopted: boolean,
    readonly drains: Drains,
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

  /** Services with a backend whose flows are to end now have to be installed anew. Are there any? */
  expireDrains(): boolean {
    const due = this.drains.due()
    for (const key of due) {
      const { source, ...held } = this.installed.get(key) ?? {}
      if (source !== undefined) this.installed.set(key, held as Installed)
    }
    return due.size > 0
  }

  /** True when the kernel holds exactly this; nothing has to be written. */
  isCurrent(service: Service, network: Network): boolean {
    const source = this.installed.get(serviceKey(service))?.source
    if (source === undefined) return false
    if (!sameData(source.outside?.addresses, this.outside?.addresses)) return false
    if (!sameData(sourcesOf(source.service, source.outside), sourcesOf(service, this.outside)))
      return false
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
    this.#dropClaims(key, before, undefined)
    this.#gone.set(key, before)
  }

  /** Deletes what is not wanted any more, from the VIPs down to the backends. */
  async flush(pace: Pace): Promise<void> {
    for (const table of [this.vips[4], this.vips[6], this.ports[4], this.ports[6]])
      await table.flush(pace)
    for (const [key, before] of this.#gone) {
      const { services, timers } = this.tables
      services.delete(services.find(before.id))
      this.#dropSources(before, undefined)
      this.#free(before.range4)
      this.#free(before.range6)
      this.#leave(before, undefined)
      if (timers.has(before.id)) timers.delete(before.id)
      this.retirement.leaveService(before.id, key)
      this.#gone.delete(key)
      if (pace.due) await pace.rest()
    }
    for (const [id, service] of this.#leaving) {
      this.tables.backends.delete(id)
      this.tables.vias.delete(id)
      this.drains.forget(id)
      this.#down.delete(id)
      this.retirement.leaveBackend(id, service)
      this.#endings++
      this.#leaving.delete(id)
      if (pace.due) await pace.rest()
    }
  }

  #leave(before: Installed, after: Installed | undefined): void {
    const kept = new Set(after?.backends.map(({ id }) => id))
    for (const { id } of before.backends) if (!kept.has(id)) this.#leaving.set(id, before.id)
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
    const backends = reachableBackends(service, this.outside)
    for (const { address } of backends) this.#takeBackend(id, address, undo)
    const backendIds = this.ids.backends.of(id)
    const ids = {
      network: networkId,
      service: id,
      node: this.node,
      backend: (address: string) => backendIds?.get(address) ?? 0,
    }
    const wanted = servicePlan(service, network, ids, this.constants, this.outside, backends)
    const lingering = this.#lingering(before, service, wanted)
    const plan = withLingering(wanted, lingering, networkId, this.constants)
    this.#writeBackends(plan, key, service, undo)
    const range4 = this.#writeRing(plan.ring4, before?.ring4, before?.range4, undo)
    const range6 = this.#writeRing(plan.ring6, before?.ring6, before?.range6, undo)
    const sources = this.#writeSources(plan, undo)
    this.#writeTimers(id, service, undo)
    this.#writeService(plan, range4, range6, undo)
    const ports = this.#claimPorts(key, plan.ports, undo)
    const vips = this.#claimVips(key, plan.vips, undo)
    return {
      source: { service, network, outside: this.outside },
      id,
      backends: plan.backends,
      ...{ ring4: plan.ring4, ring6: plan.ring6, range4, range6, vips, ports, sources },
    }
  }

  #takeService(key: string, undo: Undo): number {
    const known = this.ids.services.get(key)
    const id = known ?? this.ids.services.take(key)
    if (id === undefined) throw idsExhausted('services', this.ids.services)
    this.retirement.keepService(id)
    if (known === undefined) {
      undo.push(() => this.ids.services.release(key))
      if (this.adopted) this.retirement.clearService(id)
    }
    const { names } = this.tables
    const row = names.put({ kind: this.constants.name.service, id }, { text: key })
    if (known === undefined) undo.push(() => names.delete(row))
    return id
  }

  #takeBackend(service: number, address: string, undo: Undo): void {
    const { backends } = this.ids
    const known = backends.get(service, address)
    if (known !== undefined) {
      this.retirement.keepBackend(known)
      this.#leaving.delete(known)
      return
    }
    const id = backends.add(service, address)
    if (id === undefined) throw idsExhausted('backends', backends)
    undo.push(() => backends.release(id))
    if (this.adopted) this.retirement.clearBackend(id)
  }

  /** Backends that the service has lost, but whose flows may go on for a while. */
  #lingering(
    before: Installed | undefined,
    service: Service,
    { backends: wanted }: ServicePlan,
  ): BackendPlan[] {
    const seconds = this.drains.secondsOf(service)
    if (before === undefined || seconds === undefined || seconds === 0) return []
    const kept = new Set(wanted.map(({ id }) => id))
    return before.backends.flatMap((backend) => {
      const { id } = backend
      const row = kept.has(id) ? undefined : this.tables.backends.get(id)
      if (row === undefined || !this.drains.mayLinger(backend, row.incarnation, seconds)) return []
      // A backend that was adopted knows only its row.
      const via = this.tables.vias.get(id)
      return { ...backend, via: via === undefined ? NO_VIA : { words: via.addr, kind: via.kind } }
    })
  }

  #writeBackends(plan: ServicePlan, key: string, service: Service, undo: Undo): void {
    const { backends } = this.tables
    const seconds = this.drains.secondsOf(service)
    const renewed = new Set(plan.backends.filter((backend) => this.#isRenewed(backend, seconds)))
    let incarnation = this.#reserveIncarnations(renewed.size)
    // One step back for all of them: most often a service's backends are all new.
    const fresh: number[] = []
    undo.push(() => {
      for (const id of fresh) {
        this.#down.delete(id)
        backends.delete(id)
      }
    })
    for (const backend of plan.backends) {
      this.#writeVia(backend, undo)
      const before = backends.get(backend.id)
      const wasDown = this.#down.has(backend.id)
      const row = {
        addr: backend.words,
        service: plan.id,
        incarnation: renewed.has(backend) ? ++incarnation : (before?.incarnation ?? 0),
        flags: backend.flags,
        weight: backend.weight,
      }
      backends.put(backend.id, row)
      if (renewed.has(backend) && before !== undefined) {
        this.retirement.clearActive(backend.id)
        this.#endings++
      }
      const unfollow = this.drains.follow(backend, row.incarnation, key, seconds)
      if (unfollow !== undefined) undo.push(unfollow)
      setMembership(this.#down, backend.id, backend.down)
      if (before === undefined && !wasDown) fresh.push(backend.id)
      else
        undo.push(() => {
          setMembership(this.#down, backend.id, wasDown)
          if (before === undefined) backends.delete(backend.id)
          else backends.put(backend.id, before)
        })
    }
  }

  /** Whether flows of the backend would be translated otherwise than they began: they end. */
  #changesEnds(id: number, { kind }: ViaPlan): boolean {
    const { here, snat } = this.constants.via
    const before = this.tables.vias.get(id)?.kind ?? here
    return before !== kind && (before === snat || kind === snat)
  }

  /** Is it new, or do all the flows that it has end? */
  #isRenewed({ id, down, draining, via }: BackendPlan, seconds: number | undefined): boolean {
    const { backends } = this.tables
    if (!backends.has(id) || (down && !this.#down.has(id)) || this.#changesEnds(id, via))
      return true
    return draining && this.drains.isOver(id, backends.get(id)?.incarnation ?? 0, seconds)
  }

  #writeVia({ id, via: wanted }: BackendPlan, undo: Undo): void {
    const { vias } = this.tables
    const before = vias.get(id)
    // Which address is the right one is known a moment after the state; what was right may do.
    const unknown = wanted.kind === this.constants.via.snat && !wanted.words.some(Boolean)
    const via = unknown && before?.kind === wanted.kind ? { ...wanted, words: before.addr } : wanted
    if (before === undefined && via.kind === this.constants.via.here) return
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

  #writeSources(plan: ServicePlan, undo: Undo): number[] {
    const { sources } = this.tables
    return plan.sources.map(({ key, value }) => {
      const before = sources.get(sources.find(key))
      const row = sources.put(key, value)
      undo.push(() => {
        if (before === undefined) sources.delete(row)
        else sources.putAt(row, before)
      })
      return row
    })
  }

  #dropSources(before: Installed, after: Installed | undefined): void {
    for (const row of before.sources)
      if (after?.sources.includes(row) !== true) this.tables.sources.delete(row)
  }

  #writeService(plan: ServicePlan, range4: SlotRange, range6: SlotRange, undo: Undo): void {
    const { services } = this.tables
    const before = services.get(services.find(plan.id))
    const row = services.put(plan.id, {
      ring4: range4.start,
      slots4: range4.length,
      ring6: range6.start,
      slots6: range6.length,
      algorithm: plan.algorithm,
      ...plan.policy,
    })
    undo.push(() => {
      if (before === undefined) services.delete(row)
      else services.putAt(row, before)
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
      resets: timeouts.reset === true ? 1 : 0,
    }
    if (Object.values(row).some((value) => value > 0)) timers.put(id, row)
    else if (before !== undefined) timers.delete(id)
    undo.push(() => {
      if (before !== undefined) timers.put(id, before)
      else if (timers.has(id)) timers.delete(id)
    })
  }

  #claimPorts(owner: string, ports: readonly PortPlan[], undo: Undo): FamilyRows {
    const taken = takenOf(this.ports, owner, undo)
    const turn = ++this.#turn
    for (const { family, key, value } of ports)
      this.ports[family].claim(key, { owner, part: value, turn }, taken[family])
    return { 4: taken[4].rows, 6: taken[6].rows }
  }

  /** An address may be there twice: of this node, and as a VIP that is seen from outside. */
  #claimVips(owner: string, vips: readonly VipPlan[], undo: Undo): FamilyRows {
    const taken = takenOf(this.vips, owner, undo)
    const turn = ++this.#turn
    let claim: Claim<VipPart> | undefined
    for (const { family, key, flags, service } of vips) {
      if (claim?.part.flags !== flags || claim.part.service !== service)
        claim = { owner, part: { flags, service }, turn }
      this.vips[family].claim(key, claim, taken[family])
    }
    return { 4: taken[4].rows, 6: taken[6].rows }
  }

  #drop(key: string, before: Installed, after: Installed): void {
    this.#dropClaims(key, before, after)
    this.#dropSources(before, after)
    if (before.range4 !== after.range4) this.#free(before.range4)
    if (before.range6 !== after.range6) this.#free(before.range6)
    this.#leave(before, after)
  }

  #dropClaims(key: string, before: Installed, after: Installed | undefined): void {
    for (const family of [4, 6] as const) {
      dropRows(this.ports[family], key, before.ports[family], after?.ports[family])
      dropRows(this.vips[family], key, before.vips[family], after?.vips[family])
    }
  }

  #free(range: SlotRange): void {
    this.slots.release(range)
    this.tables.slots.watch(range.start, range.length, false)
  }
}

/** What will be claimed of both families; one step back for all of it. */
function takenOf<Part extends Value>(
  tables: Readonly<Record<Family, Pick<ClaimedTable<Part>, 'giveBack'>>>,
  owner: string,
  undo: Undo,
): Readonly<Record<Family, Taken<Part>>> {
  const taken = {
    4: { rows: [], before: new Map<number, Claim<Part>>() },
    6: { rows: [], before: new Map<number, Claim<Part>>() },
  }
  undo.push(() => {
    tables[6].giveBack(owner, taken[6])
    tables[4].giveBack(owner, taken[4])
  })
  return taken
}

function dropRows(
  table: Pick<ClaimedTable<VipPart>, 'drop'>,
  owner: string,
  before: readonly number[],
  after: readonly number[] | undefined,
): void {
  const kept = new Set(after)
  for (const row of before) if (!kept.has(row)) table.drop(row, owner)
}

function setMembership(set: Set<number>, id: number, member: boolean): void {
  if (member) set.add(id)
  else set.delete(id)
}

/** Two services on one port are the model's to refuse; should they come, the lower id has it. */
function lowestService(parts: Fields[]): Fields {
  return parts.reduce((a, b) => ((b['service'] ?? 0) < (a['service'] ?? 0) ? b : a))
}

function idsExhausted(map: string, ids: { readonly last: number }): FairleadError {
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
