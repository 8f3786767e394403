/**
 * Blocks of a pcapng file (draft-ietf-opsawg-pcapng), little-endian: a section, its interfaces, packets
 * with comments, and what was left out. Pure.
 */
import { Transform, type TransformCallback } from 'node:stream'

const SECTION = 0x0a0d0d0a
const INTERFACE = 1
const STATISTICS = 5
const PACKET = 6
const BYTE_ORDER = 0x1a2b3c4d
const LINKTYPE_ETHERNET = 1
const NANOSECONDS = 9

/** Options: of any block, then of sections, interfaces, packets and statistics. */
const COMMENT = 1
const APPLICATION = 4
const NAME = 2
const RESOLUTION = 9
const FLAGS = 2
const DROPPED = 5

export function sectionBlock(application: string): Buffer {
  const body = Buffer.alloc(16)
  body.writeUInt32LE(BYTE_ORDER, 0)
  body.writeUInt16LE(1, 4)
  // Of unknown length: it is written as it comes.
  body.writeBigInt64LE(-1n, 8)
  return block(SECTION, body, [[APPLICATION, Buffer.from(application)]])
}

/** @param snapBytes 0: no limit */
export function interfaceBlock(name: string, snapBytes: number): Buffer {
  const body = Buffer.alloc(8)
  body.writeUInt16LE(LINKTYPE_ETHERNET, 0)
  body.writeUInt32LE(snapBytes, 4)
  return block(INTERFACE, body, [
    [NAME, Buffer.from(name)],
    [RESOLUTION, Buffer.of(NANOSECONDS)],
  ])
}

export interface PcapPacket {
  /** Index of its interface's block. */
  readonly interface: number
  /** Nanoseconds since 1970. */
  readonly atNs: bigint
  readonly direction: 'in' | 'out'
  /** Of the whole packet. */
  readonly bytes: number
  readonly data: Uint8Array
  readonly comment: string
}

export function packetBlock(packet: PcapPacket): Buffer {
  const { data } = packet
  const body = Buffer.alloc(20 + padded(data.length))
  body.writeUInt32LE(packet.interface, 0)
  writeTime(body, 4, packet.atNs)
  body.writeUInt32LE(data.length, 12)
  body.writeUInt32LE(packet.bytes, 16)
  body.set(data, 20)
  const flags = Buffer.alloc(4)
  flags.writeUInt32LE(packet.direction === 'in' ? 1 : 2, 0)
  return block(PACKET, body, [
    [FLAGS, flags],
    [COMMENT, Buffer.from(packet.comment)],
  ])
}

/** @param leftOut packets that are not in the file, of all interfaces */
export function statisticsBlock(atNs: bigint, leftOut: number): Buffer {
  const body = Buffer.alloc(12)
  writeTime(body, 4, atNs)
  const dropped = Buffer.alloc(8)
  dropped.writeBigUInt64LE(BigInt(leftOut))
  return block(STATISTICS, body, [[DROPPED, dropped]])
}

/** Lets whole blocks through: a reader that stops somewhere has a file that is whole all the same. */
export class WholeBlocks extends Transform {
  #rest: Buffer = Buffer.alloc(0)

  override _transform(chunk: Buffer, _encoding: string, done: TransformCallback): void {
    const data = Buffer.concat([this.#rest, chunk])
    let end = 0
    while (end + 8 <= data.length && end + data.readUInt32LE(end + 4) <= data.length)
      end += data.readUInt32LE(end + 4)
    this.#rest = data.subarray(end)
    done(null, data.subarray(0, end))
  }
}

function writeTime(body: Buffer, at: number, ns: bigint): void {
  body.writeUInt32LE(Number(ns >> 32n), at)
  body.writeUInt32LE(Number(ns & 0xffffffffn), at + 4)
}

/** @param body a multiple of four bytes */
function block(
  type: number,
  body: Buffer,
  options: readonly (readonly [number, Buffer])[],
): Buffer {
  const lists = options.map(([code, value]) => {
    const option = Buffer.alloc(4 + padded(value.length))
    option.writeUInt16LE(code, 0)
    option.writeUInt16LE(value.length, 2)
    value.copy(option, 4)
    return option
  })
  // An option of code 0 and length 0 ends them.
  const end = Buffer.alloc(4)
  const length = 12 + body.length + end.length + lists.reduce((sum, { length }) => sum + length, 0)
  const head = Buffer.alloc(8)
  head.writeUInt32LE(type, 0)
  head.writeUInt32LE(length, 4)
  const tail = Buffer.alloc(4)
  tail.writeUInt32LE(length, 0)
  return Buffer.concat([head, body, ...lists, end, tail])
}

function padded(length: number): number {
  return (length + 3) & ~3
}
