/**
 * The Swarm source. Changes of other nodes' tasks are no events of this engine, so the swarm is asked
 * once a second as long as it is active; what this node's engine tells is taken up at once.
 */
import { readdir } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { FairleadError } from '../../errors.js'
import { canonicalAddress, isAddress } from '../../model/address.js'
import type { Problem, Snapshot } from '../../model/types.js'
import type { SocketOpener } from '../../model/sockets.js'
import type { EngineApi } from '../docker/api.js'
import type { ResolverSetting } from '../docker/askers.js'
import type { EngineView, Log } from '../docker/engine.js'
import { infoShape, type Info, type NetworkAnswer } from '../docker/shapes.js'
import { unchangedParts } from '../docker/source.js'
import type { Takeover } from '../takeover.js'
import {
  fromGossip,
  fromManager,
  nodesOf,
  nodesOfGossip,
  withKnown,
  type SwarmService,
} from './cluster.js'
import { Exchange } from './exchange.js'
import { isOverlay, localContainers, type Mesh } from './local.js'
import { GATEWAY_BRIDGE } from './published.js'
import { askTasks } from './resolver.js'
import { gatewayShape, gossipShape, nodeShape, serviceShape, taskShape } from './shapes.js'
import { snapshotOf } from './snapshot.js'
import { takenServices, withoutIdle } from './taken.js'
import type { Told } from './wire.js'
import { reasonOf } from '../../reason.js'

export interface SwarmSourceOptions {
  readonly api: EngineApi
  /** Opens sockets in the namespaces of containers. */
  readonly open: SocketOpener
  readonly node: string
  /** Whose questions to the engine's resolver are answered. */
  readonly resolver: ResolverSetting
  /** The node has an edge, where ports may be published. */
  readonly edge: boolean
  /** Tunnels may end there: tasks of other nodes are led to, too. */
  readonly tunnels: boolean
  /** Which services are served here. */
  readonly takeover: Takeover
  /** The port by which managers' agents tell those of workers; 0: they do not. */
  readonly exchange: number
  readonly onSnapshot: (snapshot: Snapshot) => void
  readonly log: Log
}

/** A manager's store tells at once which tasks are to end. */
const STORE_INTERVAL_MS = 1_000
/** The resolver forgets a task two seconds before it is told to stop, and gossip takes some of that. */
const GOSSIP_INTERVAL_MS = 500
/** No event tells a node that it was promoted, or that it has found its swarm again. */
const INFO_MS = 10_000
const MAX_BACKOFF_MS = 5_000

const NOBODY: Told = { services: [], nodes: [] }
const NOTHING: Snapshot = { networks: [], services: [], problems: [] }

export class SwarmSource {
  static readonly sourceName = 'swarm'

  readonly #options: SwarmSourceOptions
  readonly #closing = new AbortController()
  #view: EngineView | undefined
  readonly #exchange: Exchange
  #info: Info | undefined
  #askInfoAt = 0
  #managing = false
  /** What each network's gossip said last, by id. */
  #heard = new Map<string, readonly SwarmService[]>()
  /** What the store said last. */
  #known: Told = NOBODY
  #last = NOTHING
  #said = false
  #trouble: string | undefined
  /** Looks in a row that failed. */
  #failures = 0
  #running: Promise<void> | undefined
  #wake: (() => void) | undefined

  constructor(options: SwarmSourceOptions) {
    this.#options = options
    const { exchange: port, log } = options
    this.#exchange = new Exchange({ port, log, onTold: () => this.#wake?.() })
  }

  get #swarm(): Info['Swarm'] {
    return this.#info?.Swarm
  }

  /** What the engine has; to be called with each look at it. */
  see(view: EngineView): void {
    this.#view = view
    this.#info = view.info
    this.#askInfoAt = performance.now() + INFO_MS
    this.#running ??= this.#run()
    this.#wake?.()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#wake?.()
    await this.#running
    await this.#exchange.close()
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      const woken = new Promise<void>((resolve) => (this.#wake = resolve))
      const active = await this.#look()
      const resting = new AbortController()
      const { signal } = resting
      const asks = !this.#managing && this.#exchange.told === undefined
      const intervalMs = asks ? GOSSIP_INTERVAL_MS : STORE_INTERVAL_MS
      const restMs = Math.min(intervalMs * 2 ** Math.min(this.#failures, 8), MAX_BACKOFF_MS)
      // Without a swarm there is nothing to ask until the engine tells of one.
      const rest = active ? pause(restMs, undefined, { signal }).catch(() => undefined) : woken
      await Promise.race([woken, rest])
      resting.abort()
    }
  }

  /** @returns whether there is a swarm */
  async #look(): Promise<boolean> {
    const view = this.#view
    const { takeover } = this.#options
    const inactive = (this.#swarm?.LocalNodeState ?? 'inactive') === 'inactive'
    if (view === undefined || inactive || takeover.mode === 'none') {
      this.#publish(NOTHING)
      await this.#exchange.close()
      return false
    }
    try {
      await this.#askInfo()
      if (this.#info !== undefined) await this.#exchange.follow(this.#info)
      // Joining, locked or lost: what was known stays in force until it is decided.
      if (this.#swarm?.LocalNodeState !== 'active') return true
      const { api, node, resolver, edge } = this.#options
      const [told, namespaces, gateway] = await Promise.all([
        this.#told(view),
        this.#namespaces(view),
        // No event tells who is on it, nor that it was made.
        edge ? api.get(`/networks/${GATEWAY_BRIDGE}`, gatewayShape) : undefined,
      ])
      this.#trouble = undefined
      this.#failures = 0
      const mesh = this.#mesh(told)
      const taken = takenServices(told.services, view.networks, takeover)
      const seen = { engine: view, services: taken, namespaces, node, resolver }
      const snapshot = snapshotOf({ ...seen, ...(gateway && { gateway }), ...(mesh && { mesh }) })
      const problems = [...snapshot.problems, ...this.#meshProblems(mesh)]
      this.#publish(withoutIdle({ ...snapshot, problems }, takeover))
    } catch (error) {
      this.#failures++
      this.#tell(reasonOf(error))
    }
    return true
  }

  /** Undefined where tasks of other nodes cannot be led to. */
  #mesh({ nodes }: Told): Mesh | undefined {
    const address = this.#swarm?.NodeAddr ?? ''
    if (!this.#options.tunnels || !isOwn(address)) return undefined
    return { address: canonicalAddress(address), nodes }
  }

  #meshProblems(mesh: Mesh | undefined): Problem[] {
    if (mesh !== undefined || !this.#options.tunnels) return []
    const address = this.#swarm?.NodeAddr ?? ''
    const reason =
      `the swarm knows this node as ${address}, which no interface has, so published ports ` +
      'lead to tasks of this node alone'
    return [{ source: 'swarm', item: 'published ports', code: 'HOST', reason }]
  }

  async #told(view: EngineView): Promise<Told> {
    this.#managing = false
    if (this.#swarm?.ControlAvailable !== true) return this.#asWorker(view)
    try {
      this.#known = await this.#fromManager()
      this.#managing = true
      this.#exchange.tell(this.#known)
      return this.#known
    } catch (error) {
      // Without a leader a manager knows what a worker knows, and what it knew before.
      if (!(error instanceof FairleadError)) throw error
      this.#options.log.debug({ reason: error.message }, "the swarm's store does not answer")
      return this.#besideGossip(view, this.#known)
    }
  }

  async #asWorker(view: EngineView): Promise<Told> {
    const { told, last } = this.#exchange
    if (told !== undefined) return told
    return last === undefined ? this.#fromGossip(view) : this.#besideGossip(view, last)
  }

  async #besideGossip(view: EngineView, known: Told): Promise<Told> {
    const { services, nodes } = await this.#fromGossip(view)
    return {
      services: withKnown(services, known.services),
      nodes: [...new Set([...nodes, ...known.nodes])],
    }
  }

  async #fromManager(): Promise<Told> {
    const { api } = this.#options
    const [services, tasks, nodes] = await Promise.all([
      api.list('/services', serviceShape),
      api.list('/tasks', taskShape),
      api.list('/nodes', nodeShape),
    ])
    return {
      services: fromManager(services, tasks, nodes),
      nodes: nodesOf(nodes),
    }
  }

  async #fromGossip(view: EngineView): Promise<Told> {
    const { edge } = this.#options
    const networks = [...view.networks.values()].filter(
      (network) => isOverlay(network) || (edge && network.Ingress),
    )
    const found = await Promise.all(networks.map(async (each) => this.#gossipOf(view, each)))
    this.#heard = new Map(networks.map(({ Id }, i) => [Id, found[i]?.services ?? []]))
    return {
      services: found.flatMap(({ services }) => services),
      nodes: [...new Set(found.flatMap(({ nodes }) => nodes))],
    }
  }

  async #gossipOf(view: EngineView, answer: NetworkAnswer): Promise<Told> {
    const { Id: id, Name: network } = answer
    const [container] = localContainers(view, id)
    // The ingress network is on every node, and has no names; its tasks drain with their other networks.
    if (container === undefined && !answer.Ingress) return NOBODY
    const { api, open, log } = this.#options
    const told = await api.get(`/networks/${encodeURIComponent(id)}`, gossipShape, {
      verbose: 'true',
    })
    if (told === undefined) return NOBODY
    const nodes = nodesOfGossip(told)
    if (answer.Ingress) return { services: fromGossip(id, told, new Map()), nodes }
    const names = Object.keys(told.Services).filter((name) => name !== '')
    const SandboxKey = container?.NetworkSettings.SandboxKey ?? ''
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
    return { services: fromGossip(id, told, new Map(byName), this.#heard.get(id)), nodes }
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
    this.#info = await this.#options.api.get('/info', infoShape)
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

function isOwn(text: string): boolean {
  if (!isAddress(text)) return false
  const address = canonicalAddress(text)
  const interfaces = Object.values(networkInterfaces())
  return interfaces.some((entries) => entries?.some((entry) => entry.address === address))
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
