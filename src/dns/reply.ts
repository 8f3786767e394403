/**
 * Writing replies. Records are encoded once, by dns-packet, and kept; each reply then copies them
 * behind the asker's own question (its id, its letters' case), in a fresh random order.
 */

import { encode } from 'dns-packet'
import type { Reply, Rr } from './answer.js'
import {
  FLAG_AA,
  FLAG_CD,
  FLAG_QR,
  FLAG_RA,
  FLAG_RD,
  FLAG_TC,
  HEADER_BYTES,
  RCODE,
  type Edns,
  type PeekedQuery,
  type Rejected,
} from './query.js'

/** What every UDP stack takes (RFC 1035). */
export const MIN_UDP_BYTES = 512
/** Fits an unfragmented datagram on any path worth the name (DNS flag day 2020). */
export const MAX_UDP_BYTES = 1232
export const MAX_TCP_BYTES = 65_535

const OPCODE_MASK = 0x7800
const OPT_BYTES = 11
/** A pointer to the question's name, which follows the header. */
const TO_QUESTION = Buffer.from([0xc0, HEADER_BYTES])
const BADVERS_HIGH_BITS = 1

/** A reply whose records lie encoded. */
export interface EncodedReply {
  readonly rcode: Reply['rcode']
  readonly answers: readonly Buffer[]
  readonly authorities: Buffer
  readonly authorityCount: number
  readonly additionals: Buffer
  readonly additionalCount: number
}

/** 0 ≤ random() < 1 */
export type Random = () => number

/**
 * @param name the question's, lower-case: records that it owns point to the question instead of
 *             repeating it, which is shorter and in the asker's own letters
 */
export function encodeReply(reply: Reply, name: string): EncodedReply {
  return {
    rcode: reply.rcode,
    answers: reply.answers.map((record) => encodeRecord(record, name)),
    authorities: Buffer.concat(reply.authorities.map((record) => encodeRecord(record, name))),
    authorityCount: reply.authorities.length,
    additionals: Buffer.concat(reply.additionals.map((record) => encodeRecord(record, name))),
    additionalCount: reply.additionals.length,
  }
}

function encodeRecord(record: Rr, name: string): Buffer {
  const bytes = encode({ type: 'response', answers: [record] }).subarray(HEADER_BYTES)
  if (record.name !== name || name === '.') return bytes
  return Buffer.concat([TO_QUESTION, bytes.subarray(name.length + 2)])
}

/** How many bytes a reply by UDP may have. */
export function udpLimit(edns: Edns | undefined): number {
  return Math.min(Math.max(edns?.size ?? MIN_UDP_BYTES, MIN_UDP_BYTES), MAX_UDP_BYTES)
}

/**
 * What does not fit is left out: first the additional section, which nobody needs, then answers,
 * and only then is TC set.
 */
export function writeReply(
  reply: EncodedReply,
  query: PeekedQuery,
  options: { limit: number; recursion: boolean; random: Random },
): Buffer {
  const { questionEnd, edns } = query
  const optBytes = edns === undefined ? 0 : OPT_BYTES
  const room = options.limit - questionEnd - optBytes
  let size = reply.authorities.length
  let fitting = 0
  for (const record of reply.answers) {
    if (size + record.length > room) break
    size += record.length
    fitting += 1
  }
  const truncated = fitting < reply.answers.length || size > room
  const withAuthorities = reply.authorities.length <= room
  if (!withAuthorities) size = 0
  const withAdditionals = !truncated && size + reply.additionals.length <= room
  if (withAdditionals) size += reply.additionals.length

  const bytes = Buffer.allocUnsafe(questionEnd + size + optBytes)
  let at = writeQuestion(bytes, query, {
    flags: flagsOf(options.recursion, truncated, reply.rcode !== 'REFUSED'),
    rcode: RCODE[reply.rcode],
    answers: fitting,
    authorities: withAuthorities ? reply.authorityCount : 0,
    additionals: (withAdditionals ? reply.additionalCount : 0) + (edns === undefined ? 0 : 1),
  })
  for (const record of shuffled(reply.answers, fitting, options.random)) {
    at += record.copy(bytes, at)
  }
  if (withAuthorities) at += reply.authorities.copy(bytes, at)
  if (withAdditionals) at += reply.additionals.copy(bytes, at)
  if (edns !== undefined) writeOpt(bytes, at, 0, edns.dnssecOk)
  return bytes
}

function flagsOf(recursion: boolean, truncated: boolean, authoritative: boolean): number {
  return (recursion ? FLAG_RA : 0) | (truncated ? FLAG_TC : 0) | (authoritative ? FLAG_AA : 0)
}

/** The first `count` of a fresh random order (Fisher-Yates). */
function shuffled(records: readonly Buffer[], count: number, random: Random): readonly Buffer[] {
  if (records.length < 2) return records.slice(0, count)
  const order = [...records]
  for (let last = order.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1))
    const [held, taken] = [order[last], order[other]]
    if (held === undefined || taken === undefined) throw new RangeError('random() must be below 1')
    order[last] = taken
    order[other] = held
  }
  return order.slice(0, count)
}

interface Counts {
  readonly flags: number
  readonly rcode: number
  readonly answers: number
  readonly authorities: number
  readonly additionals: number
}

/** @returns the offset behind the question */
function writeQuestion(bytes: Buffer, query: PeekedQuery, counts: Counts): number {
  bytes.writeUInt16BE(query.id, 0)
  const echoed = query.flags & (FLAG_RD | FLAG_CD)
  bytes.writeUInt16BE(FLAG_QR | echoed | counts.flags | counts.rcode, 2)
  bytes.writeUInt16BE(1, 4)
  bytes.writeUInt16BE(counts.answers, 6)
  bytes.writeUInt16BE(counts.authorities, 8)
  bytes.writeUInt16BE(counts.additionals, 10)
  query.bytes.copy(bytes, HEADER_BYTES, HEADER_BYTES, query.questionEnd)
  return query.questionEnd
}

/** An OPT record (RFC 6891). */
export function writeOpt(
  bytes: Buffer,
  at: number,
  rcodeHighBits: number,
  dnssecOk: boolean,
): number {
  bytes.writeUInt8(0, at)
  bytes.writeUInt16BE(41, at + 1)
  bytes.writeUInt16BE(MAX_UDP_BYTES, at + 3)
  bytes.writeUInt8(rcodeHighBits, at + 5)
  bytes.writeUInt8(0, at + 6)
  bytes.writeUInt16BE(dnssecOk ? 0x8000 : 0, at + 7)
  bytes.writeUInt16BE(0, at + 9)
  return at + OPT_BYTES
}

/** A reply without records, to a question that could be read. */
export function writeError(query: PeekedQuery, rcode: number, recursion: boolean): Buffer {
  return withoutRecords(query, rcode, recursion, false, 0)
}

/** EDNS of a version that we do not speak. */
export function writeBadVersion(query: PeekedQuery, recursion: boolean): Buffer {
  return withoutRecords(query, 0, recursion, false, BADVERS_HIGH_BITS)
}

/** Nothing but: ask again by TCP. */
export function writeTruncated(query: PeekedQuery, rcode: number, recursion: boolean): Buffer {
  return withoutRecords(query, rcode, recursion, true, 0)
}

function withoutRecords(
  query: PeekedQuery,
  rcode: number,
  recursion: boolean,
  truncated: boolean,
  rcodeHighBits: number,
): Buffer {
  const { questionEnd, edns } = query
  const bytes = Buffer.allocUnsafe(questionEnd + (edns === undefined ? 0 : OPT_BYTES))
  writeQuestion(bytes, query, {
    flags: flagsOf(recursion, truncated, false),
    rcode,
    answers: 0,
    authorities: 0,
    additionals: edns === undefined ? 0 : 1,
  })
  if (edns !== undefined) writeOpt(bytes, questionEnd, rcodeHighBits, edns.dnssecOk)
  return bytes
}

/** A bare header, for a message whose question could not be read. */
export function writeRejection({ id, flags, rcode }: Rejected): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES)
  bytes.writeUInt16BE(id, 0)
  bytes.writeUInt16BE(FLAG_QR | (flags & (OPCODE_MASK | FLAG_RD | FLAG_CD)) | rcode, 2)
  return bytes
}
