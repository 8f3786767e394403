/** Packets sent from a network namespace, by its routes, as if they were somebody else's. */
import { sendPackets } from 'libbpf-ts'
import { family, toBytes } from '../model/address.js'
import type { Endpoint } from './endSockets.js'

const IPPROTO_TCP = 6
const TCP_BYTES = 20
const TTL = 64

/**
 * What makes a TCP end say where it stands: two acknowledgements half of all sequence numbers apart, so
 * that at least one is outside its window, which it answers (RFC 9293, 3.10.7.4), like a keep-alive. If
 * nobody knows the connection any more, that answer is reset.
 */
export function tcpProbes(from: Endpoint, to: Endpoint): Uint8Array[] {
  return [0, 0x8000_0000].map((sequence) => tcpSegment(from, to, sequence))
}

export { sendPackets }

function tcpSegment(from: Endpoint, to: Endpoint, sequence: number): Uint8Array {
  const [source, destination] = [toBytes(from.address), toBytes(to.address)]
  const segment = Buffer.alloc(TCP_BYTES)
  segment.writeUInt16BE(from.port, 0)
  segment.writeUInt16BE(to.port, 2)
  segment.writeUInt32BE(sequence, 4)
  segment[12] = (TCP_BYTES / 4) << 4
  segment[13] = 0x10 // ACK
  const pseudo = Buffer.from([0, IPPROTO_TCP, 0, TCP_BYTES])
  segment.writeUInt16BE(checksum(Buffer.concat([source, destination, pseudo, segment])), 16)
  const header = family(to.address) === 4 ? header4() : header6()
  return Buffer.concat([header, source, destination, segment])
}

/** Up to the addresses; length, id and checksum are the kernel's to fill in. */
function header4(): Buffer {
  const header = Buffer.alloc(12)
  header[0] = 0x45
  header[8] = TTL
  header[9] = IPPROTO_TCP
  return header
}

function header6(): Buffer {
  const header = Buffer.alloc(8)
  header[0] = 0x60
  header.writeUInt16BE(TCP_BYTES, 4)
  header[6] = IPPROTO_TCP
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
