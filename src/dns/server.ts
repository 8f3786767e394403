/**
 * The DNS of this node: a view of one revision of the desired state, at a set of listeners that
 * follows the state's networks.
 */

import { networkInterfaces } from 'node:os'
import { FairleadError } from '../errors.js'
import { family, formatListen, parseListen, type ListenAddress } from '../model/address.js'
import type { DnsObserver } from '../model/observe.js'
import type { SocketOpener } from '../model/sockets.js'
import type { Problem, State } from '../model/types.js'
import { ContainerListeners, type ContainerHost } from './containers.js'
import { Forwarder, Waiting } from './forward.js'
import { Listener } from './listener.js'
import type { Random } from './reply.js'
import { Responder } from './responder.js'
import type { NamespaceIdentifier } from './socket.js'
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
  /** Follows namespaces that are replaced under their path. Absent: they are not. */
  readonly identify?: NamespaceIdentifier
  /** For containers that ask by an engine's resolver. Absent, or without `open`: they are left to it. */
  readonly containers?: ContainerHost
  readonly observer: DnsObserver
  /** Orders the records of a reply. Default Math.random. */
  readonly random?: Random
  /** What is wrong now, each time that changes: `problems()`. */
  readonly onProblem?: (problems: readonly Problem[]) => void
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
  readonly endpoint: ListenAddress
  readonly asker: Asker
}

interface Held {
  readonly wanted: Wanted
  readonly responder: Responder
  readonly listener: Listener
  problem?: Problem
}

const DNS_PORT = 53
const MAX_UPSTREAMS = 3
/** None of them costs a descriptor. */
const MAX_WAITING_CONTAINERS = 16_384
const RETRY_MS = [1000, 30_000] as const
const SOURCE = 'dns'

export class DnsServer {
  readonly #options: DnsServerOptions
  readonly #forwarder: Forwarder
  readonly #containers: ContainerListeners | undefined
  readonly #held = new Map<string, Held>()
  /** Faults of the configuration and of what the state asks for, by item. */
  #faults: ReadonlyMap<string, Problem> = new Map()
  #zone: Zone | undefined
  #wanted: ReadonlyMap<string, Wanted> = new Map()
  #reconciled = Promise.resolve()
  #reported = '[]'
  #closed = false

  /** @throws FairleadError CONFIG */
  constructor(options: DnsServerOptions) {
    this.#options = options
    const { config, observer } = options
    if (config.upstreams.length > MAX_UPSTREAMS) {
      throw new FairleadError('CONFIG', `dns: more than ${MAX_UPSTREAMS} upstreams`)
    }
    let upstreams: readonly ListenAddress[]
    try {
      upstreams = config.upstreams.map(parseAddress)
      config.hostListen.forEach(parseAddress)
    } catch (cause) {
      throw new FairleadError('CONFIG', `dns: ${(cause as Error).message}`, { cause })
    }
    const maxInFlight = config.maxInFlight ?? 1024
    const told = (): void => observer.inFlight(ours.count + theirs.count)
    const ours = new Waiting(maxInFlight, told)
    const theirs = new Waiting(MAX_WAITING_CONTAINERS, told)
    this.#forwarder = new Forwarder({
      ...{ upstreams, observer, maxInFlight, waiting: ours },
      timeoutMs: config.timeoutMs ?? 2000,
      deadlineMs: config.deadlineMs ?? 4500,
    })
    const { containers, open, identify, random = Math.random } = options
    if (containers === undefined || open === undefined) return
    this.#containers = new ContainerListeners({
      ...{ ...containers, open, identify, observer, random, waiting: theirs },
      retryMs: config.retryMs ?? RETRY_MS,
      onProblem: () => this.#report(),
    })
  }

  /**
   * Answers by this state from the next query on; opens and closes listeners as it asks.
   * Resolves when each new listener was tried once; those that failed are tried again by themselves.
   */
  async apply(state: State): Promise<void> {
    if (this.#closed) return
    this.#zone = this.#zoneOf(state)
    this.#wanted = this.#wantedBy(state)
    for (const [key, { responder }] of this.#held) {
      const still = this.#wanted.get(key)
      if (still !== undefined) responder.setZone(this.#zone, still.asker)
    }
    this.#containers?.setState(this.#zone, state)
    const before = this.#reconciled
    const reconciled = before.then(() => this.#reconcile())
    // One state's failure is its caller's to hear of, and must not hold up the next.
    this.#reconciled = reconciled.catch(() => undefined)
    await reconciled
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
    await this.#containers?.reconcile()
    this.#report()
  }

  listeners(): readonly ListenerStatus[] {
    return [...this.#held.values()].map(({ wanted, listener, problem }) => {
      const { host, port } = wanted.endpoint
      return {
        ...(wanted.network === undefined ? {} : { network: wanted.network }),
        ...(wanted.namespace === undefined ? {} : { namespace: wanted.namespace }),
        address: host,
        port,
        open: listener.isOpen,
        ...(problem === undefined ? {} : { reason: problem.reason }),
      }
    })
  }

  /** What is wrong now. */
  problems(): readonly Problem[] {
    const failed = [...this.#held.values()].flatMap(({ problem }) => problem ?? [])
    return [...this.#faults.values(), ...failed, ...(this.#containers?.problems() ?? [])]
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#forwarder.close()
    await this.#containers?.close()
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
      const endpoint = parseAddress(text)
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
          const endpoint = parseAddress(text)
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
    this.#faults = faults
    return wanted
  }

  #excludeOwn(wanted: readonly Wanted[], faults: Map<string, Problem>): void {
    const own = wanted.filter(({ namespace }) => namespace === undefined)
    this.#forwarder.exclude((upstream) => {
      const mine = own.some(({ endpoint }) => isSame(endpoint, upstream))
      if (mine) {
        const item = `upstream ${formatListen(upstream)}`
        faults.set(item, fault(item, 'CONFIG', 'it is a listener of ours and would ask itself'))
      }
      return mine
    })
  }

  /** Tells of what went wrong, and of what no longer is. */
  #report(): void {
    const problems = this.problems()
    const text = JSON.stringify(problems)
    if (text === this.#reported) return
    this.#reported = text
    this.#options.onProblem?.(problems)
  }

  async #open(wanted: Wanted): Promise<void> {
    const zone = this.#zone
    if (zone === undefined) return
    const { config, open, identify, observer, random = Math.random } = this.#options
    const { key, network, endpoint, namespace, asker } = wanted
    const responder = new Responder(zone, asker, {
      network: network ?? 'host',
      forwarder: this.#forwarder,
      observer,
      random,
    })
    const listener = new Listener({
      endpoint,
      namespace,
      open,
      identify,
      responder,
      observer,
      maxConnections: config.maxConnections ?? 256,
      idleMs: config.idleMs ?? 10_000,
      retryMs: config.retryMs ?? RETRY_MS,
      onState: (failure) => {
        const held = this.#held.get(key)
        if (held?.listener !== listener) return
        const item = network === undefined ? 'listener for the host' : `listener of ${network}`
        if (failure === undefined) delete held.problem
        else held.problem = fault(item, 'HOST', failure)
        this.#report()
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
function isSame(listener: ListenAddress, upstream: ListenAddress): boolean {
  if (listener.port !== upstream.port || family(listener.host) !== family(upstream.host))
    return false
  if (listener.host === upstream.host) return true
  const wildcard = listener.host === (family(upstream.host) === 6 ? '::' : '0.0.0.0')
  return wildcard && isLocal(upstream)
}

function isLocal({ host }: ListenAddress): boolean {
  if (host.startsWith('127.') || host === '::1') return true
  return Object.values(networkInterfaces()).some((entries) =>
    entries?.some((entry) => entry.address === host),
  )
}

function parseAddress(text: string): ListenAddress {
  return parseListen(text, DNS_PORT)
}
