/**
 * Makes the kernel's maps say what the state says, and keeps them so. Level-triggered: each cycle
 * goes from what the kernel holds to the newest state, whatever came between, and writes only rows
 * that differ. It alone retries map writes.
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { Value } from 'libbpf-ts'
import { FairleadError, type ErrorCode } from '../errors.js'
import type { Log } from '../host/log.js'
import { toWords } from '../model/address.js'
import type { ReconcileStats } from '../model/readback.js'
import { replacements } from '../model/sharedMap.js'
import { serviceKey, type Network, type Problem, type Service, type State } from '../model/types.js'
import { deleteOrphans } from './adopt.js'
import type { HashTable } from './hashTable.js'
import type { Installer } from './install.js'
import type { Outside } from './outside.js'
import { Pace } from '../pace.js'
import { reasonOf } from '../reason.js'
import { tablesInOrder } from './records.js'
import { hasRows } from './rows.js'
import type { Sweepable } from './tables.js'

const MIN_BACKOFF_MS = 250
const MAX_BACKOFF_MS = 30_000

/** Network name → cookies of the namespaces whose sockets are balanced. */
export type SocketScopes = ReadonlyMap<string, readonly bigint[]>

export interface ReconcilerOptions {
  readonly sweepIntervalMs: number
  /** All that does not fit at present; called when that has changed. */
  readonly onProblems: (problems: readonly Problem[]) => void
  /** Backends have left, or are down, and the kernel knows. */
  readonly onEndings?: () => void
  /** A cycle has ended, well or not. */
  readonly onCycle?: (seconds: number) => void
  /**
   * Nothing is written before setOutside(): rows that an earlier agent left for the edge would go,
   * and come back a moment later.
   */
  readonly awaitsOutside?: boolean
  readonly log: Log
}

export class Reconciler {
  readonly #installer: Installer
  readonly #options: ReconcilerOptions
  readonly #networksPerNetns: number
  #state: State | undefined
  /** Absent: not known yet, so what an earlier agent wrote stays. */
  #scopes: SocketScopes | undefined
  #running: Promise<void> | undefined
  /** Apart from `running`, which is still set for a while after the last look at `dirty`. */
  #active = false
  /** When the cycle that is under way began, by performance.now(). */
  #cycleSince: number | undefined
  #dirty = false
  #timer: NodeJS.Timeout | undefined
  #backoffMs = MIN_BACKOFF_MS
  /** By performance.now(); Infinity: nothing was refused, or a sweep is under way. */
  #nextTry = Infinity
  #nextSweep: number
  #sweeping: Promise<void> | undefined
  #pruned: boolean
  #closed = false
  readonly #leaving = new AbortController()
  /** What the kernel holds in full; absent while it may not. */
  #inForce: { readonly state: State; readonly outside: Outside | undefined } | undefined
  readonly #failed = new Map<string, Problem>()
  #told = '[]'
  #endings = -1
  #waiting: { readonly revision: number; readonly resolve: () => void }[] = []
  #stats = { revision: 0, cycles: 0, failures: 0, repaired: 0, lastDurationSeconds: 0 }
  #lastError: string | undefined

  /** @param installer with what was pinned already adopted */
  constructor(installer: Installer, options: ReconcilerOptions, networksPerNetns = 8) {
    this.#installer = installer
    this.#options = options
    this.#networksPerNetns = networksPerNetns
    this.#pruned = !installer.adopted
    this.#nextSweep = performance.now() + options.sweepIntervalMs
  }

  /** Returns at once; only the newest state is put in force. */
  apply(state: State): void {
    this.#state = state
    this.#wake()
  }

  setSockets(scopes: SocketScopes): void {
    this.#scopes = scopes
    this.#wake()
  }

  /** What is known of this node's edge. */
  setOutside(outside: Outside): void {
    this.#installer.outside = outside
    this.#wake()
  }

  /** Resolves when the kernel holds `revision` or a later one, as far as it fits. */
  async settled(revision: number): Promise<void> {
    if (this.#stats.revision >= revision) return
    await new Promise<void>((resolve) => this.#waiting.push({ revision, resolve }))
  }

  /** Resolves when no state is being put in force; a retry may be waiting, or a sweep under way. */
  async idle(): Promise<void> {
    while (this.#active) await this.#running
  }

  /** For how long the cycle that is under way has been; 0 between two. */
  get busyMs(): number {
    return this.#cycleSince === undefined ? 0 : performance.now() - this.#cycleSince
  }

  get stats(): ReconcileStats {
    return {
      ...this.#stats,
      ...(this.#lastError !== undefined && { lastError: this.#lastError }),
    }
  }

  /** Writes to agent-written maps since the start. */
  get writes(): number {
    return this.#tables.reduce((total, { writes }) => total + writes, 0)
  }

  /**
   * Ends the cycle that is under way between two services: what is in the kernel is whole, and the
   * next agent goes on from there. What has counted is saved.
   */
  async close(): Promise<void> {
    this.#closed = true
    this.#leaving.abort()
    clearTimeout(this.#timer)
    await this.idle()
    await this.#sweeping
    for (const { resolve } of this.#waiting.splice(0)) resolve()
    this.#finishLeaving(true)
    this.#flush()
  }

  #wake(): void {
    if (this.#closed) return
    if (this.#options.awaitsOutside === true && this.#installer.outside === undefined) return
    this.#dirty = true
    if (this.#active) return
    this.#active = true
    this.#running = this.#run()
  }

  async #run(): Promise<void> {
    while (this.#dirty && !this.#closed) {
      this.#dirty = false
      const state = this.#state
      if (state === undefined) break
      const started = performance.now()
      this.#cycleSince = started
      let error: unknown
      try {
        await this.#cycle(state)
        this.#tellEndings()
      } catch (caught) {
        if (caught === this.#leaving.signal.reason) break
        error = caught
        this.#options.log.error({ err: caught }, 'reconciling failed, will be tried again')
      } finally {
        this.#cycleSince = undefined
      }
      this.#account(state, started, error)
    }
    this.#active = false
  }

  #account(state: State, started: number, error: unknown): void {
    const stats = this.#stats
    stats.cycles++
    stats.lastDurationSeconds = (performance.now() - started) / 1000
    this.#options.onCycle?.(stats.lastDurationSeconds)
    const refused = error ?? this.#failed.values().next().value?.reason
    if (refused === undefined) {
      this.#lastError = undefined
      this.#backoffMs = MIN_BACKOFF_MS
    } else {
      stats.failures++
      this.#lastError = reasonOf(refused)
    }
    if (error === undefined) {
      stats.revision = state.revision
      this.#tell()
      const done = this.#waiting.filter(({ revision }) => revision <= stats.revision)
      this.#waiting = this.#waiting.filter(({ revision }) => revision > stats.revision)
      for (const { resolve } of done) resolve()
    }
    this.#nextTry = Infinity
    if (refused !== undefined) {
      this.#nextTry = performance.now() + this.#backoffMs
      this.#backoffMs = Math.min(this.#backoffMs * 2, MAX_BACKOFF_MS)
    }
    if (performance.now() >= this.#nextSweep) this.#sweeping = this.#sweep()
    this.#schedule()
  }

  /** The next cycle without a new state: a retry, ids to give back, or a sweep. */
  #schedule(): void {
    clearTimeout(this.#timer)
    const now = performance.now()
    const leaving = now + (this.#installer.retirement.dueMs ?? Infinity)
    const drained = now + (this.#installer.drains.dueMs ?? Infinity)
    const next = Math.min(this.#nextSweep, this.#nextTry, leaving, drained)
    if (next === Infinity || this.#closed) return
    this.#timer = setTimeout(() => this.#wake(), Math.max(1, next - now))
  }

  async #cycle(state: State): Promise<void> {
    const installer = this.#installer
    // It may become another one meanwhile, and then what was written before has to be looked at again.
    const { outside } = installer
    this.#failed.clear()
    installer.slots.nextCycle()
    this.#finishLeaving(false)
    if (installer.expireDrains()) this.#inForce = undefined
    this.#takeNetworks(state)
    this.#writeTunnels(state)
    const pace = new Pace(this.#leaving.signal)
    const wanted = this.#replaced(state) ?? (await this.#compared(state, pace))
    this.#inForce = undefined
    const refused = await this.#install(wanted, state, pace)
    await installer.flush(pace)
    this.#flush()
    // What has left may have made room.
    if (refused.length > 0) {
      await this.#install(refused, state, pace)
      await installer.flush(pace)
    }
    this.#writeScopes(state)
    this.#dropNetworks(state)
    if (!this.#pruned) {
      deleteOrphans(installer)
      this.#pruned = true
    }
    this.#flush()
    if (this.#failed.size === 0) this.#inForce = { state, outside }
  }

  /** The services that differ from the state in force, if the same ones are there. */
  #replaced({ services, networks }: State): Service[] | undefined {
    const { state, outside } = this.#inForce ?? {}
    if (state === undefined || outside !== this.#installer.outside) return undefined
    if (state.networks !== networks) return undefined
    const replaced = replacements(state.services, services)
    // One that has rows only now, or no longer, is not just another one.
    const alike = replaced?.every(({ before, after }) =>
      [before, after].every((service) => hasRows(service, outside)),
    )
    return alike === true ? replaced?.map(({ after }) => after) : undefined
  }

  /** Removes the services that are not in the state; returns those that may have to be written. */
  async #compared(state: State, pace: Pace): Promise<Service[]> {
    const installer = this.#installer
    for (const key of installer.installed.keys()) {
      const service = state.services.get(key)
      if (service !== undefined && hasRows(service, installer.outside)) continue
      installer.remove(key)
      if (pace.due) await pace.rest()
    }
    const wanted: Service[] = []
    for (const [key, service] of state.services) {
      const network = state.networks.get(service.network)
      const same = network !== undefined && installer.holds(key, service, network)
      if (!same && hasRows(service, installer.outside)) wanted.push(service)
    }
    return wanted
  }

  /** @returns the services that the kernel refused */
  async #install(services: readonly Service[], state: State, pace: Pace): Promise<Service[]> {
    const refused: Service[] = []
    for (const service of services) {
      const network = state.networks.get(service.network)
      const key = serviceKey(service)
      try {
        if (network === undefined)
          throw new FairleadError('REFERENCE', `there is no network ${service.network}`)
        this.#failed.delete(key)
        if (this.#installer.isCurrent(service, network)) continue
        this.#installer.install(service, network)
      } catch (error) {
        refused.push(service)
        this.#failed.set(key, problem(`service ${key}`, error))
      }
      if (!pace.due) continue
      this.#flushWrites()
      await pace.rest()
    }
    this.#flushWrites()
    return refused
  }

  #takeNetworks(state: State): void {
    for (const name of state.networks.keys()) {
      try {
        takeNetwork(this.#installer, name)
      } catch (error) {
        this.#failed.set(`network ${name}`, problem(`network ${name}`, error))
      }
    }
  }

  #writeTunnels({ networks }: State): void {
    const { tables, outside } = this.#installer
    // Without an edge there are no tunnels; before it has been seen an earlier agent's go on.
    if (outside === undefined) return
    const tunnels = [...networks.values()].flatMap((network) => network.tunnels ?? [])
    const peers = [...outside.peers, ...tunnels.flatMap((each) => each.peers)]
    const one = peers.map((peer): [string, Value] => [peer, 1])
    const aliases = tunnels.flatMap((each) => each.aliases)
    const here = aliases.map(({ alias, address }): [string, Value] => [
      alias,
      { addr: [...toWords(address)] },
    ])
    for (const [name, table, rows] of [
      ['peers', tables.peers, one],
      ['aliases', tables.aliases, here],
    ] as const)
      try {
        replaceByAddress(table, rows)
      } catch (error) {
        this.#failed.set(name, problem(`map ${name}`, error))
      }
  }

  #dropNetworks(state: State): void {
    const { ids, tables, constants } = this.#installer
    for (const [name, id] of [...ids.networks.entries()]) {
      if (state.networks.has(name)) continue
      tables.names.delete(tables.names.find({ kind: constants.name.network, id }))
      ids.networks.release(name)
    }
  }

  /** Which networks each namespace's sockets see, in the order of the state. */
  #writeScopes(state: State): void {
    const scopes = this.#scopes
    if (scopes === undefined) return
    const { tables, ids } = this.#installer
    const byCookie = new Map<bigint, number[]>()
    for (const name of state.networks.keys()) {
      const id = ids.networks.get(name)
      for (const cookie of scopes.get(name) ?? []) {
        const networks = byCookie.get(cookie) ?? []
        if (id !== undefined && !networks.includes(id)) networks.push(id)
        byCookie.set(cookie, networks)
      }
    }
    const { netnses } = tables
    for (const row of netnses.rows()) if (!byCookie.has(netnses.keyAt(row))) netnses.delete(row)
    for (const [cookie, networks] of byCookie) this.#writeScope(cookie, networks)
  }

  #writeScope(cookie: bigint, networks: readonly number[]): void {
    const { netnses } = this.#installer.tables
    const item = `netns ${cookie}`
    const slots = this.#networksPerNetns
    try {
      const padded = Array.from({ length: slots }, (_, i) => networks[i] ?? 0)
      netnses.put(cookie, { networks: padded })
      if (networks.length > slots)
        throw new FairleadError(
          'VALUE',
          `${networks.length} networks claim its sockets; only the first ${slots} are seen`,
        )
    } catch (error) {
      this.#failed.set(item, problem(item, error))
    }
  }

  #finishLeaving(all: boolean): void {
    const { retirement, ids, tables, constants } = this.#installer
    for (const { id, key } of retirement.finish(all)) {
      tables.names.delete(tables.names.find({ kind: constants.name.service, id }))
      ids.services.release(key)
    }
  }

  /** Between its steps states are put in force: none of them waits for all of it. */
  async #sweep(): Promise<void> {
    this.#nextSweep = Infinity
    try {
      for (const table of this.#tables) {
        const steps = table.sweep()
        for (;;) {
          await breathe()
          await this.idle()
          if (this.#closed) return
          const step = steps.next()
          if (step.done === true) break
          this.#stats.repaired += step.value
        }
      }
      this.#nextSweep = performance.now() + this.#options.sweepIntervalMs
    } catch (error) {
      this.#options.log.error({ err: error }, 'sweeping failed, will be tried again')
      this.#stats.failures++
      this.#lastError = reasonOf(error)
      this.#nextSweep = performance.now() + MIN_BACKOFF_MS
    }
    this.#schedule()
  }

  #flush(): void {
    this.#flushWrites()
    for (const table of [...this.#tables].reverse()) table.flushDeletes()
  }

  /** In the order of writing, so that no row ever names one that is not there. */
  #flushWrites(): void {
    for (const table of this.#tables) table.flushWrites()
  }

  /** In the order of writing, so that a repair too never names a row that is not there. */
  get #tables(): Sweepable[] {
    return tablesInOrder(this.#installer.tables)
  }

  /** In the first cycle always: backends may have left while no agent ran. */
  #tellEndings(): void {
    const { endings } = this.#installer
    if (endings === this.#endings) return
    this.#endings = endings
    this.#options.onEndings?.()
  }

  #tell(): void {
    const problems = [...this.#failed.values()]
    const text = JSON.stringify(problems)
    if (text === this.#told) return
    this.#told = text
    this.#options.onProblems(problems)
  }
}

function replaceByAddress(table: HashTable, rows: readonly (readonly [string, Value])[]): void {
  const wanted = new Set(
    rows.map(([address, value]) => table.put({ addr: [...toWords(address)] }, value)),
  )
  for (const row of table.rows()) if (!wanted.has(row)) table.delete(row)
}

function takeNetwork({ ids, tables, constants }: Installer, name: Network['name']): void {
  const id = ids.networks.take(name)
  if (id === undefined)
    throw new FairleadError('MAP_FULL', `there are ${ids.networks.last} networks already`)
  tables.names.put({ kind: constants.name.network, id }, { text: name })
}

/** Refusals by code; what has none came from the kernel or a codec. */
function problem(item: string, error: unknown): Problem {
  const code: ErrorCode = error instanceof FairleadError ? error.code : 'VALUE'
  return { source: 'dataplane', item, code, reason: reasonOf(error) }
}
