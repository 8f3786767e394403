/** Packets for the fuzzer: valid ones of every kind that the programs tell apart, then spoilt. */
import {
  advertisement,
  arp,
  CLIENT_MAC,
  concat,
  echo,
  icmp,
  ip,
  OTHER_MAC,
  PROTOCOL,
  solicitation,
  tcp,
  udp,
  VIP_MAC,
  type Extension,
} from '../lib/packet.js'
import type { Random } from './random.js'

export type Direction = 'from_container' | 'to_container'

/** Few, so that packets meet the flows of others. The VIPs are those of openWorld(), in its order. */
export const WORLD = {
  4: {
    clients: ['10.1.0.2', '10.1.0.3', '10.1.0.4'],
    vips: Array.from({ length: 11 }, (_, index) => `10.9.0.${index + 1}`),
    backends: ['10.1.0.11', '10.1.0.12', '10.2.0.13'],
    strangers: ['10.1.0.99', '192.0.2.1', '224.0.0.1', '0.0.0.0', '255.255.255.255'],
  },
  6: {
    clients: ['fd01::2', 'fd01::3', 'fd01::4'],
    vips: Array.from({ length: 11 }, (_, index) => `fd09::${(index + 1).toString(16)}`),
    backends: ['fd01::11', 'fd01::12', 'fd02::13'],
    strangers: ['fd01::99', '2001:db8::1', 'ff02::1', '::', '::ffff:10.9.0.1'],
  },
} as const

/** The first of the VIPs: services without conditions. */
const PLAIN_SERVICES = 3

/** The most frequent have services. */
const SERVER_PORTS = [80, 80, 80, 53, 53, 443, 443, 8080, 5353, 81, 0, 65535] as const
/** Where backends listen: the services' target ports, more often than others. */
const TARGET_PORTS = [8080, 8080, 8080, 53, 53, 443, 443, 80] as const
const FEW_CLIENT_PORTS = [40000, 40001, 40002] as const
const CLIENT_PORTS = [...FEW_CLIENT_PORTS, 1024, 1, 65535, 53, 0] as const
const TCP_FLAGS = ['S', 'S', 'A', 'A', 'PA', 'SA', 'FA', 'R', 'RA', 'SF', '', 'SAFRP'] as const
const EXTENSION_TYPES = [0, 43, 60] as const
const ETHER_TYPES = [0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x8847, 0x0000] as const
const PROTOCOLS = [...Object.values(PROTOCOL), 0, 2, 4, 41, 43, 44, 47, 50, 51, 59, 60, 255]

export interface Ends {
  readonly src: string
  readonly dst: string
  readonly sport: number
  readonly dport: number
}

/** Half of them are of the plain services, where flows are to be met. */
function vipOf(random: Random, family: 4 | 6): string {
  const { vips } = WORLD[family]
  return random.pick(random.chance(0.5) ? vips.slice(0, PLAIN_SERVICES) : vips)
}

function ends(random: Random, family: 4 | 6, direction: Direction): Ends {
  const world = WORLD[family]
  const client = random.pick(world.clients)
  const toVip = random.chance(direction === 'from_container' ? 0.8 : 0.1)
  const server = random.chance(0.9)
    ? toVip
      ? vipOf(random, family)
      : random.pick(world.backends)
    : random.pick(world.strangers)
  const usual = random.chance(0.7) ? FEW_CLIENT_PORTS : CLIENT_PORTS
  const clientPort = random.chance(0.9) ? random.pick(usual) : random.below(65536)
  const isReply = direction === 'to_container' && random.chance(0.8)
  const serverPort = random.pick(isReply ? TARGET_PORTS : SERVER_PORTS)
  const backwards = random.chance(0.05)
  return (direction === 'from_container') !== backwards
    ? { src: client, dst: server, sport: clientPort, dport: serverPort }
    : { src: server, dst: client, sport: serverPort, dport: clientPort }
}

function payload(random: Random): Buffer {
  return random.bytes(random.chance(0.05) ? random.below(1400) : random.below(64))
}

/** What the network layer may carry besides. */
function extras(random: Random, family: 4 | 6): object {
  const fragment = random.chance(0.08) && {
    fragment: { offset: random.chance(0.5) ? 0 : 8 * random.below(8191), more: random.chance(0.6) },
  }
  const options = random.chance(0.15) && { options: Buffer.alloc(4 * random.below(11), 1) }
  const extensions = random.chance(0.15) && {
    extensions: Array.from({ length: 1 + random.below(6) }, (): Extension => ({
      type: random.pick(EXTENSION_TYPES),
      units: 1 + random.below(3),
    })),
  }
  return {
    ethDst: random.pick([VIP_MAC, OTHER_MAC]),
    ttl: random.chance(0.05) ? random.below(3) : 64,
    id: random.below(65536),
    dontFragment: random.chance(0.5),
    ...fragment,
    ...(family === 4 ? options : extensions),
  }
}

type Build = (random: Random, of: Ends, family: 4 | 6) => Buffer

const segment: Build = (random, of, family) =>
  tcp({
    ...extras(random, family),
    ...of,
    flags: random.pick(TCP_FLAGS),
    seq: random.next32(),
    ack: random.next32(),
    tcpOptions: Buffer.alloc(4 * (random.chance(0.3) ? random.below(11) : 0), 1),
    payload: payload(random),
  })

const datagram: Build = (random, of, family) =>
  udp({
    ...extras(random, family),
    ...of,
    payload: payload(random),
    unchecked: random.chance(0.1),
  })

const echoRequest: Build = (random, of, family) =>
  echo({ ...extras(random, family), ...of, reply: random.chance(0.2) })

/** An error about a packet that went the other way. */
const icmpError: Build = (random, of, family) => {
  const about = { src: of.dst, dst: of.src, sport: of.dport, dport: of.sport }
  const quoted = random.pick([segment, datagram])(random, about, family).subarray(14)
  const kept = quoted.subarray(0, random.chance(0.5) ? quoted.length : 28 + random.below(60))
  const type = random.pick(family === 4 ? [3, 11, 12, 5, 4] : [1, 2, 3, 4])
  const rest = concat(random.bytes(4), kept)
  return icmp({ ...extras(random, family), ...of, type, code: random.below(6), rest })
}

const otherProtocol: Build = (random, of, family) =>
  ip({ ...extras(random, family), ...of }, random.pick(PROTOCOLS), payload(random))

const neighbours: Build = (random, of, family) => {
  if (family === 6) {
    const build = random.chance(0.8) ? solicitation : advertisement
    const mac = random.chance(0.7) && { mac: CLIENT_MAC }
    const target = random.pick([...WORLD[6].vips, ...WORLD[6].backends])
    return build({ ...of, ttl: random.chance(0.9) ? 255 : 64, target, ...mac })
  }
  return arp({
    operation: random.chance(0.8) ? 'request' : 'reply',
    ethSrc: CLIENT_MAC,
    ethDst: random.pick(['ff:ff:ff:ff:ff:ff', VIP_MAC]),
    senderMac: CLIENT_MAC,
    senderIp: random.chance(0.9) ? of.src : '0.0.0.0',
    targetMac: '00:00:00:00:00:00',
    targetIp: random.pick([...WORLD[4].vips, ...WORLD[4].backends]),
  })
}

const BUILDS: readonly Build[] = [
  ...Array<Build>(6).fill(segment),
  ...Array<Build>(5).fill(datagram),
  ...[echoRequest, echoRequest, icmpError, icmpError, otherProtocol, neighbours],
]

type Mutation = (random: Random, frame: Buffer) => Buffer

function setByte(at: number, value: (old: number) => number): Mutation {
  return (_, frame) => {
    if (at < frame.length) frame[at] = value(frame[at] ?? 0) & 255
    return frame
  }
}

/** A big-endian 16-bit field says something else: a little more or less, or anything. */
function lie(random: Random, frame: Buffer, at: number): Buffer {
  if (at + 2 > frame.length) return frame
  const now = frame.readUInt16BE(at)
  const said = random.chance(0.6) ? now + random.below(17) - 8 : random.next32()
  frame.writeUInt16BE(said & 0xffff, at)
  return frame
}

function transportOffset(frame: Buffer): number {
  return frame[12] === 0x86 ? 54 : 14 + ((frame[14] ?? 0) & 15) * 4
}

const MUTATIONS: readonly Mutation[] = [
  // bits and bytes, more often where the headers are
  (random, frame) =>
    setByte(
      random.below(Math.min(frame.length, random.chance(0.8) ? 80 : 2000)),
      (old) => old ^ (1 << random.below(8)),
    )(random, frame),
  (random, frame) =>
    setByte(random.below(Math.min(frame.length, 80)), () => random.next32())(random, frame),
  // the frame ends early, or later than its headers say
  (random, frame) => frame.subarray(0, 14 + random.below(Math.max(1, frame.length - 14))),
  (random, frame) => frame.subarray(0, Math.max(15, frame.length - random.below(24))),
  (random, frame) => Buffer.concat([frame, random.bytes(random.below(40))]),
  // lengths that lie: IPv4 total, IPv6 payload, UDP
  (random, frame) => lie(random, frame, 16),
  (random, frame) => lie(random, frame, 18),
  (random, frame) => lie(random, frame, transportOffset(frame) + 4),
  // header lengths: IHL or version, data offset, extension header
  (random, frame) => setByte(14, () => random.next32())(random, frame),
  (random, frame) => setByte(14, (old) => (old & 0xf0) | random.below(16))(random, frame),
  (random, frame) => setByte(transportOffset(frame) + 12, () => random.next32())(random, frame),
  (random, frame) => setByte(55, () => random.next32())(random, frame),
  // what it claims to be
  (random, frame) => setByte(23, () => random.pick(PROTOCOLS))(random, frame),
  (random, frame) => setByte(20, () => random.pick(PROTOCOLS))(random, frame),
  (random, frame) => {
    if (random.chance(0.2)) frame.writeUInt16BE(random.pick(ETHER_TYPES), 12)
    return frame
  },
  // checksums: IPv4, TCP, UDP
  (random, frame) => lie(random, frame, 24),
  (random, frame) => lie(random, frame, transportOffset(frame) + 16),
  (random, frame) => lie(random, frame, transportOffset(frame) + 6),
]

/** Bytes that BPF_PROG_TEST_RUN wants of a frame; with fewer it is EINVAL (kernel 6.18). */
function leastBytes(frame: Buffer): number {
  const type = frame.readUInt16BE(12)
  return type === 0x0800 ? 34 : type === 0x86dd ? 54 : 15
}

/** A frame of any kind between two ends; nothing is wrong with it. */
export function frameBetween(random: Random, of: Ends, family: 4 | 6): Buffer {
  return random.pick(BUILDS)(random, of, family)
}

/** The same frame, or one with up to three things wrong, that is still long enough to be run. */
export function spoilt(random: Random, whole: Buffer): Buffer {
  let frame = whole
  const times = random.chance(0.4) ? 0 : 1 + random.below(3)
  for (let i = 0; i < times; i++) frame = random.pick(MUTATIONS)(random, Buffer.from(frame))
  const least = leastBytes(frame)
  return frame.length < least ? Buffer.concat([frame], least) : frame
}

/** The next packet; the same for the same state of `random`. */
export function nextPacket(random: Random, direction: Direction): Buffer {
  const family = random.chance(0.5) ? 4 : 6
  return spoilt(random, frameBetween(random, ends(random, family, direction), family))
}
