/** Names below the pin path, and the only place that makes them. bpffs allows no dots in a name. */
import { existsSync, mkdirSync, readdirSync } from 'node:fs'

export const FORMER = 'former_'

export type Direction = 'ingress' | 'egress'

/** Which interface of which network a pinned tc link is on. */
export interface TcPin {
  readonly networkId: number
  /** Inode of the namespace: an ifindex means nothing without it. */
  readonly inode: number
  readonly ifindex: number
  readonly direction: Direction
}

/** What finds a clsact filter again. */
export interface FilterNote extends TcPin {
  readonly handle: number
  readonly priority: number
  /** Path of its namespace; absent: the agent's own. */
  readonly namespace?: string
}

export class Pins {
  constructor(readonly root: string) {}

  get maps(): string {
    return `${this.root}/maps`
  }

  /** Maps of another layout that are being filled; nothing uses them yet. */
  get next(): string {
    return `${this.root}/next`
  }

  /** The same, filled; they are to be the maps. */
  get ready(): string {
    return `${this.root}/ready`
  }

  /** Maps that were replaced, and that programs may be using still. */
  get former(): string {
    return `${this.root}/former`
  }

  get links(): string {
    return `${this.root}/links`
  }

  /** Program arrays of each network's instance: emptied by the kernel once nobody holds them. */
  get tails(): string {
    return `${this.root}/tails`
  }

  /** A directory for each clsact filter, whose name says where it is: filters cannot be pinned. */
  get filters(): string {
    return `${this.root}/filters`
  }

  map(name: string): string {
    return `${this.maps}/${name}`
  }

  makeDirectories(): void {
    for (const directory of [this.maps, this.links, this.tails, this.filters])
      mkdirSync(directory, { recursive: true, mode: 0o700 })
  }

  cgroupLink(type: string): string {
    return `${this.links}/cgroup_${type}`
  }

  tcLink(pin: TcPin): string {
    return `${this.links}/${tcName(pin)}`
  }

  /** A link that its successor stands beside. */
  formerTcLink(pin: TcPin): string {
    return `${this.links}/${FORMER}${tcName(pin)}`
  }

  tail(networkId: number, map: string, generation: number): string {
    return `${this.tails}/${networkId}_${generation}_${map}`
  }

  filter(note: FilterNote): string {
    const { handle, priority, namespace } = note
    const place = Buffer.from(namespace ?? '').toString('hex')
    return `${this.filters}/${tcName(note)}_${handle}_${priority}_${place}`
  }
}

/** Which interface a pinned XDP link is on. */
export interface XdpPin {
  readonly inode: number
  readonly ifindex: number
}

export function xdpName({ inode, ifindex }: XdpPin): string {
  return `xdp_${inode}_${ifindex}`
}

export function isXdpPin(name: string): boolean {
  return /^xdp_\d+_\d+$/.test(name)
}

function tcName({ networkId, inode, ifindex, direction }: TcPin): string {
  return `tc_${networkId}_${inode}_${ifindex}_${direction}`
}

const TC_PIN = /^tc_(\d+)_(\d+)_(\d+)_(ingress|egress)(?:_(\d+)_(\d+)_([0-9a-f]*))?$/

/** The reverse of tcLink(), also for the beginning of a filter's name; undefined for others. */
export function parseTcPin(name: string): TcPin | undefined {
  const match = TC_PIN.exec(name)
  if (match === null) return undefined
  return {
    networkId: Number(match[1]),
    inode: Number(match[2]),
    ifindex: Number(match[3]),
    direction: match[4] === 'ingress' ? 'ingress' : 'egress',
  }
}

/** The reverse of filter(). */
export function parseFilterNote(name: string): FilterNote | undefined {
  const pin = parseTcPin(name)
  const [handle, priority, place] = TC_PIN.exec(name)?.slice(5) ?? []
  if (pin === undefined || handle === undefined || place === undefined) return undefined
  const namespace = Buffer.from(place, 'hex').toString()
  return {
    ...pin,
    handle: Number(handle),
    priority: Number(priority),
    ...(namespace !== '' && { namespace }),
  }
}

export function samePin(a: TcPin, b: TcPin): boolean {
  return tcName(a) === tcName(b)
}

/** Names in a directory; none if there is no such directory. */
export function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : []
}
