/**
 * Frames for tests, built byte by byte, and a checksum reference of its own: 16-bit big-endian
 * words, as RFC 1071 writes it, sharing nothing with the kernel side's sums.
 */
import ipaddr from 'ipaddr.js'

export const CLIENT_MAC = '02:00:00:00:00:0c'
export const OTHER_MAC = '02:00:00:00:00:0b'
export const VIP_MAC = '02:66:6c:00:00:01'

export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmp6: 58, sctp: 132 } as const

/** The link and network layers of a frame; the family is that of the addresses. */
export interface Network {
  readonly src: string
  readonly dst: string
  readonly ethSrc?: string
  readonly ethDst?: string
  /** Default 64. */
  readonly ttl?: number
  readonly dontFragment?: boolean
  readonly id?: number
  /** Offset in bytes; a first fragment has 0 and `more`. */
  readonly fragment?: { readonly offset: number; readonly more: boolean }
  /** IPv4 options, a multiple of 4 bytes. */
  readonly options?: Uint8Array
  /** IPv6 extension headers; each names the next by itself. */
  readonly extensions?: readonly Extension[]
}

export interface Extension {
  /** 0 hop-by-hop, 43 routing, 60 destination options. */
  readonly type: number
  /** Length in units of 8 bytes, from 1. */
  readonly units: number
}

export interface Tcp extends Network {
  readonly sport: number
  readonly dport: number
  /** Letters of SAFRP; default 'S'. */
  readonly flags?: string
  readonly seq?: number
  readonly ack?: number
  /** Default 64240. */
  readonly window?: number
  readonly tcpOptions?: Uint8Array
  readonly payload?: Uint8Array
}

export interface Udp extends Network {
  readonly sport: number
  readonly dport: number
  readonly payload?: Uint8Array
  /** Send no checksum. */
  readonly unchecked?: boolean
}

export interface Icmp extends Network {
  readonly type: number
  readonly code?: number
  /** What follows the checksum: 4 bytes of the header and the body. */
  readonly rest?: Uint8Array
}

/** @returns the ones' complement sum, not yet complemented, 0..0xffff */
export function onesSum(...parts: readonly Uint8Array[]): number {
  const bytes = Buffer.concat(parts.map((part) => (part.length % 2 ? concat(part, [0]) : part)))
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return sum
}

export function checksum(...parts: readonly Uint8Array[]): number {
  return ~onesSum(...parts) & 0xffff
}

export function concat(...parts: readonly (Uint8Array | readonly number[])[]): Buffer {
  return Buffer.concat(
    parts.map((part) => (part instanceof Uint8Array ? part : Uint8Array.from(part))),
  )
}

const parsed = new Map<string, readonly number[]>()

export function addressBytes(address: string): Buffer {
  let bytes = parsed.get(address)
  if (!bytes) parsed.set(address, (bytes = ipaddr.parse(address).toByteArray()))
  return Buffer.from(bytes)
}

export function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex')
}

export function isV6(address: string): boolean {
  return address.includes(':')
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value & 0xffff)
  return bytes
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value >>> 0)
  return bytes
}

export function pseudoHeader(src: string, dst: string, protocol: number, bytes: number): Buffer {
  const addresses = concat(addressBytes(src), addressBytes(dst))
  return isV6(src)
    ? concat(addresses, u32(bytes), [0, 0, 0, protocol])
    : concat(addresses, [0, protocol], u16(bytes))
}

function ethernet(network: Network, type: number): Buffer {
  const dst = network.ethDst ?? VIP_MAC
  const src = network.ethSrc ?? CLIENT_MAC
  return concat(macBytes(dst), macBytes(src), u16(type))
}

function ip4(network: Network, protocol: number, payload: Uint8Array): Buffer {
  const options = network.options ?? new Uint8Array()
  const { fragment } = network
  const flags =
    (network.dontFragment ? 0x4000 : 0) |
    (fragment ? (fragment.more ? 0x2000 : 0) | (fragment.offset >> 3) : 0)
  const header = concat(
    [0x45 + options.length / 4, 0],
    u16(20 + options.length + payload.length),
    u16(network.id ?? 0),
    u16(flags),
    [network.ttl ?? 64, protocol, 0, 0],
    addressBytes(network.src),
    addressBytes(network.dst),
    options,
  )
  header.writeUInt16BE(checksum(header), 10)
  return concat(ethernet(network, 0x0800), header, payload)
}

function ip6(network: Network, protocol: number, payload: Uint8Array): Buffer {
  const headers: { type: number; body: Buffer }[] = (network.extensions ?? []).map((one) => {
    // PadN over the whole of it; for routing a type 253 with no segments left.
    const body = Buffer.alloc(one.units * 8 - 2)
    if (one.type === 43) body[0] = 253
    else body.set([1, body.length - 2])
    return { type: one.type, body: concat([one.units - 1], body) }
  })
  if (network.fragment) {
    const { offset, more } = network.fragment
    headers.push({
      type: 44,
      body: concat([0], u16(offset | (more ? 1 : 0)), u32(network.id ?? 0)),
    })
  }
  const extensions = headers.map(({ body }, index) =>
    concat([headers[index + 1]?.type ?? protocol], body),
  )
  const rest = concat(...extensions, payload)
  const header = concat(
    [0x60, 0, 0, 0],
    u16(rest.length),
    [headers[0]?.type ?? protocol, network.ttl ?? 64],
    addressBytes(network.src),
    addressBytes(network.dst),
  )
  return concat(ethernet(network, 0x86dd), header, rest)
}

/** A frame with any payload behind its IP header. */
export function ip(network: Network, protocol: number, payload: Uint8Array): Buffer {
  return isV6(network.src) ? ip6(network, protocol, payload) : ip4(network, protocol, payload)
}

const TCP_FLAGS: Readonly<Record<string, number>> = { F: 1, S: 2, R: 4, P: 8, A: 16 }

export function tcpSegment(of: Tcp): Buffer {
  const flags = Array.from(of.flags ?? 'S').reduce((sum, flag) => sum | (TCP_FLAGS[flag] ?? 0), 0)
  const options = of.tcpOptions ?? new Uint8Array()
  const segment = concat(
    u16(of.sport),
    u16(of.dport),
    u32(of.seq ?? 1000),
    u32(of.ack ?? 0),
    [(5 + options.length / 4) << 4, flags],
    u16(of.window ?? 64240),
    [0, 0, 0, 0],
    options,
    of.payload ?? [],
  )
  segment.writeUInt16BE(
    checksum(pseudoHeader(of.src, of.dst, PROTOCOL.tcp, segment.length), segment),
    16,
  )
  return segment
}

export function tcp(of: Tcp): Buffer {
  return ip(of, PROTOCOL.tcp, tcpSegment(of))
}

export function udpDatagram(of: Udp): Buffer {
  const payload = of.payload ?? new Uint8Array()
  const datagram = concat(u16(of.sport), u16(of.dport), u16(8 + payload.length), [0, 0], payload)
  if (!of.unchecked) {
    const sum = checksum(pseudoHeader(of.src, of.dst, PROTOCOL.udp, datagram.length), datagram)
    datagram.writeUInt16BE(sum || 0xffff, 6)
  }
  return datagram
}

export function udp(of: Udp): Buffer {
  return ip(of, PROTOCOL.udp, udpDatagram(of))
}

export function icmp(of: Icmp): Buffer {
  const v6 = isV6(of.src)
  const message = concat([of.type, of.code ?? 0, 0, 0], of.rest ?? [0, 0, 0, 0])
  const pseudo = v6 ? pseudoHeader(of.src, of.dst, PROTOCOL.icmp6, message.length) : []
  message.writeUInt16BE(checksum(Uint8Array.from(pseudo), message), 2)
  return ip(of, v6 ? PROTOCOL.icmp6 : PROTOCOL.icmp, message)
}

/** An echo request, or with `reply` its answer. */
export function echo(of: Network & { readonly reply?: boolean; readonly body?: string }): Buffer {
  const v6 = isV6(of.src)
  const type = of.reply ? (v6 ? 129 : 0) : v6 ? 128 : 8
  return icmp({ ...of, type, rest: concat([0x12, 0x34, 0, 1], Buffer.from(of.body ?? 'fairlead')) })
}

export interface Arp {
  readonly operation: 'request' | 'reply'
  readonly ethSrc: string
  readonly ethDst: string
  readonly senderMac: string
  readonly senderIp: string
  readonly targetMac: string
  readonly targetIp: string
}

export function arp(of: Arp): Buffer {
  return concat(
    macBytes(of.ethDst),
    macBytes(of.ethSrc),
    u16(0x0806),
    [0, 1, 8, 0, 6, 4, 0, of.operation === 'request' ? 1 : 2],
    macBytes(of.senderMac),
    addressBytes(of.senderIp),
    macBytes(of.targetMac),
    addressBytes(of.targetIp),
  )
}

export interface Neighbour extends Network {
  readonly target: string
  /** Link-layer address in the option; absent: no option. */
  readonly mac?: string
}

/** A neighbour solicitation. */
export function solicitation(of: Neighbour): Buffer {
  const option = of.mac === undefined ? [] : concat([1, 1], macBytes(of.mac))
  return icmp({ ttl: 255, ...of, type: 135, rest: concat(u32(0), addressBytes(of.target), option) })
}

/** A neighbour advertisement, solicited and overriding. */
export function advertisement(of: Neighbour): Buffer {
  const option = of.mac === undefined ? [] : concat([2, 1], macBytes(of.mac))
  const rest = concat(u32(0x60000000), addressBytes(of.target), option)
  return icmp({ ttl: 255, ...of, type: 136, rest })
}

/** What of a TCP or UDP frame a test asks about. */
export interface Tuple {
  readonly src: string
  readonly sport: number
  readonly dst: string
  readonly dport: number
}

/** The tuple of a TCP or UDP frame without options or extension headers. */
export function tupleOf(frame: Uint8Array): Tuple {
  const bytes = Buffer.from(frame)
  const v6 = bytes.readUInt16BE(12) === 0x86dd
  const text = (from: number, length: number) =>
    ipaddr.fromByteArray([...bytes.subarray(from, from + length)]).toString()
  const l4 = v6 ? 54 : 34
  return {
    src: v6 ? text(22, 16) : text(26, 4),
    dst: v6 ? text(38, 16) : text(30, 4),
    sport: bytes.readUInt16BE(l4),
    dport: bytes.readUInt16BE(l4 + 2),
  }
}

/** The quoted part of an ICMP error, and what a receiver checks: its checksum. */
export function checksumFaults(frame: Uint8Array): string[] {
  const bytes = Buffer.from(frame)
  const v6 = bytes.readUInt16BE(12) === 0x86dd
  const faults: string[] = []
  const l4 = v6 ? 54 : 14 + ((bytes[14] ?? 0) & 15) * 4
  if (!v6 && onesSum(bytes.subarray(14, l4)) !== 0xffff) faults.push('ip')
  const protocol = bytes[v6 ? 20 : 23] ?? 0
  const end = 14 + (v6 ? 40 + bytes.readUInt16BE(18) : bytes.readUInt16BE(16))
  const body = bytes.subarray(l4, end)
  const addresses = v6 ? bytes.subarray(22, 54) : bytes.subarray(26, 34)
  const pseudo =
    protocol === PROTOCOL.icmp
      ? Buffer.alloc(0)
      : concat(addresses, u32(body.length), [0, 0, 0, protocol])
  if (protocol === PROTOCOL.udp && body.readUInt16BE(6) === 0) return faults
  if (onesSum(pseudo, body) !== 0xffff) faults.push('l4')
  return faults
}
