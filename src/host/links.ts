/**
 * Interfaces of a network namespace, by iproute2's JSON; `ip monitor` only triggers a new look.
 * Nothing here changes an interface.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { canonicalAddress } from '../model/address.js'
import type { Log } from './log.js'
import { namespaceInode } from './namespaces.js'
import { inNamespace, run } from './run.js'

export interface HostLink {
  readonly ifindex: number
  readonly name: string
  /** Six bytes; absent where the link has none. */
  readonly mac?: Uint8Array
  /** `veth`, `bridge`, `vxlan`, ...; absent for physical links. */
  readonly kind?: string
  /** Name of the bridge or bond that holds it. */
  readonly master?: string
  /** How it runs an XDP program that is on it. */
  readonly xdpMode?: 'native' | 'generic'
  /** Of a veth: its other end is in another namespace. */
  readonly crosses?: true
  /** What leaves by it waits in a queue: its traffic is shaped. */
  readonly queued?: true
  /** Of a bridge: it tells VLANs apart. */
  readonly vlans?: true
}

/** IFLA_XDP_ATTACHED of linux/if_link.h. */
const XDP_MODES: Readonly<Record<number, 'native' | 'generic'>> = { 1: 'native', 2: 'generic' }

interface IpLink {
  readonly ifindex: number
  readonly ifname: string
  readonly address?: string
  readonly master?: string
  readonly linkinfo?: {
    readonly info_kind?: string
    readonly info_data?: { readonly vlan_filtering?: number }
  }
  readonly xdp?: { readonly mode?: number }
  readonly link_netnsid?: number
  readonly qdisc?: string
}

/** @throws FairleadError HOST, also when the namespace is not there */
export async function listLinks(namespace?: string): Promise<HostLink[]> {
  const text = await run(namespace, 'ip', ['-j', '-d', 'link', 'show'])
  const links = JSON.parse(text.trim() || '[]') as Partial<IpLink>[]
  return links.filter(isIpLink).map(toHostLink)
}

interface IpAddresses {
  readonly ifname: string
  readonly addr_info: readonly { readonly scope: string; readonly local: string }[]
}

/**
 * Addresses of global scope by interface name.
 *
 * @throws FairleadError HOST
 */
export async function listAddresses(namespace?: string): Promise<Map<string, string[]>> {
  const text = await run(namespace, 'ip', ['-j', 'address', 'show'])
  const links = JSON.parse(text.trim() || '[]') as Partial<IpAddresses>[]
  return new Map(
    links.map(({ ifname = '', addr_info = [] }) => [
      ifname,
      addr_info.filter(({ scope }) => scope === 'global').map(({ local }) => local),
    ]),
  )
}

/** Some milliseconds each. */
const MAX_NAMESPACES_ASKED = 1000

/**
 * Which of some namespaces has an address: its index, -1 if none has. One that is gone has none.
 *
 * @param namespaces paths; undefined is the agent's own
 */
export async function namespaceWithAddress(
  address: string,
  namespaces: readonly (string | undefined)[],
): Promise<number> {
  for (const [at, namespace] of namespaces.slice(0, MAX_NAMESPACES_ASKED).entries()) {
    const known = await listAddresses(namespace).catch(() => new Map<string, string[]>())
    if ([...known.values()].flat().map(canonicalAddress).includes(address)) return at
  }
  return -1
}

/** `ip -j` prints an empty object for a link that went while it was being listed. */
function isIpLink(link: Partial<IpLink>): link is IpLink {
  return link.ifindex !== undefined && link.ifname !== undefined
}

function toHostLink(link: IpLink): HostLink {
  const mac = parseMac(link.address ?? '')
  const kind = link.linkinfo?.info_kind
  const xdpMode = XDP_MODES[link.xdp?.mode ?? 0]
  return {
    ifindex: link.ifindex,
    name: link.ifname,
    ...(mac && { mac }),
    ...(kind !== undefined && { kind }),
    ...(link.master !== undefined && { master: link.master }),
    ...(xdpMode && { xdpMode }),
    ...(link.link_netnsid !== undefined && { crosses: true }),
    ...(link.qdisc !== 'noqueue' && { queued: true }),
    ...(link.linkinfo?.info_data?.vlan_filtering === 1 && { vlans: true }),
  }
}

export function parseMac(text: string): Uint8Array | undefined {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return undefined
  return Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16))
}

/** The links of a namespace as they are now. */
export interface LinkView {
  /** Inode of the namespace: tells a new one under an old name. */
  readonly inode: number
  readonly links: readonly HostLink[]
}

/** A new container's connections wait for the look; its interface tells itself in several lines. */
const DEBOUNCE_MS = 2
/** Between two looks, however much there is to tell. */
const REST_MS = 15
const NAMESPACE_POLL_MS = 250
const RESYNC_MS = 10_000
/** The monitor may subscribe only after the first look, so a second one follows. */
const SECOND_LOOK_MS = 150
const MIN_BACKOFF_MS = 100
const MAX_BACKOFF_MS = 5_000

/**
 * Follows one namespace: tells its links whenever they may have changed, and undefined when it is
 * gone. A namespace that is not there yet is waited for.
 */
export class LinkWatcher {
  readonly #namespace: string | undefined
  readonly #onView: (view: LinkView | undefined) => void
  readonly #log: Log
  readonly #also: readonly string[]
  readonly #poll: NodeJS.Timeout
  /** null: not looked yet, so that a namespace that is not there is told too. */
  #inode: number | undefined | null = null
  #monitor: ChildProcess | undefined
  #restartAt = 0
  #backoffMs = MIN_BACKOFF_MS
  #lookTimer: NodeJS.Timeout | undefined
  #lookDue = Infinity
  #lookedAt = -Infinity
  #looking: Promise<void> | undefined
  #nextResync = 0
  #checking = false
  #closed = false

  constructor(
    namespace: string | undefined,
    onView: (view: LinkView | undefined) => void,
    log: Log,
    /** Objects of `ip monitor` that are a reason to look as well: `address`, `route`. */
    also: readonly string[] = [],
  ) {
    this.#also = also
    this.#namespace = namespace
    this.#onView = onView
    this.#log = log
    this.#poll = setInterval(() => void this.#check(), NAMESPACE_POLL_MS)
    void this.#check()
  }

  /** Looks soon, however quiet the namespace is: after a failed attach, say. */
  lookAgain(delayMs: number): void {
    const due = performance.now() + delayMs
    if (this.#closed || due >= this.#lookDue) return
    clearTimeout(this.#lookTimer)
    this.#lookDue = due
    this.#lookTimer = setTimeout(() => {
      this.#lookDue = Infinity
      this.#looking = (this.#looking ?? Promise.resolve()).then(async () => {
        await this.#look()
        this.#lookedAt = performance.now()
      })
    }, delayMs)
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#poll)
    clearTimeout(this.#lookTimer)
    this.#stopMonitor()
  }

  async #check(): Promise<void> {
    if (this.#checking || this.#closed) return
    this.#checking = true
    try {
      this.#settle(await namespaceInode(this.#namespace))
    } finally {
      this.#checking = false
    }
  }

  #settle(inode: number | undefined): void {
    if (this.#closed) return
    if (inode !== this.#inode) {
      // The monitor would keep a deleted namespace, and every veth in it, alive.
      this.#stopMonitor()
      this.#restartAt = 0
      this.#inode = inode
      if (inode === undefined) this.#onView(undefined)
    }
    if (inode === undefined) return
    const now = performance.now()
    if (this.#monitor === undefined && now >= this.#restartAt) this.#startMonitor()
    if (now < this.#nextResync) return
    this.#nextResync = now + RESYNC_MS
    this.lookAgain(0)
  }

  async #look(): Promise<void> {
    const inode = this.#inode
    if (inode === undefined || inode === null || this.#closed) return
    try {
      const links = await listLinks(this.#namespace)
      // The answer is of an unknown namespace if the name changed hands meanwhile.
      if ((await namespaceInode(this.#namespace)) !== inode || this.#isClosed()) return
      this.#onView({ inode, links })
    } catch (error) {
      this.#log.warn({ namespace: this.#namespace, err: error }, 'links could not be listed')
      this.lookAgain(MIN_BACKOFF_MS)
    }
  }

  /** Apart, because the field changes behind an await. */
  #isClosed(): boolean {
    return this.#closed
  }

  #startMonitor(): void {
    const objects = ['link', ...this.#also]
    const [file, args] = inNamespace(this.#namespace, 'ip', ['-o', 'monitor', ...objects])
    // An agent that is killed cannot end it, and it would keep the namespace alive for ever.
    const dying = ['--pdeathsig', 'KILL', '--', file, ...args]
    const monitor = spawn('setpriv', dying, { stdio: ['ignore', 'pipe', 'ignore'] })
    this.#monitor = monitor
    const started = performance.now()
    const ended = () => {
      if (this.#monitor !== monitor) return
      this.#monitor = undefined
      const lived = performance.now() - started
      this.#backoffMs =
        lived > MAX_BACKOFF_MS ? MIN_BACKOFF_MS : Math.min(this.#backoffMs * 2, MAX_BACKOFF_MS)
      this.#restartAt = performance.now() + this.#backoffMs
    }
    monitor.once('error', ended)
    monitor.once('exit', ended)
    monitor.stdout.on('data', () => {
      const rested = this.#lookedAt + REST_MS - performance.now()
      this.lookAgain(Math.max(DEBOUNCE_MS, rested))
    })
    this.#nextResync = performance.now() + SECOND_LOOK_MS
    this.lookAgain(0)
  }

  #stopMonitor(): void {
    const monitor = this.#monitor
    this.#monitor = undefined
    monitor?.kill('SIGKILL')
  }
}
