/** The programs of a container's veth, with a service of every kind and flows to come. */
import { readFileSync } from 'node:fs'
import { readConfiguredHz } from '../../src/host/clock.js'
import { Datapath } from '../lib/kernel.js'
import { addConditioned, conditions, words } from './conditions.js'
import { TC_VERDICTS, type Target } from './fuzzer.js'
import { BRIDGE_MAC } from './judge.js'
import { type Direction, nextPacket, WORLD } from './packets.js'

const PORTS = ['80:8080/tcp', '53/udp', '443/tcp', '443/udp']

/** Of WORLD's clients. */
const RANGES = [
  { deny: ['10.1.0.2/32', 'fd01::2/128'] },
  { allow: ['10.1.0.2/31', 'fd01::2/127'], deny: ['10.1.0.3/32', 'fd01::3/128'] },
]

/** The kernel counts from five minutes before its wrap. Half of what 32 bits tell is yet to come. */
function distantJiffies(): number {
  const seconds = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0])
  return (Math.round((seconds - 300) * (readConfiguredHz() ?? 250)) + 2 ** 30) >>> 0
}

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
  dp.map('veth_leases').set(0, { until: distantJiffies() })
  for (const family of [4, 6] as const) {
    const [first = ''] = WORLD[family].backends
    const [, , , last = 0] = words(first)
    const value = { ifindex: 1, mac: Uint8Array.of(2, 0, 0, 0, 0, 1), pad: new Uint8Array(2) }
    const addr = family === 4 ? last : words(first)
    dp.map(`veths${family}`).set({ scope: 1, addr }, value)
  }
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
