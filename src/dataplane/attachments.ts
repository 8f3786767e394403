/** Where the programs are: the interfaces of each network, and the cgroup root for sockets. */
import { rmSync } from 'node:fs'
import { FairleadError } from '../errors.js'
import type { LinkView } from '../host/links.js'
import type { Log } from '../host/log.js'
import { HOST_NAMESPACE, NamespaceWatcher } from '../host/namespaces.js'
import { sameData } from '../model/diff.js'
import type { AttachmentInfo } from '../model/readback.js'
import type { Network, Problem, State } from '../model/types.js'
import type { CapturePort } from './capture.js'
import { CgroupAttachment } from './cgroup.js'
import type { SocketNamespace } from './explain.js'
import type { Veths } from './veths.js'
import { EdgeAttachment, pruneEdge, type EdgeOptions } from './edge.js'
import { removeFilter, removeLink } from './links.js'
import { NetworkAttachment } from './network.js'
import { namesIn, parseTcPin } from './pins.js'
import type { PinnedMaps } from './pinnedMaps.js'
import { OUTSIDE_NETWORK, type Outside } from './outside.js'
import { SnatSources } from './snatSources.js'
import { loadEdge, loadSock, loadTc, loadXdp, type ProgramSettings } from './programs.js'
import { reasonOf } from '../reason.js'
import type { SocketScopes } from './reconciler.js'

const SOCKET_PATH = 'socket path'

export interface AttachmentsOptions {
  readonly maps: PinnedMaps
  readonly settings: ProgramSettings
  /** Absent: this host has no cgroup v2, so no socket path. */
  readonly cgroupPath: string | undefined
  readonly networkId: (name: string) => number | undefined
  readonly veths: Veths
  readonly onScopes: (scopes: SocketScopes) => void
  /** Absent: no interface of this node leads outside. */
  readonly edge?: EdgeOptions
  readonly onOutside: (outside: Outside) => void
  readonly onProblems: () => void
  readonly log: Log
}

interface Scope {
  readonly globs: readonly string[]
  readonly watcher: NamespaceWatcher
  cookies: readonly bigint[]
  found: readonly SocketNamespace[]
}

export class Attachments {
  readonly #options: AttachmentsOptions
  readonly #networks = new Map<string, NetworkAttachment>()
  readonly #scopes = new Map<string, Scope>()
  readonly #cgroup: CgroupAttachment | undefined
  readonly #edge: EdgeAttachment | undefined
  readonly #snat: SnatSources | undefined
  #addresses: readonly string[] | undefined
  readonly #problems = new Map<string, Problem>()
  #pruned = false
  #closed = false

  constructor(options: AttachmentsOptions) {
    this.#options = options
    const { maps, settings, cgroupPath, edge } = options
    this.#edge = edge && this.#openEdge(edge)
    this.#snat = edge && this.#openSnat(edge)
    if (cgroupPath !== undefined)
      this.#cgroup = new CgroupAttachment(
        cgroupPath,
        maps.pins,
        () => loadSock(settings, maps),
        () => this.#catchUp(),
      )
  }

  #openEdge(edge: EdgeOptions): EdgeAttachment {
    const { maps, settings, log } = this.#options
    return new EdgeAttachment(edge, {
      pins: maps.pins,
      hook: settings.hook,
      load: (mac, xdpAhead, addresses, programs) =>
        loadEdge(settings, maps, mac, xdpAhead, addresses, programs),
      loadXdp: (addresses) => loadXdp(settings, maps, addresses),
      onAddresses: (addresses) => {
        this.#addresses = addresses
        this.#tellOutside(edge)
      },
      onResult: (error) => this.#setProblem('edge', error),
      log,
    })
  }

  #openSnat(edge: EdgeOptions): SnatSources {
    return new SnatSources({
      interfaces: edge.interfaces,
      ports: this.#options.settings.snatPorts,
      onChange: () => this.#tellOutside(edge),
      onResult: (error) => this.#setProblem('return: snat', error),
      log: this.#options.log,
    })
  }

  #tellOutside({ peers = [] }: EdgeOptions): void {
    const addresses = this.#addresses
    const sources = this.#snat?.sources
    if (addresses === undefined) return
    this.#options.onOutside({ addresses, peers, ...(sources && { sources }) })
  }

  /** Addresses of this node, the first of each family where tunnels to other nodes begin. */
  get tunnelEnds(): readonly string[] {
    return this.#edge?.addresses ?? []
  }

  /** To be called again only after it has resolved. What cannot be attached is a problem. */
  async apply(state: State): Promise<void> {
    if (this.#closed) return
    await this.#applyNetworks(state)
    await this.#applyScopes(state)
    await this.#applyCgroup(state)
    await this.#snat?.apply(state)
    await this.#edge?.apply(state)
    if (!this.#pruned) await this.#pruneUnknown()
    this.#pruned = true
    await Promise.all([...this.#networks.values()].map(async (network) => network.settled()))
  }

  /** True when apply() should be called again with the same state; networks look after themselves. */
  get unfinished(): boolean {
    return this.#problems.has(SOCKET_PATH)
  }

  /** Loads all programs anew, because the constants they share have changed. */
  async reload(): Promise<void> {
    await Promise.all([...this.#networks.values()].map(async (network) => network.reload()))
    await this.#cgroup?.reload()
    await this.#edge?.reload()
  }

  /** Namespaces whose sockets are balanced; undefined: the agent's own. */
  socketNamespaces(): (string | undefined)[] {
    const paths = new Set(
      [...this.#scopes.values()].flatMap(({ found }) => found.map(({ path }) => path)),
    )
    return [...paths].map((path) => (path === HOST_NAMESPACE ? undefined : path))
  }

  /** Interfaces with our programs, of a network or of the edge. */
  portsOf(network: string | undefined): readonly CapturePort[] {
    if (network === undefined) return this.#edge?.ports() ?? []
    return this.#networks.get(network)?.ports() ?? []
  }

  /** Namespaces of one network whose sockets are balanced. */
  socketsOf(network: string): readonly SocketNamespace[] {
    return this.#scopes.get(network)?.found ?? []
  }

  /** True while an earlier agent's programs may still be attached somewhere. */
  get failed(): boolean {
    const networks = [...this.#networks.values()]
    return this.unfinished || networks.some((network) => network.failed)
  }

  problems(): Problem[] {
    return [...this.#problems.values()]
  }

  info(): AttachmentInfo[] {
    const tc = [...this.#networks.values()].flatMap((network) => network.info())
    const cgroup = this.#cgroup?.info() ?? []
    const sock = [...this.#scopes.keys()].flatMap((network) =>
      cgroup.map((link) => ({ network, ...link })),
    )
    return [...tc, ...sock, ...(this.#edge?.info() ?? [])]
  }

  /** Pins stay: traffic goes on. */
  async close(): Promise<void> {
    this.#closed = true
    for (const { watcher } of this.#scopes.values()) watcher.close()
    await Promise.all([...this.#networks.values()].map(async (network) => network.close()))
    this.#cgroup?.close()
    this.#snat?.close()
    await this.#edge?.close()
  }

  async #catchUp(): Promise<void> {
    await this.#options.maps.transition?.catchUp()
  }

  async #applyNetworks(state: State): Promise<void> {
    for (const [name, attached] of this.#networks) {
      const wanted = state.networks.get(name)?.attachment
      const stays =
        wanted !== undefined &&
        wanted.namespace === attached.attachment.namespace &&
        this.#options.networkId(name) === attached.id
      if (!stays) {
        this.#networks.delete(name)
        this.#setProblem(`network ${name}`, undefined)
        await attached.remove()
      } else if (!sameData(wanted, attached.attachment)) attached.change(wanted)
    }
    for (const [name, network] of state.networks) this.#addNetwork(name, network)
  }

  #addNetwork(name: string, { attachment }: Network): void {
    const id = this.#options.networkId(name)
    if (id === undefined || this.#networks.has(name)) return
    if (attachment.bridge === undefined && attachment.interfaces.length === 0) return
    const { maps, settings, veths, log } = this.#options
    const { namespace } = attachment
    const context = {
      pins: maps.pins,
      hook: settings.hook,
      load: (networkId: number, bridge: Parameters<typeof loadTc>[3]) =>
        loadTc(settings, maps, networkId, bridge),
      copying: () => maps.transition !== undefined,
      catchUp: () => this.#catchUp(),
      onBridge: (bridge: string, view: LinkView | undefined) =>
        veths.see({ id, bridge, ...(namespace !== undefined && { namespace }) }, view),
      onResult: (error: unknown) => this.#setProblem(`network ${name}`, error),
      log,
    }
    this.#networks.set(name, new NetworkAttachment(name, id, attachment, context))
  }

  async #applyScopes(state: State): Promise<void> {
    const before = new Set(this.#scopes.keys())
    const fresh: NamespaceWatcher[] = []
    for (const [name, { attachment }] of state.networks) {
      before.delete(name)
      const scope = this.#scopes.get(name)
      if (scope !== undefined && sameData(scope.globs, attachment.sockets)) continue
      scope?.watcher.close()
      this.#scopes.delete(name)
      if (attachment.sockets.length === 0) continue
      const watcher = this.#watchSockets(name, attachment.sockets, scope?.cookies ?? [])
      fresh.push(watcher)
    }
    for (const name of before) {
      this.#scopes.get(name)?.watcher.close()
      this.#scopes.delete(name)
    }
    await Promise.all(fresh.map(async (watcher) => watcher.refreshed()))
    this.#tellScopes()
  }

  #watchSockets(
    name: string,
    globs: readonly string[],
    cookies: readonly bigint[],
  ): NamespaceWatcher {
    let ready = false
    const watcher = new NamespaceWatcher(globs, (found) => {
      const scope = this.#scopes.get(name)
      if (scope?.watcher !== watcher) return
      scope.cookies = [...new Set(found.map(({ cookie }) => cookie))]
      scope.found = found
      if (ready) this.#tellScopes()
      ready = true
    })
    this.#scopes.set(name, { globs, watcher, cookies, found: [] })
    return watcher
  }

  #tellScopes(): void {
    const scopes = [...this.#scopes].map(([name, { cookies }]) => [name, cookies] as const)
    this.#options.onScopes(new Map(scopes))
  }

  async #applyCgroup(state: State): Promise<void> {
    const wanted = [...state.networks.values()].some(
      ({ attachment }) => attachment.sockets.length > 0,
    )
    try {
      if (wanted && this.#cgroup === undefined)
        throw new FairleadError('HOST', 'sockets cannot be balanced: cgroup v2 is not mounted')
      if (wanted) await this.#cgroup?.attach()
      else await this.#cgroup?.detach()
      this.#setProblem(SOCKET_PATH, undefined)
    } catch (error) {
      this.#options.log.error({ err: error }, 'the socket programs could not be attached')
      this.#setProblem(SOCKET_PATH, error)
    }
  }

  /** Pins of networks that are in no state any more. */
  async #pruneUnknown(): Promise<void> {
    const { pins } = this.#options.maps
    const known = new Set([...this.#networks.values()].map(({ id }) => id))
    if (this.#edge === undefined) await pruneEdge(pins, new Set())
    else known.add(OUTSIDE_NETWORK)
    for (const name of namesIn(pins.links)) {
      const pin = parseTcPin(name)
      if (pin !== undefined && !known.has(pin.networkId)) await removeLink(`${pins.links}/${name}`)
    }
    for (const name of namesIn(pins.filters)) {
      const pin = parseTcPin(name)
      if (pin !== undefined && !known.has(pin.networkId))
        await removeFilter(`${pins.filters}/${name}`)
    }
    for (const name of namesIn(pins.tails))
      if (!known.has(Number(name.split('_')[0]))) rmSync(`${pins.tails}/${name}`)
  }

  #setProblem(item: string, error: unknown): void {
    const before = this.#problems.get(item)?.reason
    if (error === undefined) this.#problems.delete(item)
    else {
      const reason = reasonOf(error)
      const code = error instanceof FairleadError ? error.code : 'HOST'
      this.#problems.set(item, { source: 'dataplane', item, code, reason })
    }
    if (this.#problems.get(item)?.reason !== before) this.#options.onProblems()
  }
}
