/** The programs of a container's veth, with a service of every kind and flows to come. */
import { Datapath } from '../lib/kernel.js'
import { enterPastBridge } from '../lib/pastBridge.js'
import { addConditioned, conditions } from './conditions.js'
import { TC_VERDICTS, type Target } from './fuzzer.js'
import { BRIDGE_MAC } from './judge.js'
import { type Direction, nextPacket, WORLD } from './packets.js'

const PORTS = ['80:8080/tcp', '53/udp', '443/tcp', '443/udp']

/** Of WORLD's clients. */
const RANGES = [
  { deny: ['10.1.0.2/32', 'fd01::2/128'] },
  { allow: ['10.1.0.2/31', 'fd01::2/127'], deny: ['10.1.0.3/32', 'fd01::3/128'] },
]

/** @param bridged backends are behind a bridge; else behind the stack */
export function openWorld(bridged: boolean): Datapath {
  const dp = new Datapath({
    rodata: {
      network_id: 1,
      bridge_ifindex: bridged ? 1 : 0,
      bridge_mac: BRIDGE_MAC,
    },
  })
  const both = (pick: (world: (typeof WORLD)[4 | 6]) => readonly string[]) => [
    ...pick(WORLD[4]),
    ...pick(WORLD[6]),
  ]
  const vip = (index: number) => both((world) => world.vips.slice(index, index + 1))
  const backends = both((world) => world.backends)
  dp.addService({ vips: vip(0), ports: PORTS, backends })
  dp.addService({ vips: vip(1), backends, onLink: false, algorithm: 'random' })
  const empty = dp.addService({ vips: vip(2), ports: ['53/tcp'], backends: backends.slice(0, 1) })
  dp.setRing(empty.id, { 4: [], 6: [] })
  conditions(RANGES).forEach((condition, index) => {
    addConditioned(dp, { vips: vip(3 + index), ports: PORTS, backends }, condition)
  })
  enterPastBridge(
    dp,
    1,
    both((world) => world.backends.slice(0, 1)),
  )
  return dp
}

export function containerTargets(dp: Datapath): Target[] {
  const target = (name: Direction, run: Target['run']): Target => ({
    name,
    verdicts: TC_VERDICTS,
    next: (random) => nextPacket(random, name),
    run,
  })
  return [
    target('from_container', (packet) => dp.fromContainer(packet)),
    target('to_container', (packet) => dp.toContainer(packet)),
  ]
}
