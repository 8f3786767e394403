/** Packets as a NIC has them: of clients, of backends that answer, of other nodes' tunnels. */
import { ip } from '../lib/packet.js'
import { frameBetween, spoilt, type Ends } from './packets.js'
import type { Random } from './random.js'

/** Addresses are those of edgeWire.ts, and some that nobody there has. */
export const EDGE_WORLD = {
  4: {
    own: '192.0.2.1',
    clients: ['192.0.2.8', '192.0.2.9'],
    vips: ['203.0.113.1', '203.0.113.2', '203.0.113.3', '203.0.113.4'],
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
    peer: '192.0.2.2',
    strangers: ['192.0.2.77', '10.99.0.1', '224.0.0.1', '0.0.0.0', '255.255.255.255'],
  },
  6: {
    own: '2001:db8::1',
    clients: ['2001:db8::8', '2001:db8::9'],
    vips: ['2001:db8:9::1', '2001:db8:9::2', '2001:db8:9::3', '2001:db8:9::4'],
    backends: {
      snat: '2001:db8::3',
      narrow: '2001:db8:1::3',
      entry: 'fd00:1::3',
      mac: '2001:db8::4',
      tunnel: '2001:db8:1::4',
      routed: '2001:db8::99',
    },
    narrowOwn: '2001:db8:1::1',
    peer: '2001:db8::2',
    strangers: ['2001:db8::77', 'fd99::1', 'ff02::1', '::', '::ffff:203.0.113.1'],
  },
} as const

/** Few, so that replies to ports drawn at random meet flows, and that ports run out. */
export const SNAT_PORTS = { first: 20_000, last: 20_015 }

/** The most frequent have services; one is in the range for snat. */
const SERVER_PORTS = [80, 80, 80, 53, 53, 53, 443, 443, 443, 8080, 81, 0, 20_003] as const
const TARGET_PORTS = [8080, 5353, 443, 53] as const
const CLIENT_PORTS = 3

function ends(random: Random, family: 4 | 6): Ends {
  const world = EDGE_WORLD[family]
  const client = random.chance(0.95) ? random.pick(world.clients) : random.pick(world.strangers)
  const sport = random.chance(0.95) ? 40_000 + random.below(CLIENT_PORTS) : random.below(65_536)
  const kind = random.below(20)
  if (kind < 11) {
    const dst = random.chance(0.9) ? random.pick(world.vips) : world.own
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
  const entry = { address: world.backends.entry, port: random.pick(TARGET_PORTS) }
  const client = { address: random.pick(world.clients), port: 40_000 + random.below(CLIENT_PORTS) }
  const [from, to] = random.chance(0.5) ? [entry, client] : [client, entry]
  const of = { src: from.address, dst: to.address, sport: from.port, dport: to.port }
  const inner = frameBetween(random, of, family)
  const outside = {
    src: random.chance(0.9) ? world.peer : random.pick(world.strangers),
    dst: random.chance(0.95) ? world.own : random.pick(world.strangers),
  }
  const protocol = random.chance(0.95) === (family === 4) ? 4 : 41
  return ip(outside, protocol, inner.subarray(14))
}

/** The next packet; the same for the same state of `random`. */
export function nextEdgePacket(random: Random): Buffer {
  const family = random.chance(0.5) ? 4 : 6
  const frame = random.chance(0.12)
    ? tunnelled(random, family)
    : frameBetween(random, ends(random, family), family)
  return spoilt(random, frame)
}
