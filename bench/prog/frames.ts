/** The frames that are measured, and the addresses in them. The kernel side's half is restore.h. */
import { PROTOCOLS, type ProtocolName } from '../../test/lib/kernel.js'
import { addressBytes, arp, CLIENT_MAC, isV6, tcp, udp, VIP_MAC } from '../../test/lib/packet.js'

export type Family = 4 | 6
export type Direction = 'from_container' | 'to_container'

/** Clients take the low 16 bits of their address and their port from the number of the flow. */
export const HOSTS = {
  4: {
    ...{ client: '10.1.0.0', vip: '10.9.0.1', backend: '10.2.0.3', stranger: '10.3.0.1' },
    // Of test/lib/edgeWire.ts: this node, another one, and a backend on the wire.
    ...{ own: '192.0.2.1', peer: '192.0.2.2', onWire: '192.0.2.3' },
    wire: { client: '10.4.0.0', vip: '10.9.0.2' },
    node: { client: '10.5.0.0', vip: '10.9.0.3', backend: '10.2.0.4' },
  },
  6: {
    ...{ client: 'fd01::', vip: 'fd09::1', backend: 'fd02::3', stranger: 'fd03::1' },
    ...{ own: '2001:db8::1', peer: '2001:db8::2', onWire: '2001:db8::3' },
    wire: { client: 'fd04::', vip: 'fd09::2' },
    node: { client: 'fd05::', vip: 'fd09::3', backend: 'fd02::4' },
  },
} as const

export const VIP_PORT = 80
export const CLOSED_PORT = 81
const CLIENT_PORT = 1024

/** `enum shape` of restore.h. */
export type Shape = 'TCP4' | 'UDP4' | 'TCP6' | 'UDP6' | 'ARP'

export interface Frame {
  readonly bytes: Buffer
  readonly shape: Shape
  /** The client is the receiver. */
  readonly toClient: boolean
}

export interface Packet {
  readonly family: Family
  readonly protocol: ProtocolName
  readonly src: string
  readonly dst: string
  readonly sport?: number
  readonly dport?: number
  readonly flags?: string
  readonly toClient?: boolean
}

/** Without a payload, so that a reset has the length of what it answers. */
export function frame(of: Packet): Frame {
  const build = of.protocol === 'tcp' ? tcp : udp
  const bytes = build({ sport: CLIENT_PORT, dport: CLIENT_PORT, ...of })
  const shape = `${of.protocol === 'tcp' ? 'TCP' : 'UDP'}${of.family}` as const
  return { bytes, shape, toClient: of.toClient ?? false }
}

export function fromClient(
  family: Family,
  protocol: ProtocolName,
  flags: string,
  { client, vip }: { client: string; vip: string } = HOSTS[family],
): Frame {
  return frame({ family, protocol, src: client, dst: vip, dport: VIP_PORT, flags })
}

export function toClient(family: Family, protocol: ProtocolName, flags: string): Frame {
  const { client, backend } = HOSTS[family]
  return frame({
    ...{ family, protocol, flags, src: backend, dst: client, sport: VIP_PORT, toClient: true },
  })
}

export function arpRequest(): Frame {
  const bytes = arp({
    operation: 'request',
    ethSrc: CLIENT_MAC,
    ethDst: 'ff:ff:ff:ff:ff:ff',
    senderMac: CLIENT_MAC,
    senderIp: '10.1.0.2',
    targetMac: '00:00:00:00:00:00',
    targetIp: HOSTS[4].vip,
  })
  return { bytes, shape: 'ARP', toClient: false }
}

/** Four words, IPv4 in the last. @param mapped IPv4 as the maps of the programs have it */
export function addressWords(address: string, mapped = false): number[] {
  const bytes = Buffer.alloc(16)
  if (mapped && !isV6(address)) bytes.writeUInt16BE(0xffff, 10)
  const own = addressBytes(address)
  own.copy(bytes, 16 - own.length)
  return [0, 4, 8, 12].map((at) => bytes.readUInt32BE(at))
}

export { PROTOCOLS, VIP_MAC, type ProtocolName }
