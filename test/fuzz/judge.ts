/**
 * What may have become of a packet. Knows the rules of translation and of checksums, and nothing
 * of how the programs reach them; sums are those of the tests' own reference.
 *
 * Translation is incremental: it has to keep what a checksum is off by. So the sum of all that the
 * checksum covers stays the same, whether it was right or not.
 */
import { onesSum, PROTOCOL } from '../lib/packet.js'

export interface Observation {
  readonly verdict: number
  readonly before: Buffer
  readonly after: Buffer
  /** Added to all drop reasons together by this packet. */
  readonly drops: number
  /** Events that this packet counted, by name without `EVENT_`. */
  readonly events: readonly string[]
  /** Names of the drop reasons among `drops`, without `DROP_`. */
  readonly reasons?: readonly string[]
  /** It may have got another hop: the source of the frame, one hop less; and headers around it. */
  readonly routed?: boolean
  /** What its runner found wrong. */
  readonly faults?: readonly string[]
}

export interface Verdicts {
  readonly pass: number
  readonly drop: number
  readonly redirect: number
}

/** Where things are in an IP frame, as far as its bytes go. */
interface Layout {
  readonly v6: boolean
  readonly protocol: number
  readonly l4: number
  /** Addresses, source first. */
  readonly addresses: readonly [start: number, end: number]
  readonly laterFragment: boolean
}

const EXTENSIONS = new Set([0, 43, 60])
const FRAGMENT = 44
/** Answers made by the programs themselves. */
const BUILT = new Set(['REFUSED', 'ND', 'ARP'])
/** Reasons that are answered by what the programs build. */
const ANSWERED = new Set(['TOO_BIG'])

function layout(
  frame: Buffer,
  at = 14,
  v6 = frame.readUInt16BE(12) === 0x86dd,
): Layout | undefined {
  if (frame.length < at + (v6 ? 40 : 20)) return undefined
  if (!v6) {
    const l4 = at + ((frame[at] ?? 0) & 15) * 4
    const laterFragment = (frame.readUInt16BE(at + 6) & 0x1fff) > 0
    const protocol = frame[at + 9] ?? 0
    return { v6, protocol, l4, addresses: [at + 12, at + 20], laterFragment }
  }
  let protocol = frame[at + 6] ?? 0
  let l4 = at + 40
  let laterFragment = false
  while ((EXTENSIONS.has(protocol) || protocol === FRAGMENT) && l4 + 8 <= frame.length) {
    if (protocol === FRAGMENT) laterFragment ||= (frame.readUInt16BE(l4 + 2) & 0xfff8) > 0
    const units = protocol === FRAGMENT ? 0 : (frame[l4 + 1] ?? 0)
    protocol = frame[l4] ?? 0
    l4 += (units + 1) * 8
  }
  return { v6, protocol, l4, addresses: [at + 8, at + 40], laterFragment }
}

/** Ones' complement has two zeros; both are one here. */
function sum(...parts: Uint8Array[]): number {
  return onesSum(...parts) % 0xffff
}

function checkField(protocol: number): number | undefined {
  if (protocol === PROTOCOL.tcp) return 16
  if (protocol === PROTOCOL.udp) return 6
  return protocol === PROTOCOL.icmp || protocol === PROTOCOL.icmp6 ? 2 : undefined
}

/** Offsets that a translation may change, of the packet that begins at `at`. */
function translated(frame: Buffer, of: Layout, into: Set<number>): void {
  const add = (from: number, length: number) => {
    for (let at = from; at < from + length; at++) into.add(at)
  }
  add(of.addresses[0], of.addresses[1] - of.addresses[0])
  if (!of.v6) add(of.addresses[0] - 2, 2)
  if (of.laterFragment) return
  if (of.protocol === PROTOCOL.tcp || of.protocol === PROTOCOL.udp) {
    add(of.l4, 4)
    add(of.l4 + (checkField(of.protocol) ?? 0), 2)
  } else if (checkField(of.protocol) !== undefined) {
    add(of.l4 + 2, 2)
    const inner = layout(frame, of.l4 + 8, of.v6)
    if (inner && inner.protocol !== of.protocol) translated(frame, inner, into)
  }
}

/** Sums of header and of layer 4 before and after, which a translation has to keep. */
function sumFaults(before: Buffer, after: Buffer, of: Layout): string[] {
  const faults: string[] = []
  const [from, to] = of.addresses
  const head = (frame: Buffer) => sum(frame.subarray(14, 34))
  if (!of.v6 && head(before) !== head(after)) faults.push('IPv4 checksum')
  const field = checkField(of.protocol)
  if (field === undefined || of.laterFragment || of.l4 + field + 2 > before.length) return faults
  const at = of.l4 + field
  if (of.protocol === PROTOCOL.udp) {
    const [was, now] = [before.readUInt16BE(at), after.readUInt16BE(at)]
    if (was === 0) return now === 0 ? faults : [...faults, 'UDP checksum made of none']
    if (now === 0) faults.push('UDP checksum 0')
  }
  const pseudo = (frame: Buffer) =>
    of.protocol === PROTOCOL.icmp ? Buffer.alloc(0) : frame.subarray(from, to)
  const whole = (frame: Buffer) => sum(pseudo(frame), frame.subarray(of.l4))
  if (whole(before) !== whole(after)) faults.push('layer 4 checksum')
  return faults
}

/** Where an outer header may stand, and how long it is. */
function outerBytes(frame: Buffer): number {
  return frame.readUInt16BE(12) === 0x86dd ? 40 : 20
}

/** A packet that was put into a tunnel, judged by itself; and the header around it. */
function tunnelFaults(seen: Observation): string[] {
  const { before, after } = seen
  const bytes = outerBytes(before)
  const of = layout(after)
  const inner = Buffer.concat([before.subarray(0, 14), after.subarray(14 + bytes)])
  const faults = before.equals(inner) ? [] : translationFaults({ ...seen, after: inner })
  if (of?.protocol !== (of?.v6 === true ? 41 : 4)) return [...faults, 'no tunnel']
  if (!of.v6 && onesSum(after.subarray(14, 34)) !== 0xffff) faults.push('IPv4 checksum outside')
  const said = of.v6 ? 54 + after.readUInt16BE(18) : 14 + after.readUInt16BE(16)
  return said === after.length ? faults : [...faults, 'length of the tunnelled packet']
}

/** What comes out of a tunnel is what was in it; then it may have been translated back. */
function untunnelFaults(seen: Observation): string[] {
  const { before, after } = seen
  const inner = Buffer.concat([before.subarray(0, 14), before.subarray(14 + outerBytes(before))])
  return inner.equals(after) ? [] : translationFaults({ ...seen, before: inner })
}

/** What enters a container past its bridge comes from the bridge. */
export const BRIDGE_MAC = Uint8Array.of(2, 0, 0, 0, 0, 0xbb)

/** Whether the frame goes back to who sent it: a backend that dialled itself. */
function isTurned(before: Buffer, after: Buffer): boolean {
  return after
    .subarray(0, 12)
    .equals(Buffer.concat([before.subarray(6, 12), before.subarray(0, 6)]))
}

function translationFaults(seen: Observation): string[] {
  const { before, after, routed } = seen
  const more = after.length - before.length
  if (routed && more === outerBytes(before)) return tunnelFaults(seen)
  if (routed && more === -outerBytes(before)) return untunnelFaults(seen)
  if (more !== 0) return ['another length']
  const of = layout(before)
  if (!of) return ['a frame without addresses was changed']
  const allowed = new Set<number>([0, 1, 2, 3, 4, 5])
  if (after.subarray(6, 12).equals(BRIDGE_MAC) || isTurned(before, after))
    for (const at of [6, 7, 8, 9, 10, 11]) allowed.add(at)
  if (routed) for (const at of [6, 7, 8, 9, 10, 11, of.v6 ? 21 : 22]) allowed.add(at)
  if (routed && !of.v6) [24, 25].forEach((at) => allowed.add(at))
  translated(before, of, allowed)
  const changed = before.findIndex((byte, at) => byte !== after[at] && !allowed.has(at))
  const faults = changed < 0 ? [] : [`byte ${changed} was changed`]
  return [...faults, ...sumFaults(before, after, of)]
}

/** Sums of a frame that was built: they must be right. */
function builtFaults(frame: Buffer): string[] {
  if (frame.readUInt16BE(12) === 0x0806)
    return frame.readUInt16BE(20) === 2 ? [] : ['not an ARP reply']
  const of = layout(frame)
  const field = of && checkField(of.protocol)
  if (!of || field === undefined) return ['an answer of no known kind']
  const faults: string[] = []
  const said = of.v6 ? 54 + frame.readUInt16BE(18) : 14 + frame.readUInt16BE(16)
  if (said !== frame.length) faults.push('length in the IP header')
  if (!of.v6 && onesSum(frame.subarray(14, of.l4)) !== 0xffff) faults.push('IPv4 checksum')
  const body = frame.subarray(of.l4)
  const pseudo = Buffer.alloc(4)
  pseudo.writeUInt16BE(body.length)
  pseudo[3] = of.protocol
  const parts =
    of.protocol === PROTOCOL.icmp ? [] : [frame.subarray(of.addresses[0], of.addresses[1]), pseudo]
  if (onesSum(...parts, body) !== 0xffff) faults.push('layer 4 checksum')
  return faults
}

/** An echo request turned into its reply: every sum is as it was. */
function echoFaults({ before, after }: Observation): string[] {
  const of = layout(before)
  if (!of || after.length !== before.length) return ['another length']
  const faults = sumFaults(before, after, of)
  if (!before.subarray(of.l4 + 4).equals(after.subarray(of.l4 + 4))) faults.push('another body')
  return faults
}

/** @returns what is wrong; empty when nothing is */
export function faultsOf(seen: Observation, verdicts: Verdicts): string[] {
  const reasons = seen.reasons?.filter((reason) => ANSWERED.has(reason)) ?? []
  const built = [...seen.events.filter((event) => BUILT.has(event)), ...reasons]
  const drops =
    seen.verdict === verdicts.drop || built.includes('REFUSED') || reasons.length > 0 ? 1 : 0
  const counted =
    seen.drops === drops ? [] : [`${seen.drops} drops were counted instead of ${drops}`]
  if (seen.verdict === verdicts.drop) return counted
  if (!Object.values(verdicts).includes(seen.verdict))
    return [...counted, `verdict ${seen.verdict}`]
  if (built.length) return [...counted, ...builtFaults(seen.after)]
  if (seen.events.includes('ECHO')) return [...counted, ...echoFaults(seen)]
  if (seen.before.equals(seen.after)) return counted
  return [...counted, ...translationFaults(seen)]
}
