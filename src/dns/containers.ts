/**
 * Names for containers: a listener in the namespace of each that asks, to which its questions to the
 * engine's resolver are led. What is no service's is asked of that resolver, as if we were not there;
 * and it is asked alone whenever a listener is not open, or this process hangs or is gone.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { DnsObserver } from '../model/observe.js'
import type { ResolverRedirect, SocketOpener, StreamOpener } from '../model/sockets.js'
import type { NamespaceAsker, Problem, State } from '../model/types.js'
import { ENGINE_RESOLVER, EngineResolver } from './engineResolver.js'
import { Forwarder, type Waiting } from './forward.js'
import { Listener } from './listener.js'
import type { Random } from './reply.js'
import { Responder } from './responder.js'
import type { NamespaceIdentifier } from './socket.js'
import type { Asker, Zone } from './zone.js'
import { reasonOf } from '../reason.js'

/** What takes a part in answering containers, besides the sockets. */
export interface ContainerHost {
  readonly redirect: ResolverRedirect
  readonly openStream: StreamOpener
}

export interface ContainerOptions extends ContainerHost {
  readonly open: SocketOpener
  readonly identify: NamespaceIdentifier | undefined
  readonly observer: DnsObserver
  readonly random: Random
  readonly waiting: Waiting
  readonly retryMs: readonly [first: number, last: number]
  readonly onProblem: () => void
}

interface Held {
  readonly responder: Responder
  readonly listener: Listener
  readonly forwarder: Forwarder
  readonly resolver: EngineResolver
  problem?: Problem
}

/** The kernel's choice: an application that wants a port of its own is not in the way of another. */
const ENDPOINT = { host: ENGINE_RESOLVER.host, port: 0 }
/** As many as the engine's resolver takes; one container must not use up what there is for all. */
const MAX_WAITING = 1024
const MAX_CONNECTIONS = 16
const IDLE_MS = 10_000
/** The engine tells of a namespace's end; this is for an engine that does not. */
const LOOK_MS = 10_000
/** Longer than the engine's resolver takes to give up; its client asks again meanwhile, and joins. */
const TIMEOUT_MS = 15_000
/** Visits to namespaces at a time: they block threads that files and attachments use, too. */
const MAX_OPENING = 2
/** How long questions under way may take when all ends. */
const CLOSE_MS = 500

export class ContainerListeners {
  readonly #options: ContainerOptions
  readonly #held = new Map<string, Held>()
  #wanted: ReadonlyMap<string, Asker> = new Map()
  #zone: Zone | undefined
  #reconciling: Promise<void> | undefined
  #closed = false

  constructor(options: ContainerOptions) {
    this.#options = options
  }

  /** Open listeners answer by it from the next question on; `reconcile` does the rest. */
  setState(zone: Zone, state: State): void {
    this.#zone = zone
    this.#wanted = askersOf(state)
    for (const [namespace, { responder }] of this.#held) {
      const asker = this.#wanted.get(namespace)
      if (asker !== undefined) responder.setZone(zone, asker)
    }
  }

  /** Resolves when each new listener was tried once; those that failed are tried again by themselves. */
  reconcile(): Promise<void> {
    this.#reconciling = this.#reconcile()
    return this.#reconciling
  }

  async #reconcile(): Promise<void> {
    const gone = [...this.#held.keys()].filter((namespace) => !this.#wanted.has(namespace))
    await Promise.all(gone.map((namespace) => this.#drop(namespace)))
    const fresh = [...this.#wanted].filter(([namespace]) => !this.#held.has(namespace))
    const next = fresh.values()
    const open = async (): Promise<void> => {
      for (const [namespace, asker] of next)
        if (!this.#closed && this.#wanted.has(namespace)) await this.#open(namespace, asker)
    }
    await Promise.all(Array.from({ length: MAX_OPENING }, open))
  }

  problems(): Problem[] {
    return [...this.#held.values()].flatMap(({ problem }) => problem ?? [])
  }

  /** Namespaces whose questions are answered here now. */
  namespaces(): string[] {
    return [...this.#held].flatMap(([namespace, { listener }]) =>
      listener.isOpen ? [namespace] : [],
    )
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#options.redirect.pause()
    await this.#reconciling
    const until = performance.now() + CLOSE_MS
    const isBusy = (): boolean =>
      [...this.#held.values()].some(({ forwarder }) => forwarder.inFlight > 0)
    while (isBusy() && performance.now() < until) await pause(20)
    const held = [...this.#held.values()]
    this.#held.clear()
    await Promise.all(held.map(end))
  }

  async #open(namespace: string, asker: Asker): Promise<void> {
    const zone = this.#zone
    if (zone === undefined) return
    const { open, openStream, identify, observer, random, waiting, retryMs } = this.#options
    const resolver = new EngineResolver({ namespace, open, openStream })
    const forwarder = new Forwarder({
      ...{ observer, waiting, asking: resolver, upstreams: [ENGINE_RESOLVER] },
      ...{ maxInFlight: MAX_WAITING, timeoutMs: TIMEOUT_MS, deadlineMs: TIMEOUT_MS },
    })
    const network = asker.networks[0] ?? ''
    const responder = new Responder(zone, asker, { network, forwarder, observer, random })
    const listener = new Listener({
      ...{ endpoint: ENDPOINT, namespace, open, identify, responder, observer, retryMs },
      ...{ maxConnections: MAX_CONNECTIONS, idleMs: IDLE_MS, lookMs: LOOK_MS },
      onState: (failure) => {
        const held = this.#held.get(namespace)
        if (this.#closed || held?.listener !== listener) return
        this.#settle(namespace, held, failure)
      },
    })
    this.#held.set(namespace, { responder, listener, forwarder, resolver })
    await listener.open()
  }

  #settle(namespace: string, held: Held, failure: string | undefined): void {
    const reason = failure ?? this.#lead(namespace, held.listener)
    if (reason === undefined) delete held.problem
    else {
      this.#options.redirect.leave(namespace)
      held.problem = { source: 'dns', item: `names in ${namespace}`, code: 'HOST', reason }
    }
    this.#options.onProblem()
  }

  /** @returns why not */
  #lead(namespace: string, { ports }: Listener): string | undefined {
    try {
      if (ports !== undefined) this.#options.redirect.lead(namespace, ports)
      return undefined
    } catch (error) {
      return reasonOf(error)
    }
  }

  async #drop(namespace: string): Promise<void> {
    const held = this.#held.get(namespace)
    this.#held.delete(namespace)
    this.#options.redirect.leave(namespace)
    if (held !== undefined) await end(held)
  }
}

async function end({ listener, forwarder, resolver }: Held): Promise<void> {
  forwarder.close()
  resolver.close()
  await listener.close()
}

/** A container on several networks sees the names of all, in the order of the engine. */
function askersOf(state: State): Map<string, Asker> {
  const places = new Map<string, { network: string; asker: NamespaceAsker }[]>()
  for (const [network, { dns }] of state.networks)
    for (const asker of dns.askers ?? []) {
      const known = places.get(asker.namespace)
      if (known === undefined) places.set(asker.namespace, [{ network, asker }])
      else known.push({ network, asker })
    }
  return new Map(
    [...places].map(([namespace, of]) => {
      // The state's networks are in the order of their names, and sorting keeps that of equals.
      const networks = of.sort((a, b) => a.asker.rank - b.asker.rank).map(({ network }) => network)
      const stack = of.find(({ asker }) => asker.stack !== undefined)?.asker.stack
      return [namespace, { networks, shared: true, ...(stack !== undefined && { stack }) }]
    }),
  )
}
