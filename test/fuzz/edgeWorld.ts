/** The programs of a NIC, XDP and tc, with backends that are reached in every way there is. */
import { OUTSIDE, STEP, Wire, XDP } from '../lib/edgePath.js'
import { Datapath } from '../lib/kernel.js'
import { addConditioned, conditions, words } from './conditions.js'
import { EDGE_WORLD, nextEdgePacket, nextPacketOut, SNAT_PORTS } from './edgePackets.js'
import { TC_VERDICTS, type Target } from './fuzzer.js'

const BOTH = [EDGE_WORLD[4], EDGE_WORLD[6]]
const XDP_VERDICTS = { pass: XDP.PASS, drop: XDP.DROP, redirect: XDP.TX }
/** Notes with which a packet may have been changed. */
const CHANGING: ReadonlySet<number | undefined> = new Set([STEP.ROUTE, STEP.REPLY])

export interface EdgeWorld {
  readonly dp: Datapath
  readonly targets: readonly Target[]
  close(): void
}

/** Of EDGE_WORLD's clients. */
const RANGES = [
  { deny: ['192.0.2.8/32', '2001:db8::8/128'] },
  { allow: ['192.0.2.8/31', '2001:db8::8/127'], deny: ['192.0.2.9/32', '2001:db8::9/128'] },
]
/** New DSR flows of that many jiffies, beyond which those that a hash leads get no row. */
const FLOOD = { stateless_above: 1, rate_window_jiffies: 50 }

function serve(dp: Datapath): void {
  const vips = (index: number) => BOTH.map((world) => world.vips[index] ?? '')
  type Kind = keyof (typeof EDGE_WORLD)[4]['backends']
  const backends = (...kinds: Kind[]) =>
    BOTH.flatMap((world) => kinds.map((kind) => world.backends[kind]))
  const of = (port: string) => [`${port}/tcp`, `${port}/udp`]
  const ports = ['80:8080', '53:5353', '443'].flatMap(of)
  const all = [
    dp.addService({
      vips: vips(0),
      ports,
      backends: backends('snat', 'narrow', 'entry', 'routed'),
    }),
    dp.addService({ vips: vips(1), backends: backends('snat', 'routed'), algorithm: 'random' }),
    dp.addService({
      vips: vips(2),
      ports: ['80', '53', '443'].flatMap(of),
      backends: backends('mac', 'tunnel'),
    }),
    dp.addService({ vips: vips(3), ports: ['80/tcp'], backends: [] }),
    ...(['sh', 'maglev'] as const).map((algorithm, index) =>
      addConditioned(
        dp,
        {
          vips: vips(4 + index),
          ports: ['80', '53', '443'].flatMap(of),
          backends: backends('mac', 'tunnel'),
        },
        { algorithm, times: 7 },
      ),
    ),
    ...conditions(RANGES).map((condition, index) =>
      addConditioned(
        dp,
        { vips: vips(6 + index), ports, backends: backends('routed', 'snat', 'entry') },
        condition,
      ),
    ),
  ]
  for (const world of BOTH) {
    const ways = {
      snat: { addr: words(world.own), kind: dp.constant('VIA_SNAT') },
      narrow: { addr: words(world.narrowOwn), kind: dp.constant('VIA_SNAT') },
      entry: { addr: words(world.peers[0]), kind: dp.constant('VIA_ENTRY') },
      mac: { addr: words(world.backends.mac), kind: dp.constant('VIA_DSR_MAC') },
      tunnel: { addr: words(world.backends.tunnel), kind: dp.constant('VIA_DSR_TUNNEL') },
    }
    for (const service of all)
      for (const [kind, way] of Object.entries(ways)) {
        const id = service.backends.get(world.backends[kind as Kind])
        if (id !== undefined) dp.map('vias').set(id, way)
      }
    // Outside nobody dials backends.
    for (const backend of Object.values(world.backends)) dp.removeVip(backend)
    for (const peer of world.peers) dp.map('peers').set({ addr: words(peer) }, 1)
    dp.map('aliases').set({ addr: words(world.alias) }, { addr: words(world.backends.entry) })
    dp.addVip(world.own, ['NODE'])
    dp.addVip(world.narrowOwn, ['NODE'])
    for (const port of ['8080:8080/tcp', '53:5353/udp']) dp.addPort(world.own, port, 1)
  }
}

/**
 * @param ifindex that packets come in by, of edgeWire.ts's namespace; elsewhere nothing has a route,
 *                and with 0 it is none in particular
 */
export function openEdgeWorld(ifindex: number): EdgeWorld {
  const knobs = {
    snat_first_port: SNAT_PORTS.first,
    snat_last_port: SNAT_PORTS.last,
    edge_addr4: words(EDGE_WORLD[4].own)[3] ?? 0,
    edge_addr6: words(EDGE_WORLD[6].own),
  }
  const dp = new Datapath({ rodata: { ...OUTSIDE.rodata, ...knobs, ...FLOOD } })
  let wire: Wire | undefined
  try {
    serve(dp)
    wire = new Wire(dp, knobs)
  } catch (error) {
    dp.close()
    throw error
  }
  const used = wire
  const close = (): void => {
    used.close()
    dp.close()
  }
  return { dp, targets: targetsOf(dp, used, ifindex), close }
}

/** What goes on through the stack has its next hop from there. */
const isRedirected = (verdict: number): boolean => verdict === TC_VERDICTS.redirect

function targetsOf(dp: Datapath, wire: Wire, ifindex: number): Target[] {
  return [
    {
      name: 'from_wire',
      verdicts: XDP_VERDICTS,
      routes: () => true,
      next: nextEdgePacket,
      run: (before) => {
        const { verdict, packet, step } = wire.receive(before, ifindex)
        const still = verdict === XDP.PASS && !CHANGING.has(step) && !before.equals(packet)
        return { verdict, packet, faults: still ? ['changed without a word of it'] : [] }
      },
    },
    {
      name: 'from_edge',
      verdicts: TC_VERDICTS,
      routes: () => true,
      next: nextEdgePacket,
      run: (before) => dp.fromEdge(before, ifindex),
    },
    {
      name: 'to_edge',
      verdicts: TC_VERDICTS,
      routes: isRedirected,
      next: nextPacketOut,
      run: (before) => dp.toEdge(before, ifindex),
    },
    {
      name: 'from_bridge',
      verdicts: TC_VERDICTS,
      routes: isRedirected,
      next: nextPacketOut,
      run: (before) => dp.fromBridge(before, ifindex),
    },
  ]
}
