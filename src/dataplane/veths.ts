/**
 * Which veth of a network's bridge an address is behind (bpf/veth.h), as the kernel's own tables have
 * it: the programs hand packets over there. They trust it until a time that this agent puts off.
 */
import type { KernelMap } from './tables.js'
import { type HostLink, type LinkView, parseMac } from '../host/links.js'
import type { Log } from '../host/log.js'
import { tenantsOf } from '../host/neighbours.js'
import { family } from '../model/address.js'
import { sameData } from '../model/diff.js'
import type { PinnedMaps } from './pinnedMaps.js'
import { addressRow } from './rows.js'

const RENEW_MS = 1_000
/** What is known outlives a dead agent by so long. */
const LEASE_SECONDS = 5
/** A container is known once it has said something and has been asked for. */
const MIN_WAIT_MS = 500
/** What moved without a link's coming or going is found so. */
const MAX_WAIT_MS = 10_000
/** VETH_SCOPE_BRIDGE of bpf/veth.h: a macro, which BTF does not carry. */
const SCOPE_BRIDGE = 0x8000_0000

/** Of the edge, which is in the agent's own namespace and knows the bridge alone; else a network's id. */
export function bridgeScope(ifindex: number): number {
  return (SCOPE_BRIDGE | ifindex) >>> 0
}

interface Row {
  readonly scope: number
  readonly address: string
  readonly port: HostLink
  readonly mac: Uint8Array
}

type Rows = ReadonlyMap<string, Row>

/** A network with a bridge. */
export interface BridgedNetwork {
  readonly id: number
  /** Absent: the agent's own. */
  readonly namespace?: string
  readonly bridge: string
}

/** A bridge as it was found. */
interface Bridge {
  /** Of its namespace. */
  readonly inode: number
  readonly ifindex: number
  /** Those that a packet may pass it to. */
  readonly ports: readonly HostLink[]
}

interface Watched {
  readonly network: BridgedNetwork
  readonly bridge: Bridge
  rows: Rows
  waitMs: number
  timer?: NodeJS.Timeout
}

export interface VethParts {
  readonly maps: PinnedMaps
  /** False: packets always go by the bridge. */
  readonly enabled: boolean
  readonly hz: number
  /** Low 32 bits of the kernel's; undefined: not known yet. */
  readonly jiffies: () => number | undefined
  readonly log: Log
}

export class Veths {
  readonly #parts: VethParts
  readonly #networks = new Map<number, Watched>()
  readonly #written = new Map<string, Row>()
  readonly #renewal: NodeJS.Timeout
  #held = 0

  constructor(parts: VethParts) {
    this.#parts = parts
    // An earlier agent's may be of containers that have moved since.
    this.#lease(0)
    for (const map of [this.#map(4), this.#map(6)])
      for (const key of [...map.keys()]) map.delete(key)
    this.#renewal = setInterval(() => this.#renew(), RENEW_MS)
    this.#renewal.unref()
  }

  /**
   * Ports have come, or gone.
   *
   * @param view undefined: the bridge has
   */
  see(network: BridgedNetwork, view: LinkView | undefined): void {
    const before = this.#networks.get(network.id)
    const bridge = view && this.#parts.enabled ? bridgeIn(view, network.bridge) : undefined
    // Links are told of now and then, whether or not they have changed.
    if (before && sameData([before.network, before.bridge], [network, bridge])) return
    clearTimeout(before?.timer)
    this.#networks.delete(network.id)
    if (bridge !== undefined) {
      const ports = new Set(bridge.ports.map(({ ifindex }) => ifindex))
      const known = before?.bridge.inode === bridge.inode ? [...before.rows] : []
      const rows = new Map(known.filter(([, { port }]) => ports.has(port.ifindex)))
      const watched = { network, bridge, rows, waitMs: MIN_WAIT_MS }
      this.#networks.set(network.id, watched)
      if (ports.size > 0) this.#lookIn(watched, 0)
    }
    this.#write()
  }

  /** The name of the veth that an address is handed its packets at, if any. @param scope id or bridgeScope() */
  portOf(scope: number, address: string): string | undefined {
    if (this.#held > 0) return undefined
    return this.#written.get(keyOf(scope, address))?.port.name
  }

  /** From now on packets go by the bridges. @returns what ends that */
  hold(): () => void {
    this.#held++
    this.#renew()
    return () => {
      this.#held--
      this.#renew()
    }
  }

  /** The rows stay, and are nothing to the programs. */
  close(): void {
    clearInterval(this.#renewal)
    for (const { timer } of this.#networks.values()) clearTimeout(timer)
    this.#networks.clear()
    this.#lease(0)
  }

  #map(of: 4 | 6): KernelMap {
    return this.#parts.maps.get(`veths${of}`)
  }

  #renew(): void {
    const { enabled, jiffies, hz } = this.#parts
    const now = this.#held === 0 && enabled ? jiffies() : undefined
    // 0 means something else.
    this.#lease(now === undefined ? 0 : Math.max(1, (now + LEASE_SECONDS * hz) >>> 0))
  }

  #lease(until: number): void {
    this.#parts.maps.get('veth_leases').set(0, { until })
  }

  #lookIn(watched: Watched, delayMs: number): void {
    watched.timer = setTimeout(() => void this.#look(watched), delayMs)
    watched.timer.unref()
  }

  async #look(watched: Watched): Promise<void> {
    const { network, bridge } = watched
    const isCurrent = (): boolean => this.#networks.get(network.id) === watched
    try {
      const rows = await rowsOf(network, bridge)
      if (!isCurrent()) return
      watched.rows = rows
      this.#write()
    } catch (error) {
      this.#parts.log.debug(
        { bridge: network.bridge, err: error },
        'its ports could not be looked at',
      )
    }
    if (!isCurrent()) return
    this.#lookIn(watched, watched.waitMs)
    watched.waitMs = Math.min(watched.waitMs * 2, MAX_WAIT_MS)
  }

  #write(): void {
    const wanted = new Map([...this.#networks.values()].flatMap(({ rows }) => [...rows]))
    for (const [key, row] of this.#written)
      if (!wanted.has(key)) {
        this.#map(family(row.address)).delete(kernelKey(row))
        this.#written.delete(key)
      }
    for (const [key, row] of wanted) {
      const before = this.#written.get(key)
      if (before === undefined || !sameVeth(before, row)) {
        const value = { ifindex: row.port.ifindex, mac: row.mac, pad: new Uint8Array(2) }
        if (!this.#store(row, value)) continue
      }
      this.#written.set(key, row)
    }
  }

  /** False: there are more containers than rows; those left out are reached by the bridge. */
  #store(row: Row, value: { ifindex: number; mac: Uint8Array; pad: Uint8Array }): boolean {
    try {
      this.#map(family(row.address)).set(kernelKey(row), value)
      return true
    } catch (error) {
      this.#parts.log.debug({ address: row.address, err: error }, 'goes by the bridge')
      return false
    }
  }
}

async function rowsOf(
  { id, namespace, bridge: name }: BridgedNetwork,
  { ifindex, ports: open }: Bridge,
): Promise<Rows> {
  const ports = new Map(open.map((port) => [port.name, port]))
  const scopes = namespace === undefined ? [id, bridgeScope(ifindex)] : [id]
  const rows = new Map<string, Row>()
  for (const { address, mac, port: behind } of await tenantsOf(name, namespace)) {
    const port = ports.get(behind)
    const bytes = parseMac(mac)
    if (port === undefined || bytes === undefined) continue
    for (const scope of scopes)
      rows.set(keyOf(scope, address), { scope, address, port, mac: bytes })
  }
  return rows
}

/**
 * What is shaped or told apart by VLANs has no ports that a packet may pass the bridge to, nor has a veth
 * with both ends in one namespace, which the kernel does not redirect into.
 */
function bridgeIn({ inode, links }: LinkView, name: string): Bridge | undefined {
  const bridge = links.find((link) => link.name === name)
  if (bridge === undefined) return undefined
  const ports = links.filter(
    ({ kind, master, crosses, queued }) =>
      kind === 'veth' && master === name && crosses === true && queued !== true,
  )
  return { inode, ifindex: bridge.ifindex, ports: bridge.vlans === true ? [] : ports }
}

function keyOf(scope: number, address: string): string {
  return `${scope} ${address}`
}

function kernelKey({ scope, address }: Row): { scope: number; addr: number | number[] } {
  return { scope, addr: addressRow(scope, address).key.addr }
}

function sameVeth(a: Row, b: Row): boolean {
  return a.port.ifindex === b.port.ifindex && Buffer.compare(a.mac, b.mac) === 0
}
