/** Names below the pin path, and the only place that makes them. bpffs allows no dots in a name. */
import { existsSync, mkdirSync, readdirSync } from 'node:fs'

export type Direction = 'ingress' | 'egress'

/** Which interface of which network a pinned tc link is on. */
export interface TcPin {
  readonly networkId: number
  /** Inode of the namespace: an ifindex means nothing without it. */
  readonly inode: number
  readonly ifindex: number
  readonly direction: Direction
}

export class Pins {
  constructor(readonly root: string) {}

  get maps(): string {
    return `${this.root}/maps`
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

  tail(networkId: number, map: string, generation: number): string {
    return `${this.tails}/${networkId}_${generation}_${map}`
  }

  filter(pin: TcPin, namespace: string | undefined): string {
    return `${this.filters}/${tcName(pin)}_${Buffer.from(namespace ?? '').toString('hex')}`
  }
}

function tcName({ networkId, inode, ifindex, direction }: TcPin): string {
  return `tc_${networkId}_${inode}_${ifindex}_${direction}`
}

/** The reverse of tcLink() and, with its namespace, of filter(); undefined for other names. */
export function parseTcName(name: string): (TcPin & { readonly namespace: string }) | undefined {
  const match = /^tc_(\d+)_(\d+)_(\d+)_(ingress|egress)(?:_([0-9a-f]*))?$/.exec(name)
  if (match === null) return undefined
  return {
    networkId: Number(match[1]),
    inode: Number(match[2]),
    ifindex: Number(match[3]),
    direction: match[4] === 'ingress' ? 'ingress' : 'egress',
    namespace: Buffer.from(match[5] ?? '', 'hex').toString(),
  }
}

/** Names in a directory; none if there is no such directory. */
export function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : []
}
