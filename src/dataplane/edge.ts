/**
 * The node's edge: an XDP program and tc programs on each of its NICs, and one on every bridge
 * whose containers are reached from there. Follows the interfaces as they come and go.
 */
import { existsSync, rmSync } from 'node:fs'
import { Link, type BpfObject, type Program } from 'libbpf-ts'
import { matchesAny } from '../host/glob.js'
import { LinkWatcher, listAddresses, type HostLink, type LinkView } from '../host/links.js'
import type { Log } from '../host/log.js'
import { canonicalAddress } from '../model/address.js'
import { sameData } from '../model/diff.js'
import type { AttachmentInfo } from '../model/readback.js'
import type { Attachment, State } from '../model/types.js'
import type { CapturePort } from './capture.js'
import { removeLink } from './links.js'
import { OUTSIDE_NETWORK } from './outside.js'
import type { PortRange } from './programs.js'
import { isXdpPin, namesIn, parseTcPin, xdpName, type Direction, type Pins } from './pins.js'
import { attachPlaced, openPlaced, type Placed } from './place.js'
import { Turns } from './turns.js'

/** How packets of a NIC are seen: in the driver, behind it, or by tc alone. */
export type EdgeMode = 'auto' | 'native' | 'generic' | 'tc'

export interface EdgeOptions {
  /** Globs over the interfaces of the agent's own namespace. */
  readonly interfaces: readonly string[]
  readonly mode: EdgeMode
  /** Addresses that ports are published on; absent: those of the interfaces. */
  readonly addresses?: readonly string[]
  /** Agents of other nodes, whose tunnelled packets are taken. */
  readonly peers?: readonly string[]
  /** Source ports for `return: snat`. */
  readonly snatPorts?: PortRange
  readonly statelessAbove?: number
}

export interface EdgeContext {
  readonly pins: Pins
  readonly hook: 'tcx' | 'clsact'
  readonly load: (
    mac: Uint8Array,
    xdpAhead: boolean,
    addresses: readonly string[],
    programs: readonly string[],
  ) => Promise<BpfObject>
  readonly loadXdp: (addresses: readonly string[]) => Promise<BpfObject>
  readonly onAddresses: (addresses: readonly string[]) => void
  /** Called with what went wrong last, or undefined once all is well. */
  readonly onResult: (error: unknown) => void
  readonly log: Log
}

type Addresses = Awaited<ReturnType<typeof listAddresses>>

interface Hold extends Placed {
  readonly program: string
  readonly mode?: 'native' | 'generic'
}

/** One interface with its programs: a NIC, or the way out of a network. */
interface Port {
  readonly interface: HostLink
  readonly object: BpfObject
  readonly xdp?: BpfObject
  readonly holds: readonly Hold[]
}

/** The reverse translation first: no connection is begun that could not be answered. */
const NIC_PROGRAMS: readonly (readonly [Direction, string])[] = [
  ['egress', 'to_edge'],
  ['ingress', 'from_edge'],
]
const WAY_OUT_PROGRAMS: readonly (readonly [Direction, string])[] = [['ingress', 'from_bridge']]
const RETRY_MS = 2_000
const NO_MAC = new Uint8Array(6)

export class EdgeAttachment {
  readonly #options: EdgeOptions
  readonly #context: EdgeContext
  readonly #watcher: LinkWatcher
  readonly #ports = new Map<string, Port>()
  /** Absent until told: an earlier agent's ways out must not be taken for nobody's. */
  #networks: readonly Attachment[] | undefined
  #view: LinkView | undefined
  readonly #turns = new Turns(async () => this.#reconcile())
  #stale = false
  #addresses: readonly string[] | undefined
  /** Where tunnels that networks need begin and end. */
  #ends: readonly string[] = []

  constructor(options: EdgeOptions, context: EdgeContext) {
    this.#options = options
    this.#context = context
    this.#watcher = new LinkWatcher(
      undefined,
      (view) => {
        this.#view = view
        this.#work()
      },
      context.log,
    )
  }

  /** Of this node, the first of each family where tunnels end; none before the first apply(). */
  get addresses(): readonly string[] {
    return this.#addresses ?? []
  }

  /** Which networks are reached from outside; those of other namespaces have no way out here. */
  async apply(state: State): Promise<void> {
    const networks = [...state.networks.values()]
      .map(({ attachment }) => attachment)
      .filter(({ namespace }) => namespace === undefined)
    const ends = [...state.networks.values()].flatMap(({ tunnels }) => tunnels?.address ?? [])
    if (!sameData(networks, this.#networks) || !sameData(ends, this.#ends)) {
      this.#networks = networks
      this.#ends = ends
      this.#work()
    }
    await this.settled()
  }

  /** Loads the programs anew, because their constants have changed. */
  async reload(): Promise<void> {
    this.#stale = true
    this.#work()
    await this.settled()
  }

  async settled(): Promise<void> {
    await this.#turns.settled()
  }

  /** NICs that our programs are on. */
  ports(): CapturePort[] {
    return [...this.#ports.values()]
      .filter(({ holds }) => holds.some(({ program }) => program === 'from_edge'))
      .map(({ interface: { ifindex, name } }) => ({ ifindex, name }))
  }

  info(): AttachmentInfo[] {
    return [...this.#ports.values()].flatMap(({ interface: { name }, holds }) =>
      holds.map(({ link, program, mode }) => ({
        network: '',
        target: name,
        hook: mode !== undefined ? 'xdp' : link.hook === 'clsact' ? 'clsact' : 'tcx',
        program,
        ...(mode !== undefined && { mode }),
      })),
    )
  }

  /** Pins stay: traffic goes on. */
  async close(): Promise<void> {
    this.#watcher.close()
    await this.#turns.close()
    for (const port of this.#ports.values()) closePort(port)
    this.#ports.clear()
  }

  /** Nothing is settled before the interfaces have been seen. */
  #work(): void {
    if (this.#view !== undefined) this.#turns.ask()
  }

  async #reconcile(): Promise<void> {
    const view = this.#view
    if (view === undefined) return
    const known = await listAddresses()
    const nics = view.links.filter(({ name }) => this.#isNic(name, known))
    const waysOut = view.links.filter((link) => !nics.includes(link) && this.#isWayOut(link))
    // Told meanwhile, they are for the next time.
    const isTold = this.#networks !== undefined
    let stale = this.#stale
    this.#stale = false
    try {
      stale = this.#tellAddresses(nics, known) || stale
      const wanted = new Set([...nics, ...waysOut].map((link) => portKey(view, link)))
      for (const [key, port] of this.#ports) if (!wanted.has(key)) await this.#drop(key, port)
      for (const link of waysOut) await this.#attach(view, link, stale, false)
      for (const link of nics) await this.#attach(view, link, stale, true)
      if (isTold) await this.#prune()
      this.#context.onResult(undefined)
    } catch (error) {
      if (this.#turns.closed) return
      this.#stale ||= stale
      this.#context.log.warn({ err: error }, 'attaching at the edge failed, will be retried')
      this.#context.onResult(error)
      this.#watcher.lookAgain(RETRY_MS)
    }
  }

  /** Replies leave a network by its bridge, or by a container's own interface. */
  #isWayOut({ name, master }: HostLink): boolean {
    if (master !== undefined) return false
    return (this.#networks ?? []).some(
      ({ bridge, interfaces }) => bridge === name || matchesAny(interfaces, name),
    )
  }

  /** Of the edge by its name, or because tunnels end there. */
  #isNic(name: string, known: Addresses): boolean {
    if (matchesAny(this.#options.interfaces, name)) return true
    return (known.get(name) ?? []).some((text) => this.#ends.includes(canonicalAddress(text)))
  }

  /** True when they have changed: they are constants of the programs. */
  #tellAddresses(nics: readonly HostLink[], known: Addresses): boolean {
    const own = nics.flatMap(({ name }) => known.get(name) ?? []).map(canonicalAddress)
    const published = this.#options.addresses ?? [...new Set(own)].sort()
    // The first of each family is where tunnels end.
    const ends = this.#ends.filter((end) => own.includes(end))
    const found = [...new Set([...ends, ...published])]
    if (sameData(found, this.#addresses)) return false
    this.#addresses = found
    this.#context.onAddresses(published)
    return true
  }

  async #attach(view: LinkView, link: HostLink, stale: boolean, isNic: boolean): Promise<void> {
    const key = portKey(view, link)
    const before = this.#ports.get(key)
    if (before && !stale && isWhole(before) && sameMac(before.interface, link)) return
    const { context, mode } = { context: this.#context, mode: this.#options.mode }
    const withXdp = isNic && mode !== 'tc'
    const opened: BpfObject[] = []
    try {
      const addresses = this.#addresses ?? []
      const programs = isNic ? NIC_PROGRAMS : WAY_OUT_PROGRAMS
      const names = programs.map(([, program]) => program)
      const object = await context.load(link.mac ?? NO_MAC, withXdp, addresses, names)
      opened.push(object)
      const holds: Hold[] = []
      for (const [direction, program] of programs)
        holds.push(await this.#attachTc(view, link, direction, object.program(program)))
      if (!withXdp) {
        this.#keep(key, { interface: link, object, holds }, before)
        return
      }
      const xdp = await context.loadXdp(addresses)
      opened.push(xdp)
      holds.push(await this.#attachXdp(view, link, xdp.program('from_wire')))
      this.#keep(key, { interface: link, object, xdp, holds }, before)
    } catch (error) {
      for (const object of opened) object.close()
      throw error
    }
  }

  #keep(key: string, port: Port, before: Port | undefined): void {
    this.#ports.set(key, port)
    if (before !== undefined) closePort(before)
  }

  async #attachTc(
    { inode }: LinkView,
    { ifindex }: HostLink,
    direction: Direction,
    program: Program,
  ): Promise<Hold> {
    const { pins, hook } = this.#context
    const pin = { networkId: OUTSIDE_NETWORK, inode, ifindex, direction }
    const found = await openPlaced(pins, pin)
    await found?.link.update(program)
    return { ...(found ?? (await attachPlaced(pins, pin, program, hook))), program: program.name }
  }

  async #attachXdp({ inode }: LinkView, nic: HostLink, program: Program): Promise<Hold> {
    const { ifindex } = nic
    const place = `${this.#context.pins.links}/${xdpName({ inode, ifindex })}`
    const hold = { program: program.name, place }
    const { mode } = this.#options
    if (existsSync(place)) {
      const link = Link.openPinned(place)
      const there = nic.xdpMode
      const fits = mode === 'auto' || mode === there
      if (link.info().ifindex === ifindex && there !== undefined && fits) {
        await link.update(program)
        return { ...hold, link, mode: there }
      }
      link.close()
      await removeLink(place)
    }
    const link = await program.attachXdp({
      interface: ifindex,
      mode: mode === 'tc' ? 'auto' : mode,
    })
    link.pin(place)
    return { ...hold, link, mode: link.mode ?? 'generic' }
  }

  async #drop(key: string, port: Port): Promise<void> {
    this.#ports.delete(key)
    for (const { link, place } of [...port.holds].reverse()) {
      await link.detach().catch(() => undefined)
      rmSync(place, { force: true, recursive: true })
    }
    closePort(port)
  }

  /** Removes pins of interfaces that are not at the edge any more. */
  async #prune(): Promise<void> {
    const kept = new Set(
      [...this.#ports.values()].flatMap(({ holds }) => holds.map((h) => h.place)),
    )
    await pruneEdge(this.#context.pins, kept)
  }
}

/** Removes pinned links of the edge but those at `kept`. */
export async function pruneEdge(pins: Pins, kept: ReadonlySet<string>): Promise<void> {
  for (const name of namesIn(pins.links)) {
    const place = `${pins.links}/${name}`
    const ours = isXdpPin(name) || parseTcPin(name)?.networkId === OUTSIDE_NETWORK
    if (ours && !kept.has(place)) await removeLink(place)
  }
}

function portKey({ inode }: LinkView, { ifindex }: HostLink): string {
  return `${inode} ${ifindex}`
}

/** False when somebody else has detached a program. */
function isWhole({ interface: { ifindex }, holds }: Port): boolean {
  return holds.every(({ link }) => link.info().ifindex === ifindex)
}

function sameMac(a: HostLink, b: HostLink): boolean {
  return Buffer.compare(a.mac ?? NO_MAC, b.mac ?? NO_MAC) === 0
}

function closePort({ object, xdp, holds }: Port): void {
  for (const { link } of holds) link.close()
  object.close()
  xdp?.close()
}
