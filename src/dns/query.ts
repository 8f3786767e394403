/**
 * Reading what comes off the wire, on the assumption that it is hostile (RFC 1035, RFC 6891).
 *
 * `peekQuery` checks the header's promises and finds where the question ends, with bounded work and
 * without building anything: it rejects what dns-packet would spend time on (thousands of promised
 * records, pointers to pointers) and gives the key under which an answer may lie ready. What the
 * question means is dns-packet's to say, in `decodeQuestion`.
 */

import { decode, type DecodedPacket } from 'dns-packet'

export const HEADER_BYTES = 12
/** A query carries one name of at most 255 bytes and some EDNS options. */
export const MAX_QUERY_BYTES = 4096

export const FLAG_QR = 0x8000
export const FLAG_AA = 0x0400
export const FLAG_TC = 0x0200
export const FLAG_RD = 0x0100
export const FLAG_RA = 0x0080
export const FLAG_CD = 0x0010
const OPCODE_MASK = 0x7800
const TYPE_OPT = 41
const OPT_FIXED_BYTES = 11

export const RCODE = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 }

const RCODE_NAMES = new Map(Object.entries(RCODE).map(([name, value]) => [value, name]))

export function rcodeName(rcode: number): string {
  return RCODE_NAMES.get(rcode) ?? 'OTHER'
}

/** @param message at least a header */
export function rcodeOf(message: Buffer): number {
  return message.readUInt16BE(2) & 0xf
}

/** Why a message got no answer of substance; the `reason` label of a counter. */
export type DropReason =
  | 'short' // fewer bytes than a header
  | 'response' // a response where a query belongs
  | 'oversized' // larger than any query we take
  | 'malformed' // answered with FORMERR
  | 'opcode' // answered with NOTIMP
  | 'class' // answered with REFUSED
  | 'edns_version' // answered with BADVERS
  | 'source_port' // port 0 cannot be answered
  | 'in_flight' // the cap on forwarded queries; answered with REFUSED
  | 'no_upstream' // not ours and nobody to ask; answered with REFUSED
  | 'connections' // the cap on TCP connections
  | 'idle' // a TCP connection that sent no whole query in time
  | 'unmatched' // an upstream's datagram that answers nothing we asked
  | 'send' // the kernel refused the reply
  | 'internal' // a fault of ours

export interface Edns {
  /** What the asker can take by UDP, as it says. */
  readonly size: number
  readonly version: number
  readonly dnssecOk: boolean
}

export interface PeekedQuery {
  readonly kind: 'query'
  readonly bytes: Buffer
  readonly id: number
  readonly flags: number
  /** Offset behind the question, which begins behind the header. */
  readonly questionEnd: number
  /** The question with its letters lower-case; equal for equal questions. */
  readonly key: string
  /** Every label is printable ASCII without dots: only such names can be ours. */
  readonly plain: boolean
  readonly edns: Edns | undefined
}

/** Nothing is sent back. */
export interface Dropped {
  readonly kind: 'drop'
  readonly reason: DropReason
}

/** An error goes back. */
export interface Rejected {
  readonly kind: 'reject'
  readonly reason: DropReason
  readonly rcode: number
  readonly id: number
  readonly flags: number
}

const scratch = Buffer.alloc(256 + 4)

/** Never throws. */
export function peekQuery(bytes: Buffer): PeekedQuery | Dropped | Rejected {
  if (bytes.length < HEADER_BYTES) return { kind: 'drop', reason: 'short' }
  const id = bytes.readUInt16BE(0)
  const flags = bytes.readUInt16BE(2)
  if ((flags & FLAG_QR) !== 0) return { kind: 'drop', reason: 'response' }
  if (bytes.length > MAX_QUERY_BYTES) return { kind: 'drop', reason: 'oversized' }
  if ((flags & OPCODE_MASK) !== 0) {
    return { kind: 'reject', reason: 'opcode', rcode: RCODE.NOTIMP, id, flags }
  }
  const malformed: Rejected = {
    kind: 'reject',
    reason: 'malformed',
    rcode: RCODE.FORMERR,
    id,
    flags,
  }
  const additional = bytes.readUInt16BE(10)
  const oneQuestion = bytes.readUInt16BE(4) === 1 && bytes.readUInt32BE(6) === 0
  // An OPT and a transaction signature are all that a query may carry besides.
  if (!oneQuestion || additional > 2) return malformed
  const question = peekQuestion(bytes)
  if (question === undefined) return malformed
  const edns = peekEdns(bytes, question.questionEnd, additional)
  if (edns === 'malformed') return malformed
  return { kind: 'query', bytes, id, flags, ...question, edns }
}

/** @returns undefined if the question is cut short, compressed or longer than a name may be */
export function peekQuestion(
  bytes: Buffer,
): Pick<PeekedQuery, 'questionEnd' | 'key' | 'plain'> | undefined {
  let at = HEADER_BYTES
  let plain = true
  for (;;) {
    const length = bytes[at]
    // The first name has nothing before it to point to: a pointer here is a fault or an attack.
    if (length === undefined || length > 63) return undefined
    scratch[at - HEADER_BYTES] = length
    at += 1
    if (length === 0) break
    if (at + length - HEADER_BYTES > 254) return undefined
    for (const end = at + length; at < end; at++) {
      const byte = bytes[at]
      if (byte === undefined) return undefined
      if (byte <= 0x20 || byte >= 0x7f || byte === 0x2e) plain = false
      scratch[at - HEADER_BYTES] = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte
    }
  }
  const questionEnd = at + 4
  if (questionEnd > bytes.length) return undefined
  bytes.copy(scratch, at - HEADER_BYTES, at, questionEnd)
  return { questionEnd, key: scratch.toString('latin1', 0, questionEnd - HEADER_BYTES), plain }
}

function peekEdns(bytes: Buffer, at: number, additional: number): Edns | undefined | 'malformed' {
  if (additional === 0) return at === bytes.length ? undefined : 'malformed'
  const lone =
    additional === 1 &&
    bytes.length >= at + OPT_FIXED_BYTES &&
    bytes[at] === 0 &&
    bytes.readUInt16BE(at + 1) === TYPE_OPT &&
    bytes.length === at + OPT_FIXED_BYTES + bytes.readUInt16BE(at + 9)
  if (!lone) return decodeEdns(bytes)
  return {
    size: bytes.readUInt16BE(at + 3),
    version: bytes.readUInt8(at + 6),
    dnssecOk: (bytes.readUInt8(at + 7) & 0x80) !== 0,
  }
}

/** For what has more beside the question than a lone OPT. */
function decodeEdns(bytes: Buffer): Edns | undefined | 'malformed' {
  const packet = decodePacket(bytes)
  if (packet === undefined) return 'malformed'
  const [opt, ...more] = (packet.additionals ?? []).filter((record) => record.type === 'OPT')
  if (more.length > 0) return 'malformed'
  if (opt === undefined) return undefined
  return { size: opt.udpPayloadSize, version: opt.ednsVersion, dnssecOk: opt.flag_do }
}

export interface DecodedQuestion {
  /** Lower-case; `.` is the root. */
  readonly name: string
  readonly type: string
  readonly class: string
}

/** @returns undefined for what dns-packet cannot read */
export function decodeQuestion(bytes: Buffer): DecodedQuestion | undefined {
  const question = decodePacket(bytes)?.questions?.[0]
  if (question === undefined) return undefined
  return {
    name: question.name.toLowerCase(),
    type: question.type,
    class: question.class ?? 'IN',
  }
}

function decodePacket(bytes: Buffer): DecodedPacket | undefined {
  try {
    return decode(bytes)
  } catch {
    return undefined
  }
}
