/** Packets as a NIC has them: of clients, of backends that answer, of other nodes' tunnels. */
import { ip } from '../lib/packet.js'
import { frameBetween, spoilt, type Ends } from './packets.js'
import type { Random } from './random.js'

/**
 * Addresses are those of edgeWire.ts, and some that nobody there has. The VIPs are those of
 * edgeWorld.ts, in its order. The second peer is behind the smaller MTU.
 */
export const EDGE_WORLD = {
  4: {
    own: '192.0.2.1',
    clients: ['192.0.2.8', '192.0.2.9'],
    vips: Array.from({ length: 14 }, (_, index) => `203.0.113.${index + 1}`),
    /** By how they are reached: snat, snat with a small MTU, entry, dsr-mac, dsr-tunnel, routed. */
    backends: {
      snat: '192.0.2.3',
      narrow: '198.51.100.3',
      entry: '10.1.0.3',
      mac: '192.0.2.4',
      tunnel: '198.51.100.4',
      routed: '192.0.2.99',
    },
    narrowOwn: '198.51.100.1',
    peers: ['192.0.2.2', '198.51.100.5'],
    /** What other nodes call the backend `entry`. */
    alias: '10.77.0.3',
    strangers: ['192.0.2.77', '10.99.0.1', '224.0.0.1', '0.0.0.0', '255.255.255.255'],
  },
  6: {
    own: '2001:db8::1',
    clients: ['2001:db8::8', '2001:db8::9'],
    vips: Array.from({ length: 14 }, (_, index) => `2001:db8:9::${(index + 1).toString(16)}`),
    backends: {
      snat: '2001:db8::3',
      narrow: '2001:db8:1::3',
      entry: 'fd00:1::3',
      mac: '2001:db8::4',
      tunnel: '2001:db8:1::4',
      routed: '2001:db8::99',
    },
    narrowOwn: '2001:db8:1::1',
    peers: ['2001:db8::2', '2001:db8:1::5'],
    alias: 'fd77::3',
    strangers: ['2001:db8::77', 'fd99::1', 'ff02::1', '::', '::ffff:203.0.113.1'],
  },
} as const

/** Few, so that replies to ports drawn at random meet flows, and that ports run out. */
export const SNAT_PORTS = { first: 20_000, last: 20_015 }

/** The most frequent have services; one is in the range for snat. */
const SERVER_PORTS = [80, 80, 80, 53, 53, 53, 443, 443, 443, 8080, 81, 0, 20_003] as const
const TARGET_PORTS = [8080, 5353, 443, 53] as const
const CLIENT_PORTS = 3
/** The first of the VIPs: services without conditions. */
const PLAIN_SERVICES = 4

function clientOf(random: Random, family: 4 | 6): readonly [address: string, port: number] {
  const world = EDGE_WORLD[family]
  return [
    random.chance(0.95) ? random.pick(world.clients) : random.pick(world.strangers),
    random.chance(0.95) ? 40_000 + random.below(CLIENT_PORTS) : random.below(65_536),
  ]
}

function ends(random: Random, family: 4 | 6): Ends {
  const world = EDGE_WORLD[family]
  const [client, sport] = clientOf(random, family)
  const kind = random.below(20)
  if (kind < 11) {
    const vips = random.chance(0.5) ? world.vips.slice(0, PLAIN_SERVICES) : world.vips
    const dst = random.chance(0.9) ? random.pick(vips) : world.own
    return { src: client, dst, sport, dport: random.pick(SERVER_PORTS) }
  }
  const backend = random.pick(Object.values(world.backends))
  const port = random.pick(TARGET_PORTS)
  if (kind < 17) {
    const dst = backend === world.backends.narrow ? world.narrowOwn : world.own
    const { first, last } = SNAT_PORTS
    return { src: backend, dst, sport: port, dport: first + random.below(last - first + 1) }
  }
  if (kind < 19) return { src: backend, dst: client, sport: port, dport: sport }
  return {
    src: random.pick(world.strangers),
    dst: random.pick(world.strangers),
    sport,
    dport: port,
  }
}

/** A packet in a tunnel: to a backend of this node, or a reply to a client of ours. */
function tunnelled(random: Random, family: 4 | 6): Buffer {
  const world = EDGE_WORLD[family]
  const address = random.chance(0.7) ? world.backends.entry : world.alias
  const entry = { address, port: random.pick(TARGET_PORTS) }
  const client = { address: random.pick(world.clients), port: 40_000 + random.below(CLIENT_PORTS) }
  const [from, to] = random.chance(0.5) ? [entry, client] : [client, entry]
  const of = { src: from.address, dst: to.address, sport: from.port, dport: to.port }
  const inner = frameBetween(random, of, family)
  const outside = {
    src: random.chance(0.9) ? random.pick(world.peers) : random.pick(world.strangers),
    dst: random.chance(0.95) ? world.own : random.pick(world.strangers),
  }
  const protocol = random.chance(0.95) === (family === 4) ? 4 : 41
  return ip(outside, protocol, inner.subarray(14))
}

/** A backend's packet, or the node's own, on its way out; or one that goes through. */
function endsOut(random: Random, family: 4 | 6): Ends {
  const world = EDGE_WORLD[family]
  if (random.chance(0.1)) return ends(random, family)
  const [dst, dport] = clientOf(random, family)
  const { routed, entry } = world.backends
  const kind = random.below(20)
  const src =
    kind < 8
      ? routed
      : kind < 15
        ? entry
        : kind < 18
          ? random.pick(Object.values(world.backends))
          : kind < 19
            ? world.own
            : random.pick(world.vips)
  return { src, dst, sport: random.pick(TARGET_PORTS), dport }
}

/** The next packet that leaves; the same for the same state of `random`. */
export function nextPacketOut(random: Random): Buffer {
  const family = random.chance(0.5) ? 4 : 6
  return spoilt(random, frameBetween(random, endsOut(random, family), family))
}

/** The next packet that comes in; the same for the same state of `random`. */
export function nextEdgePacket(random: Random): Buffer {
  const family = random.chance(0.5) ? 4 : 6
  const frame = random.chance(0.12)
    ? tunnelled(random, family)
    : frameBetween(random, ends(random, family), family)
  return spoilt(random, frame)
}
