/**
 * This node's addresses towards the backends of services with `return: snat`, as the kernel's routes
 * have them, kept so while routes change. Only what was found goes into a packet.
 */
import { FairleadError } from '../errors.js'
import { matchesAny } from '../host/glob.js'
import { LinkWatcher } from '../host/links.js'
import type { Log } from '../host/log.js'
import { portsOfSockets, routesTo, type Route } from '../host/routes.js'
import { sameData } from '../model/diff.js'
import type { Attachment, State } from '../model/types.js'
import { HERE } from './outside.js'
import type { PortRange } from './programs.js'

export interface SnatSourcesOptions {
  /** Globs over interfaces at the edge: replies have to come in by one of these. */
  readonly interfaces: readonly string[]
  readonly ports: PortRange
  /** `sources` has changed. */
  readonly onChange: () => void
  /** Called with what stands in the way, or undefined once nothing does. */
  readonly onResult: (error: unknown) => void
  readonly log: Log
}

export class SnatSources {
  readonly #options: SnatSourcesOptions
  #sources: ReadonlyMap<string, string> | undefined
  #backends: readonly string[] = []
  #networks: readonly Attachment[] = []
  #watcher: LinkWatcher | undefined
  #looking: Promise<void> = Promise.resolve()
  #closed = false

  constructor(options: SnatSourcesOptions) {
    this.#options = options
  }

  /** By backend: an address of this node, or `HERE`. Undefined before the first look. */
  get sources(): ReadonlyMap<string, string> | undefined {
    return this.#sources
  }

  /** Resolves when the sources of the state's backends are known. */
  async apply(state: State): Promise<void> {
    const backends = backendsOf(state)
    const networks = [...state.networks.values()]
      .map(({ attachment }) => attachment)
      .filter(({ namespace }) => namespace === undefined)
    if (sameData(backends, this.#backends) && sameData(networks, this.#networks)) return
    this.#backends = backends
    this.#networks = networks
    this.#watch()
    await this.#look()
  }

  close(): void {
    this.#closed = true
    this.#watcher?.close()
  }

  /** A node without such services watches nothing. */
  #watch(): void {
    if (this.#backends.length === 0) {
      this.#watcher?.close()
      this.#watcher = undefined
    } else
      this.#watcher ??= new LinkWatcher(undefined, () => void this.#look(), this.#options.log, [
        'address',
        'route',
      ])
  }

  #look(): Promise<void> {
    this.#looking = this.#looking.then(async () => {
      if (this.#closed) return
      try {
        this.#take(await routesTo(this.#backends))
      } catch (error) {
        this.#options.onResult(error)
      }
    })
    return this.#looking
  }

  #take(routes: ReadonlyMap<string, Route>): void {
    const sources = new Map(
      [...routes].map(([backend, route]) => [backend, this.#isHere(route) ? HERE : route.source]),
    )
    this.#options.onResult(this.#objection(routes))
    if (this.#sources !== undefined && sameData([...sources], [...this.#sources])) return
    this.#sources = sources
    this.#options.onChange()
  }

  #isHere({ local, device }: Route): boolean {
    return local || this.#networks.some((network) => leadsTo(network, device))
  }

  #objection(routes: ReadonlyMap<string, Route>): FairleadError | undefined {
    const { interfaces, ports } = this.#options
    const lost = this.#backends.find((backend) => !routes.has(backend))
    if (lost !== undefined) return new FairleadError('HOST', `there is no route to ${lost}`)
    const aside = [...routes].find(
      ([, route]) => !this.#isHere(route) && !matchesAny(interfaces, route.device),
    )
    if (aside !== undefined) {
      const [backend, { device }] = aside
      const why = `${backend} is reached by ${device}, which agent.edge.interfaces does not name`
      return new FairleadError('HOST', `${why}: its replies would not be seen`)
    }
    const shared = this.#backends.length === 0 ? 0 : portsOfSockets(ports)
    if (shared === 0) return undefined
    const range = `${ports.first}-${ports.last}`
    const why = `${shared} of agent.edge.snatPorts ${range} are in net.ipv4.ip_local_port_range`
    return new FairleadError('HOST', `${why}: sockets of this node may be given the same ones`)
  }
}

function backendsOf(state: State): string[] {
  const all = [...state.services.values()]
    .filter((service) => service.return === 'snat')
    .flatMap(({ backends }) => backends.map(({ address }) => address))
  return [...new Set(all)].sort()
}

function leadsTo({ bridge, interfaces }: Attachment, device: string): boolean {
  return bridge === device || matchesAny(interfaces, device)
}
