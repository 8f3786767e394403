/**
 * The tc path of one network: an instance of the programs with the network's id in it, on every
 * veth of its bridge and on the interfaces it names, following them as they come and go.
 */
import { existsSync, renameSync, rmSync } from 'node:fs'
import { Link, type BpfObject } from 'libbpf-ts'
import { FairleadError } from '../errors.js'
import { matchesAny } from '../host/glob.js'
import { LinkWatcher, type HostLink, type LinkView } from '../host/links.js'
import type { Log } from '../host/log.js'
import { HOST_NAMESPACE } from '../host/namespaces.js'
import type { AttachmentInfo } from '../model/readback.js'
import type { Attachment } from '../model/types.js'
import type { CapturePort } from './capture.js'
import { removeFilter, removeLink } from './links.js'
import { namesIn, parseTcPin, type Direction, type Pins, type TcPin } from './pins.js'
import { attachPlaced, openPlaced, type Placed } from './place.js'
import type { BridgePort } from './programs.js'
import { Turns } from './turns.js'

const PROGRAMS: readonly (readonly [Direction, string])[] = [
  // The reverse translation first: no connection is begun that could not be answered.
  ['egress', 'to_container'],
  ['ingress', 'from_container'],
]

const MIN_RETRY_MS = 500
/** Loading programs takes the loop 130 ms; one that is refused must not be tried in vain often. */
const MAX_RETRY_MS = 30_000

export interface NetworkContext {
  readonly pins: Pins
  readonly hook: 'tcx' | 'clsact'
  readonly load: (networkId: number, bridge: BridgePort | undefined) => Promise<BpfObject>
  /** True while programs of another layout are being replaced. */
  readonly copying: () => boolean
  /** Copies what programs that are about to be replaced, or just were, wrote to former maps. */
  readonly catchUp: () => Promise<void>
  /** The bridge's ports, whenever they may have changed; undefined: it is not there. */
  readonly onBridge: (bridge: string, view: LinkView | undefined) => void
  /** Called with what went wrong last, or undefined once all is well. */
  readonly onResult: (error: unknown) => void
  readonly log: Log
}

/** One program on one interface. */
interface Hold extends Placed {
  readonly direction: Direction
  readonly program: string
  readonly interface: HostLink
}

/** What an instance of the programs was loaded for. */
interface Instance {
  readonly object: BpfObject
  readonly bridge: BridgePort | undefined
  readonly inode: number
}

export class NetworkAttachment {
  readonly #context: NetworkContext
  #attachment: Attachment
  readonly #watcher: LinkWatcher
  readonly #holds = new Map<string, Hold>()
  #instance: Instance | undefined
  #view: LinkView | undefined
  readonly #turns = new Turns(async () => this.#reconcile())
  #stale = false
  #failed = false
  #retryMs = MIN_RETRY_MS

  constructor(
    readonly name: string,
    readonly id: number,
    attachment: Attachment,
    context: NetworkContext,
  ) {
    this.#attachment = attachment
    this.#context = context
    this.#watcher = new LinkWatcher(attachment.namespace, (view) => this.#see(view), context.log)
  }

  /** Another bridge or other interfaces; the namespace must be the same. */
  change(attachment: Attachment): void {
    this.#attachment = attachment
    this.#turns.ask()
  }

  get attachment(): Attachment {
    return this.#attachment
  }

  /** True when something that is there could not be attached, and may run an earlier program. */
  get failed(): boolean {
    return this.#failed
  }

  /** Loads the programs anew, because their constants have changed. */
  async reload(): Promise<void> {
    if (this.#turns.closed) return
    this.#stale = true
    this.#turns.ask()
    await this.settled()
  }

  /** Resolves when the namespace has been looked at and what was found there is attached. */
  async settled(): Promise<void> {
    await this.#turns.settled()
  }

  /** Interfaces that our programs are on. */
  ports(): CapturePort[] {
    const { namespace } = this.attachment
    const links = new Map([...this.#holds.values()].map((hold) => [hold.interface.ifindex, hold]))
    return [...links.values()].map(({ interface: { ifindex, name } }) => ({
      ...{ ifindex, name },
      ...(namespace !== undefined && { namespace }),
    }))
  }

  info(): AttachmentInfo[] {
    const { namespace } = this.attachment
    return [...this.#holds.values()].map(({ link, program, interface: { name } }) => ({
      network: this.name,
      ...(namespace !== undefined && { namespace }),
      target: name,
      hook: link.hook === 'clsact' ? 'clsact' : 'tcx',
      program,
    }))
  }

  /** Pins stay: traffic goes on. */
  async close(): Promise<void> {
    this.#watcher.close()
    await this.#turns.close()
    for (const { link } of this.#holds.values()) link.close()
    this.#holds.clear()
    this.#instance?.object.close()
    this.#instance = undefined
  }

  /** Takes the programs off all interfaces and closes. */
  async remove(): Promise<void> {
    this.#watcher.close()
    await this.#turns.close()
    for (const [key, hold] of this.#holds) await this.#drop(key, hold)
    this.#tellBridge(undefined)
    await this.#prune(undefined)
    this.#removeTails(undefined)
    await this.close()
  }

  #see(view: LinkView | undefined): void {
    this.#view = view
    this.#turns.ask()
  }

  async #reconcile(): Promise<void> {
    const view = this.#view
    const bridge = this.#findBridge(view)
    const absent = view === undefined || (this.attachment.bridge !== undefined && !bridge)
    const ports = absent ? [] : this.#ports(view)
    try {
      const wanted = new Set(ports.flatMap((port) => PROGRAMS.map(([d]) => holdKey(view, port, d))))
      for (const [key, hold] of this.#holds)
        if (!wanted.has(key) || !isAttached(hold)) await this.#drop(key, hold)
      if (!absent) {
        // A bridge takes the lowest MAC of its ports, so a new port may well change it. Only what is
        // routed depends on that MAC; the port need not wait for programs to be loaded anew.
        if (this.#suits(view, bridge)) await this.#attachAll(view, ports)
        await this.#useInstance(view, bridge)
        await this.#attachAll(view, ports)
        await this.#context.catchUp()
      }
      this.#tellBridge(bridge && view)
      await this.#prune(new Set([...this.#holds.values()].map(({ place }) => place)))
      this.#retryMs = MIN_RETRY_MS
      this.#failed = false
      this.#context.onResult(this.#lacking(view, ports))
    } catch (error) {
      if (this.#turns.closed) return
      this.#failed = true
      this.#context.log.warn(
        { network: this.name, err: error },
        'attaching failed, will be retried',
      )
      this.#context.onResult(error)
      this.#watcher.lookAgain(this.#retryMs)
      this.#retryMs = Math.min(this.#retryMs * 2, MAX_RETRY_MS)
    }
  }

  #tellBridge(view: LinkView | undefined): void {
    const { bridge } = this.attachment
    if (bridge !== undefined) this.#context.onBridge(bridge, view)
  }

  #findBridge(view: LinkView | undefined): BridgePort | undefined {
    const bridge = view?.links.find(({ name }) => name === this.attachment.bridge)
    return bridge?.mac && { ifindex: bridge.ifindex, mac: bridge.mac }
  }

  #ports(view: LinkView): HostLink[] {
    const { bridge, interfaces } = this.attachment
    return view.links.filter(
      (link) =>
        (bridge !== undefined && link.master === bridge && link.kind === 'veth') ||
        matchesAny(interfaces, link.name),
    )
  }

  /** What the configuration names and is not there, or not as it must be for traffic to pass. */
  #lacking(view: LinkView | undefined, ports: readonly HostLink[]): FairleadError | undefined {
    const { namespace, bridge } = this.attachment
    if (view === undefined)
      return host(`namespace ${namespace ?? HOST_NAMESPACE} is not there; it is waited for`)
    const kindOf = (name: string) => view.links.find((link) => link.name === name)?.kind
    if (bridge !== undefined && this.#findBridge(view) === undefined)
      return host(`bridge ${bridge} is not there; it is waited for`)
    // Without its bridge the programs route, but a frame to a VIP's MAC stays on the bridge.
    const stray = ports.find(
      ({ master }) => master !== undefined && master !== bridge && kindOf(master) === 'bridge',
    )
    return stray?.master === undefined
      ? undefined
      : host(
          `${stray.name} is a port of bridge ${stray.master}, which attach.bridge does not name: ` +
            'its connections to VIPs hang',
        )
  }

  #suits({ inode }: LinkView, bridge: BridgePort | undefined): boolean {
    const instance = this.#instance
    return instance?.inode === inode && instance.bridge?.ifindex === bridge?.ifindex
  }

  /** The bridge is a constant of the programs: another bridge needs another instance. */
  async #useInstance(view: LinkView, bridge: BridgePort | undefined): Promise<void> {
    const before = this.#instance
    if (!this.#stale && before?.inode === view.inode && sameBridge(before.bridge, bridge)) return
    // Asked for again meanwhile, it is for the next turn.
    this.#stale = false
    let object: BpfObject | undefined
    try {
      object = await this.#context.load(this.id, bridge)
      const generation = this.#pinTails(object)
      await this.#context.catchUp()
      for (const hold of [...this.#holds.values()])
        await hold.link.update(object.program(hold.program))
      this.#removeTails(generation)
    } catch (error) {
      this.#stale = true
      object?.close()
      throw error
    }
    this.#instance = { object, bridge, inode: view.inode }
    before?.object.close()
  }

  async #attachAll(view: LinkView, ports: readonly HostLink[]): Promise<void> {
    const tries = ports.map(async (port) => {
      for (const [direction, program] of PROGRAMS) {
        const key = holdKey(view, port, direction)
        if (this.#holds.has(key)) continue
        const hold = await this.#attach(view, port, direction, program)
        this.#holds.set(key, hold)
      }
    })
    const results = await Promise.allSettled(tries)
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  async #attach(
    view: LinkView,
    port: HostLink,
    direction: Direction,
    programName: string,
  ): Promise<Hold> {
    const pin = { networkId: this.id, inode: view.inode, ifindex: port.ifindex, direction }
    const program = this.#instance?.object.program(programName)
    if (program === undefined) throw new Error(`${this.name} has no programs loaded`)
    const { pins, hook } = this.#context
    const { namespace } = this.attachment
    const hold = { direction, program: programName, interface: port }
    const found = await openPlaced(pins, pin)
    if (found === undefined)
      return { ...hold, ...(await attachPlaced(pins, pin, program, hook, namespace)) }
    const where = { interface: port.ifindex, direction, netns: namespace }
    const link = await this.#attachBeside(found, pin, async () => program.attachTcx(where))
    if (link === undefined) await found.link.update(program)
    return { ...hold, ...found, ...(link && { link }) }
  }

  /**
   * While flows are copied into new maps, neither the old reverse translation nor the new one knows
   * all of them: until that is done the old one runs before the new one, and not even a datagram is
   * lost. What one of them has translated the other takes for none of its own.
   */
  async #attachBeside(
    { link: old, place }: Placed,
    pin: TcPin,
    attach: () => Promise<Link>,
  ): Promise<Link | undefined> {
    const former = this.#context.pins.formerTcLink(pin)
    const beside = this.#context.copying() && pin.direction === 'egress' && old.hook === 'tcx'
    // An agent that died here has left one: the oldest is the one that must stay.
    if (!beside || existsSync(former)) return undefined
    const link = await attach()
    renameSync(place, former)
    link.pin(place)
    old.close()
    return link
  }

  async #drop(key: string, hold: Hold): Promise<void> {
    this.#holds.delete(key)
    await hold.link.detach().catch(() => undefined)
    hold.link.close()
    rmSync(hold.place, { force: true, recursive: true })
  }

  /** Removes pins of this network that nothing here holds: of interfaces that are gone. */
  async #prune(kept: ReadonlySet<string> | undefined): Promise<void> {
    const { pins } = this.#context
    for (const name of namesIn(pins.links)) {
      const place = `${pins.links}/${name}`
      if (parseTcPin(name)?.networkId === this.id && !kept?.has(place)) await removeLink(place)
    }
    for (const name of namesIn(pins.filters)) {
      const note = `${pins.filters}/${name}`
      if (parseTcPin(name)?.networkId === this.id && !kept?.has(note)) await removeFilter(note)
    }
  }

  #pinTails(object: BpfObject): number {
    const { pins } = this.#context
    const taken = namesIn(pins.tails).map((name) => Number(name.split('_')[1]))
    const generation = Math.max(0, ...taken) + 1
    for (const [name, map] of object.maps)
      if (map.type === 'prog_array') map.pin(pins.tail(this.id, name, generation))
    return generation
  }

  #removeTails(kept: number | undefined): void {
    const { pins } = this.#context
    for (const name of namesIn(pins.tails)) {
      const [network, generation] = name.split('_').map(Number)
      if (network === this.id && generation !== kept) rmSync(`${pins.tails}/${name}`)
    }
  }
}

function host(reason: string): FairleadError {
  return new FairleadError('HOST', reason)
}

function holdKey(view: LinkView | undefined, port: HostLink, direction: Direction): string {
  return `${view?.inode ?? 0} ${port.ifindex} ${direction}`
}

/** False for a link that somebody else has detached. */
function isAttached({ link, interface: { ifindex } }: Hold): boolean {
  return link.info().ifindex === ifindex
}

function sameBridge(a: BridgePort | undefined, b: BridgePort | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return a.ifindex === b.ifindex && Buffer.compare(a.mac, b.mac) === 0
}
