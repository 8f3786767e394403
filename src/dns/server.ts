/**
 * The DNS of this node: a view of one revision of the desired state, at a set of listeners that
 * follows the state's networks.
 */

import { isIPv6 } from 'node:net'
import { networkInterfaces } from 'node:os'
import { FairleadError } from '../errors.js'
import type { Problem, State } from '../model/types.js'
import { endpointText, parseEndpoint, type Endpoint } from './endpoint.js'
import { Forwarder } from './forward.js'
import { Listener } from './listener.js'
import type { DnsObserver } from './observer.js'
import type { Random } from './reply.js'
import { Responder } from './responder.js'
import type { SocketOpener } from './socket.js'
import { buildZone, type Asker, type Zone, type ZoneOptions } from './zone.js'

export interface DnsConfig {
  /** `address:port` in the agent's own namespace, for the host's processes. */
  readonly hostListen: readonly string[]
  /** Networks whose names the host sees, the first to know a name answers. Absent: all, by name. */
  readonly hostNetworks?: readonly string[]
  /** At most three, asked in this order. Empty: only our own names are answered. */
  readonly upstreams: readonly string[]
  /** For one upstream. Default 2000. */
  readonly timeoutMs?: number
  /** For all upstreams together; below the 5 s after which most resolvers give up. Default 4500. */
  readonly deadlineMs?: number
  /** Askers waiting for upstreams. Default 1024. */
  readonly maxInFlight?: number
  /** A domain that is ours as a whole: `cluster.internal`. */
  readonly domain?: string
  /** Default 5. */
  readonly negativeTtlSeconds?: number
  /** Ask upstreams for single labels that no network knows. Default false. */
  readonly forwardSingleLabel?: boolean
  /** For each listener. Default 256. */
  readonly maxConnections?: number
  /** How long a TCP connection may be silent. Default 10000. */
  readonly idleMs?: number
  /** Waits before a listener that failed is tried again. Default 1000, doubling to 30000. */
  readonly retryMs?: readonly [first: number, last: number]
}

export interface DnsServerOptions {
  readonly config: DnsConfig
  /** Absent: listeners are bound in the agent's own namespace, and nowhere else. */
  readonly open?: SocketOpener
  readonly observer: DnsObserver
  /** Orders the records of a reply. Default Math.random. */
  readonly random?: Random
  /** Once for each thing that goes wrong; `problems()` tells what still is. */
  readonly onProblem?: (problem: Problem) => void
}

export interface ListenerStatus {
  /** Absent: for the host. */
  readonly network?: string
  readonly namespace?: string
  readonly address: string
  readonly port: number
  readonly open: boolean
  /** Why it is not open. */
  readonly reason?: string
}

interface Wanted {
  readonly key: string
  readonly network?: string
  readonly namespace?: string
  readonly endpoint: Endpoint
  readonly asker: Asker
}

interface Held {
  readonly wanted: Wanted
  readonly responder: Responder
  readonly listener: Listener
  problem?: Problem
}

const MAX_UPSTREAMS = 3
const SOURCE = 'dns'

export class DnsServer {
  readonly #options: DnsServerOptions
  readonly #forwarder: Forwarder
  readonly #held = new Map<string, Held>()
  /** Faults of the configuration and of what the state asks for, by item. */
  #faults: ReadonlyMap<string, Problem> = new Map()
  #zone: Zone | undefined
  #wanted: ReadonlyMap<string, Wanted> = new Map()
  #reconciled = Promise.resolve()
  #closed = false

  /** @throws FairleadError CONFIG */
  constructor(options: DnsServerOptions) {
    this.#options = options
    const { config, observer } = options
    if (config.upstreams.length > MAX_UPSTREAMS) {
      throw new FairleadError('CONFIG', `dns: more than ${MAX_UPSTREAMS} upstreams`)
    }
    let upstreams: readonly Endpoint[]
    try {
      upstreams = config.upstreams.map(parseEndpoint)
      config.hostListen.forEach(parseEndpoint)
    } catch (cause) {
      throw new FairleadError('CONFIG', `dns: ${(cause as Error).message}`, { cause })
    }
    this.#forwarder = new Forwarder({
      upstreams,
      observer,
      timeoutMs: config.timeoutMs ?? 2000,
      deadlineMs: config.deadlineMs ?? 4500,
      maxInFlight: config.maxInFlight ?? 1024,
    })
  }

  /**
   * Answers by this state from the next query on; opens and closes listeners as it asks.
   * Resolves when each new listener was tried once; those that failed are tried again by themselves.
   */
  apply(state: State): Promise<void> {
    if (this.#closed) return Promise.resolve()
    this.#zone = this.#zoneOf(state)
    this.#wanted = this.#wantedBy(state)
    for (const [key, { responder }] of this.#held) {
      const still = this.#wanted.get(key)
      if (still !== undefined) responder.setZone(this.#zone, still.asker)
    }
    this.#reconciled = this.#reconciled.then(() => this.#reconcile())
    return this.#reconciled
  }

  /** By the newest state, whichever call of `apply` set it. */
  async #reconcile(): Promise<void> {
    const gone = [...this.#held].filter(([key]) => !this.#wanted.has(key))
    for (const [key] of gone) this.#held.delete(key)
    // An address may pass from one network to another: it must be free before it is taken.
    await Promise.all(gone.map(([, { listener }]) => listener.close()))
    if (this.#closed) return
    const fresh = [...this.#wanted.values()].filter(({ key }) => !this.#held.has(key))
    await Promise.all(fresh.map((wanted) => this.#open(wanted)))
  }

  listeners(): readonly ListenerStatus[] {
    return [...this.#held.values()].map(({ wanted, listener, problem }) => {
      const { address, port } = listener.endpoint
      return {
        ...(wanted.network === undefined ? {} : { network: wanted.network }),
        ...(wanted.namespace === undefined ? {} : { namespace: wanted.namespace }),
        address,
        port,
        open: listener.isOpen,
        ...(problem === undefined ? {} : { reason: problem.reason }),
      }
    })
  }

  /** What is wrong now. */
  problems(): readonly Problem[] {
    const failed = [...this.#held.values()].flatMap(({ problem }) => problem ?? [])
    return [...this.#faults.values(), ...failed]
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#forwarder.close()
    await this.#reconciled
    const held = [...this.#held.values()]
    this.#held.clear()
    await Promise.all(held.map(({ listener }) => listener.close()))
  }

  #zoneOf(state: State): Zone {
    const { domain, negativeTtlSeconds = 5, forwardSingleLabel = false } = this.#options.config
    const options: ZoneOptions = {
      ...(domain === undefined ? {} : { domain: domain.toLowerCase() }),
      negativeTtlSeconds,
      forwardSingleLabel,
    }
    return buildZone(state, undefined, options, this.#zone)
  }

  #wantedBy(state: State): Map<string, Wanted> {
    const { hostListen, hostNetworks } = this.#options.config
    const wanted = new Map<string, Wanted>()
    const all = hostNetworks ?? [...state.networks.keys()].sort()
    for (const text of hostListen) {
      const endpoint = parseEndpoint(text)
      const key = `host ${text}`
      wanted.set(key, { key, endpoint, asker: { networks: all } })
    }
    const faults = new Map<string, Problem>()
    for (const [network, { dns, attachment }] of state.networks) {
      const { namespace } = attachment
      for (const text of dns.listen) {
        const key = `${network} ${namespace ?? ''} ${text}`
        const item = `network ${network} dns ${text}`
        try {
          const endpoint = parseEndpoint(text)
          wanted.set(key, {
            key,
            network,
            ...(namespace === undefined ? {} : { namespace }),
            endpoint,
            asker: { networks: [network] },
          })
        } catch (error) {
          faults.set(item, fault(item, 'VALUE', (error as Error).message))
        }
      }
    }
    this.#excludeOwn([...wanted.values()], faults)
    this.#report(faults)
    return wanted
  }

  #excludeOwn(wanted: readonly Wanted[], faults: Map<string, Problem>): void {
    const own = wanted.filter(({ namespace }) => namespace === undefined)
    this.#forwarder.exclude((upstream) => {
      const mine = own.some(({ endpoint }) => isSame(endpoint, upstream))
      if (mine) {
        const item = `upstream ${endpointText(upstream)}`
        faults.set(item, fault(item, 'CONFIG', 'it is a listener of ours and would ask itself'))
      }
      return mine
    })
  }

  #report(faults: ReadonlyMap<string, Problem>): void {
    for (const [item, problem] of faults) {
      if (!this.#faults.has(item)) this.#options.onProblem?.(problem)
    }
    this.#faults = faults
  }

  async #open(wanted: Wanted): Promise<void> {
    const zone = this.#zone
    if (zone === undefined) return
    const { config, open, observer, random = Math.random, onProblem } = this.#options
    const { key, network, endpoint, namespace, asker } = wanted
    const responder = new Responder(zone, asker, {
      listener: endpointText(endpoint),
      ...(network === undefined ? {} : { network }),
      forwarder: this.#forwarder,
      observer,
      random,
    })
    const listener = new Listener({
      endpoint,
      namespace,
      open,
      responder,
      observer,
      maxConnections: config.maxConnections ?? 256,
      idleMs: config.idleMs ?? 10_000,
      retryMs: config.retryMs ?? [1000, 30_000],
      onState: (failure) => {
        const held = this.#held.get(key)
        if (held?.listener !== listener) return
        if (failure === undefined) {
          delete held.problem
          return
        }
        const known = held.problem?.reason === failure
        const item = network === undefined ? 'listener for the host' : `listener of ${network}`
        held.problem = fault(item, 'HOST', failure)
        if (!known) onProblem?.(held.problem)
      },
    })
    this.#held.set(key, { wanted, responder, listener })
    await listener.open()
  }
}

function fault(item: string, code: FairleadError['code'], reason: string): Problem {
  return { source: SOURCE, item, code, reason }
}

/** Whether packets to `upstream` arrive at `listener`. */
function isSame(listener: Endpoint, upstream: Endpoint): boolean {
  if (listener.port !== upstream.port || listener.family !== upstream.family) return false
  if (listener.address === upstream.address) return true
  const wildcard = listener.address === (isIPv6(upstream.address) ? '::' : '0.0.0.0')
  return wildcard && isLocal(upstream)
}

function isLocal({ address }: Endpoint): boolean {
  if (address.startsWith('127.') || address === '::1') return true
  return Object.values(networkInterfaces()).some((entries) =>
    entries?.some((entry) => entry.address === address),
  )
}
