/**
 * The Swarm source. Changes of other nodes' tasks are no events of this engine, so the swarm is asked
 * once a second as long as it is active; what this node's engine tells is taken up at once.
 */
import { readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { FairleadError } from '../../errors.js'
import type { Problem, Snapshot } from '../../model/types.js'
import type { SocketOpener } from '../../model/sockets.js'
import type { EngineApi } from '../docker/api.js'
import type { ResolverSetting } from '../docker/askers.js'
import type { EngineView, Log } from '../docker/engine.js'
import { infoShape, type Info, type NetworkAnswer } from '../docker/shapes.js'
import { unchangedParts } from '../docker/source.js'
import { fromGossip, fromManager, withKnown, type SwarmService } from './cluster.js'
import { askTasks } from './resolver.js'
import { gatewayShape, gossipShape, nodesShape, servicesShape, tasksShape } from './shapes.js'
import { GATEWAY_BRIDGE, isOverlay, localContainers, snapshotOf } from './snapshot.js'

export interface SwarmSourceOptions {
  readonly api: EngineApi
  /** Opens sockets in the namespaces of containers. */
  readonly open: SocketOpener
  readonly node: string
  /** Whose questions to the engine's resolver are answered. */
  readonly resolver: ResolverSetting
  /** The node has an edge, where ports may be published. */
  readonly edge: boolean
  readonly onSnapshot: (snapshot: Snapshot) => void
  readonly log: Log
}

/** A manager's store tells at once which tasks are to end. */
const STORE_INTERVAL_MS = 1_000
/** The resolver forgets a task two seconds before it is told to stop, and gossip takes some of that. */
const GOSSIP_INTERVAL_MS = 500
/** No event tells a node that it was promoted, or that it has found its swarm again. */
const INFO_MS = 10_000
const NOTHING: Snapshot = { networks: [], services: [], problems: [] }

export class SwarmSource {
  static readonly sourceName = 'swarm'

  readonly #options: SwarmSourceOptions
  readonly #closing = new AbortController()
  #view: EngineView | undefined
  #swarm: Info['Swarm']
  #askInfoAt = 0
  #managing = false
  /** What the store said last. */
  #known: readonly SwarmService[] = []
  #last = NOTHING
  #said = false
  #trouble: string | undefined
  #running: Promise<void> | undefined
  #wake: (() => void) | undefined

  constructor(options: SwarmSourceOptions) {
    this.#options = options
  }

  /** What the engine has; to be called with each look at it. */
  see(view: EngineView): void {
    this.#view = view
    this.#swarm = view.info.Swarm
    this.#askInfoAt = performance.now() + INFO_MS
    this.#running ??= this.#run()
    this.#wake?.()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#wake?.()
    await this.#running
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      const woken = new Promise<void>((resolve) => (this.#wake = resolve))
      const active = await this.#look()
      const resting = new AbortController()
      const { signal } = resting
      const restMs = this.#managing ? STORE_INTERVAL_MS : GOSSIP_INTERVAL_MS
      // Without a swarm there is nothing to ask until the engine tells of one.
      const rest = active ? pause(restMs, undefined, { signal }).catch(() => undefined) : woken
      await Promise.race([woken, rest])
      resting.abort()
    }
  }

  /** @returns whether there is a swarm */
  async #look(): Promise<boolean> {
    const view = this.#view
    if (view === undefined || (this.#swarm?.LocalNodeState ?? 'inactive') === 'inactive') {
      this.#publish(NOTHING)
      return false
    }
    try {
      await this.#askInfo()
      // Joining, locked or lost: what was known stays in force until it is decided.
      if (this.#swarm?.LocalNodeState !== 'active') return true
      const { api, node, resolver, edge } = this.#options
      const [services, namespaces, gateway] = await Promise.all([
        this.#services(view),
        this.#namespaces(view),
        // No event tells who is on it, nor that it was made.
        edge ? api.get(`/networks/${GATEWAY_BRIDGE}`, gatewayShape) : undefined,
      ])
      this.#trouble = undefined
      const seen = { engine: view, services, namespaces, node, resolver }
      this.#publish(snapshotOf({ ...seen, ...(gateway && { gateway }) }))
    } catch (error) {
      this.#tell(error instanceof Error ? error.message : String(error))
    }
    return true
  }

  async #services(view: EngineView): Promise<readonly SwarmService[]> {
    this.#managing = false
    if (this.#swarm?.ControlAvailable !== true) return this.#fromGossip(view)
    try {
      this.#known = await this.#fromManager()
      this.#managing = true
      return this.#known
    } catch (error) {
      // Without a leader a manager knows what a worker knows, and what it knew before.
      if (!(error instanceof FairleadError)) throw error
      this.#options.log.debug({ reason: error.message }, "the swarm's store does not answer")
      return withKnown(await this.#fromGossip(view), this.#known)
    }
  }

  async #fromManager(): Promise<SwarmService[]> {
    const { api } = this.#options
    const [services, tasks, nodes] = await Promise.all([
      api.get('/services', servicesShape),
      api.get('/tasks', tasksShape),
      api.get('/nodes', nodesShape),
    ])
    return fromManager(services ?? [], tasks ?? [], nodes ?? [])
  }

  async #fromGossip(view: EngineView): Promise<SwarmService[]> {
    const { edge } = this.#options
    const networks = [...view.networks.values()].filter(
      (network) => isOverlay(network) || (edge && network.Ingress),
    )
    const found = await Promise.all(networks.map(async (each) => this.#gossipOf(view, each)))
    return found.flat()
  }

  async #gossipOf(view: EngineView, answer: NetworkAnswer): Promise<SwarmService[]> {
    const { Id: id, Name: network } = answer
    const [container] = localContainers(view, id)
    if (container === undefined) return []
    const { api, open, log } = this.#options
    const told = await api.get(`/networks/${encodeURIComponent(id)}`, gossipShape, {
      verbose: 'true',
    })
    if (told === undefined) return []
    const names = Object.keys(told.Services).filter((name) => name !== '')
    // The ingress network has no names; its tasks are on other networks, too, or drain with those.
    if (answer.Ingress) return fromGossip(id, told, new Map())
    const { SandboxKey } = container.NetworkSettings
    // With the network's name, because the container may be on others that have such a service.
    const asked = names.map((name) => `tasks.${name}.${network}`)
    const named = await askTasks(open, SandboxKey, asked).catch((error: unknown) => {
      // It may have ended meanwhile; the next look asks another one.
      log.debug({ err: error }, 'the resolver of a container could not be asked')
      return new Map<string, ReadonlySet<string>>()
    })
    const byName = names.flatMap((name, i): [string, ReadonlySet<string>][] => {
      const addresses = named.get(asked[i] ?? '')
      return addresses === undefined ? [] : [[name, addresses]]
    })
    return fromGossip(id, told, new Map(byName))
  }

  /** Overlay networks have a namespace on each node that uses them, named by a count and their id. */
  async #namespaces(view: EngineView): Promise<Map<string, string>> {
    const found = new Map<string, string>()
    for (const { Id } of [...view.networks.values()].filter(isOverlay)) {
      const [container] = localContainers(view, Id)
      if (container === undefined) continue
      const folder = dirname(container.NetworkSettings.SandboxKey)
      const name = newest(await readdir(folder).catch(() => []), Id)
      if (name !== undefined) found.set(Id, join(folder, name))
    }
    return found
  }

  async #askInfo(): Promise<void> {
    const active = this.#swarm?.LocalNodeState === 'active'
    if (active && performance.now() < this.#askInfoAt) return
    this.#askInfoAt = performance.now() + INFO_MS
    const info = await this.#options.api.get('/info', infoShape)
    this.#swarm = info?.Swarm
  }

  /** What was known stays in force; before anything was, there is nothing to say. */
  #tell(trouble: string): void {
    if (trouble === this.#trouble) return
    this.#trouble = trouble
    this.#options.log.warn({ reason: trouble }, 'swarm')
    const reason = `${trouble}; what was last known stays in force`
    const problem: Problem = { source: 'swarm', item: 'swarm', code: 'ENGINE', reason }
    if (this.#said) this.#publish({ ...this.#last, problems: [problem] })
  }

  #publish(snapshot: Snapshot): void {
    if (this.#closing.signal.aborted) return
    const next = unchangedParts(this.#last, snapshot)
    const same =
      next.networks === this.#last.networks &&
      next.services.length === this.#last.services.length &&
      next.services.every((service, i) => service === this.#last.services[i]) &&
      JSON.stringify(next.problems) === JSON.stringify(this.#last.problems)
    if (same && this.#said) return
    this.#said = true
    this.#last = next
    this.#options.onSnapshot(next)
  }
}

/** `1-4303jwblen`: twelve characters of how often the network was set up here, and its id. */
export function newest(names: readonly string[], networkId: string): string | undefined {
  const ours = names.flatMap((name) => {
    const [, count, id] = /^(\d+)-([0-9a-z]+)$/.exec(name) ?? []
    return id !== undefined && id !== '' && networkId.startsWith(id) && name.length === 12
      ? [{ name, count: Number(count) }]
      : []
  })
  return ours.sort((a, b) => b.count - a.count)[0]?.name
}
