/** Packets sent from a network namespace, by its routes, as if they were somebody else's. */
import { sendPackets } from 'libbpf-ts'
import { family, toBytes } from '../model/address.js'
import type { Endpoint } from './endSockets.js'

const IPPROTO_IPIP = 4
const IPPROTO_TCP = 6
const IPPROTO_IPV6 = 41
const TCP_BYTES = 20
const IP4_BYTES = 20
const IP6_BYTES = 40
const TTL = 64

/**
 * What makes a TCP end say where it stands: two acknowledgements half of all sequence numbers apart, so
 * that at least one is outside its window, which it answers (RFC 9293, 3.10.7.4), like a keep-alive. If
 * nobody knows the connection any more, that answer is reset.
 */
export function tcpProbes(from: Endpoint, to: Endpoint): Uint8Array[] {
  return [0, 0x8000_0000].map((sequence) => tcpSegment(from, to, sequence))
}

/** An IP packet within another of its family: IPIP (RFC 2003) or IP6IP6 (RFC 2473). */
export function tunnelled(packet: Uint8Array, from: string, to: string): Uint8Array {
  return ipPacket(from, to, family(to) === 4 ? IPPROTO_IPIP : IPPROTO_IPV6, packet)
}

export { sendPackets }

function tcpSegment(from: Endpoint, to: Endpoint, sequence: number): Uint8Array {
  const segment = Buffer.alloc(TCP_BYTES)
  segment.writeUInt16BE(from.port, 0)
  segment.writeUInt16BE(to.port, 2)
  segment.writeUInt32BE(sequence, 4)
  segment[12] = (TCP_BYTES / 4) << 4
  segment[13] = 0x10 // ACK
  const pseudo = Buffer.from([0, IPPROTO_TCP, 0, TCP_BYTES])
  const addresses = [toBytes(from.address), toBytes(to.address)]
  segment.writeUInt16BE(checksum(Buffer.concat([...addresses, pseudo, segment])), 16)
  return ipPacket(from.address, to.address, IPPROTO_TCP, segment)
}

function ipPacket(from: string, to: string, protocol: number, payload: Uint8Array): Uint8Array {
  const header = family(to) === 4 ? header4 : header6
  const addresses = Buffer.concat([toBytes(from), toBytes(to)])
  return Buffer.concat([header(protocol, payload.length, addresses), payload])
}

function header4(protocol: number, payloadBytes: number, addresses: Uint8Array): Buffer {
  const header = Buffer.concat([Buffer.alloc(IP4_BYTES - addresses.length), addresses])
  header[0] = 0x45
  header.writeUInt16BE(IP4_BYTES + payloadBytes, 2)
  header[8] = TTL
  header[9] = protocol
  header.writeUInt16BE(checksum(header), 10)
  return header
}

function header6(protocol: number, payloadBytes: number, addresses: Uint8Array): Buffer {
  const header = Buffer.concat([Buffer.alloc(IP6_BYTES - addresses.length), addresses])
  header[0] = 0x60
  header.writeUInt16BE(payloadBytes, 4)
  header[6] = protocol
  header[7] = TTL
  return header
}

/** Of an even number of bytes (RFC 1071). */
function checksum(bytes: Buffer): number {
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}
