/** Network namespaces: names for them, and sockets within them. */
import { statSync } from 'node:fs'
import { addon } from './addon.js'
import * as check from './check.js'
import { bpfError } from './errors.js'

/** The path of a namespace file, or the pid of a process in it; absent: the caller's own. */
export type Netns = string | number

/** @internal @throws TypeError, RangeError */
export function netnsPath(netns: Netns | undefined): string | undefined {
  if (netns === undefined) return undefined
  if (typeof netns === 'string') return check.text(netns, 'netns')
  return `/proc/${check.integer(netns, 'netns', 1, 0x7fffffff)}/ns/net`
}

/**
 * The namespace's cookie, as BPF programs see it; never reused.
 *
 * @throws BpfError ENOENT, EPERM, EINVAL (not a network namespace), ENOPROTOOPT (before 5.14)
 */
export function netnsCookie(netns?: Netns): bigint {
  return addon.netnsCookie(netnsPath(netns))
}

/**
 * The namespace's inode number, which identifies it while it lives.
 *
 * @throws BpfError ENOENT
 */
export function netnsInode(netns?: Netns): bigint {
  const path = netnsPath(netns) ?? '/proc/self/ns/net'
  const status = statSync(path, { bigint: true, throwIfNoEntry: false })
  if (status === undefined) throw bpfError('netnsInode', path, 'ENOENT')
  return status.ino
}

export interface SocketOptions {
  netns?: Netns | undefined
  family: 4 | 6
  type: 'udp' | 'tcp'
  /** Numeric. */
  address: string
  /** 0: the kernel chooses. */
  port: number
  /** TCP; default 511. */
  backlog?: number | undefined
  /** IPv6: refuse v4-mapped peers; default true. */
  v6only?: boolean | undefined
  /** Default true for TCP, false for UDP. */
  reuseAddr?: boolean | undefined
  reusePort?: boolean | undefined
  /** Bind to an address that is not there (yet). */
  freeBind?: boolean | undefined
}

/**
 * A bound socket (TCP: listening) in a namespace, non-blocking and close-on-exec; for
 * `dgram.bind({ fd })` and `net.listen({ fd })`. The descriptor is the caller's.
 *
 * @throws BpfError EADDRINUSE, EADDRNOTAVAIL, EACCES, EINVAL (not an address of the family), or of
 *   setns; TypeError, RangeError
 */
export async function openSocket(options: SocketOptions): Promise<number> {
  const o = check.options(options)
  const family = Number(check.oneOf(String(o.family), ['4', '6'], 'family'))
  const tcp = check.oneOf(o.type, ['udp', 'tcp'], 'type') === 'tcp'
  return addon.openSocket({
    netns: netnsPath(o.netns),
    ipv6: family === 6,
    tcp,
    address: check.text(o.address, 'address'),
    port: check.integer(o.port, 'port', 0, 65535),
    backlog: check.integer(o.backlog ?? 511, 'backlog', 0, 65535),
    v6only: check.bool(o.v6only ?? true, 'v6only'),
    reuseAddr: check.bool(o.reuseAddr ?? tcp, 'reuseAddr'),
    reusePort: check.bool(o.reusePort ?? false, 'reusePort'),
    freeBind: check.bool(o.freeBind ?? false, 'freeBind'),
  })
}

export interface NewSockets {
  netns?: Netns | undefined
  family: 4 | 6
  type: 'udp' | 'tcp'
  /** 1..1024, by one visit to the namespace, which costs milliseconds; default 1. */
  count?: number | undefined
}

/**
 * Sockets of a namespace that are neither bound nor connected, non-blocking and close-on-exec. One
 * connects from there whoever uses it: `new net.Socket({ fd, manualStart: true }).connect(...)`.
 * The descriptors are the caller's; each keeps the namespace alive while it is open.
 *
 * @throws BpfError EMFILE, EAFNOSUPPORT, or of setns; TypeError, RangeError. Then there are none
 */
export async function createSockets(options: NewSockets): Promise<number[]> {
  const o = check.options(options)
  return addon.createSockets({
    netns: netnsPath(o.netns),
    ipv6: check.oneOf(String(o.family), ['4', '6'], 'family') === '6',
    tcp: check.oneOf(o.type, ['udp', 'tcp'], 'type') === 'tcp',
    count: check.integer(o.count ?? 1, 'count', 1, 1024),
  })
}

/**
 * Sends whole IP packets from a namespace, by its routes; the source may be anybody's address. IPv4
 * header checksums are the kernel's to fill in, all others the caller's.
 *
 * @returns how many the kernel took: one that it refuses, for want of a route say, is left out
 * @throws BpfError EPERM (CAP_NET_RAW), or of setns; TypeError; RangeError for what is no IP packet
 */
export async function sendPackets(packets: readonly Uint8Array[], netns?: Netns): Promise<number> {
  return addon.sendPackets(netnsPath(netns), packets)
}
