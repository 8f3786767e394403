/** The tc programs with their maps filled: one service or thousands, one of them measured. */
import { BpfObject, probe } from 'libbpf-ts'
import { OUTSIDE, VIA, Wire } from '../../test/lib/edgePath.js'
import { Datapath } from '../../test/lib/kernel.js'
import type { Algorithm } from '../../src/model/types.js'
import { addressWords, CLOSED_PORT, HOSTS, VIP_PORT } from './frames.js'

/** As shipped. */
export const FLOW_ROWS = 262_144

/** Id of the network of containers. */
export const NETWORK = 7

const BACKENDS_EACH = 10
const OBJECT = new URL('../../bpf/tc.bpf.o', import.meta.url).pathname
const BPF_F_IPV6 = 1n << 7n

export function csumIpv6Flag(): bigint {
  return probe().csumIpv6Flag ? BPF_F_IPV6 : 0n
}

/**
 * Rows of each map as shipped, whatever maps there are; of services and backends twice as many,
 * because 10,000 services of 10 backends are more than the default. Flow tables stay.
 */
function shippedSizes(): Record<string, number> {
  using object = BpfObject.open(OBJECT)
  const sized = [...object.maps].filter(([, map]) => map.maxEntries >= 1024)
  return Object.fromEntries(
    sized.map(([name, map]) => [name, map.maxEntries * (map.type === 'lru_hash' ? 1 : 2)]),
  )
}

/** The measured service, where it is not the plain one. */
export interface Measured {
  /** Of each family. */
  readonly backends: number
  readonly algorithm: Algorithm
}

/** @param bridged backends are reached by redirection to a bridge; else through the stack */
export function openScene(services: number, bridged: boolean, measured?: Measured): Datapath {
  const dp = new Datapath({
    rodata: {
      network_id: NETWORK,
      bridge_ifindex: bridged ? 1 : 0,
      csum_ipv6_flag: csumIpv6Flag(),
    },
    sizes: shippedSizes(),
  })
  addServices(dp, services, measured)
  return dp
}

/** The programs of a NIC; what is beyond the node is in test/lib/edgeWire.ts's namespace. */
export class EdgeScene {
  readonly dp: Datapath
  readonly wire: Wire

  constructor(services: number) {
    const own = {
      edge_addr4: addressWords(HOSTS[4].own)[3] ?? 0,
      edge_addr6: addressWords(HOSTS[6].own),
    }
    const rodata = { ...OUTSIDE.rodata, ...own, csum_ipv6_flag: csumIpv6Flag() }
    this.dp = new Datapath({ rodata, sizes: shippedSizes() })
    try {
      addServices(this.dp, services)
      for (const family of [4, 6] as const) {
        const { wire, onWire, node, peer } = HOSTS[family]
        this.#addBeyond(wire.vip, onWire, VIA.DSR_MAC, onWire)
        this.#addBeyond(node.vip, node.backend, VIA.ENTRY, peer)
      }
      this.wire = new Wire(this.dp, own)
    } catch (error) {
      this.dp.close()
      throw error
    }
  }

  close(): void {
    this.wire.close()
    this.dp.close()
  }

  #addBeyond(vip: string, backend: string, kind: number, addr: string): void {
    const ports = [`${VIP_PORT}/tcp`]
    const { backends } = this.dp.addService({ vips: [vip], ports, backends: [backend] })
    this.dp.map('vias').set(backends.get(backend) ?? 0, { addr: addressWords(addr, true), kind })
  }
}

function addServices(dp: Datapath, services: number, measured?: Measured): void {
  for (let n = 1; n < services; n++) {
    if (n === services >> 1) addMeasured(dp)
    addOther(dp, n)
  }
  if (services === 1) addMeasured(dp, measured)
}

function addMeasured(dp: Datapath, measured: Measured = { backends: 1, algorithm: 'rr' }): void {
  const others = Array.from({ length: measured.backends - 1 }, (_, i) => i + 256)
  dp.addService({
    vips: [HOSTS[4].vip, HOSTS[6].vip],
    ports: [`${VIP_PORT}/tcp`, `${VIP_PORT}/udp`],
    backends: [
      ...[HOSTS[4].backend, HOSTS[6].backend],
      ...others.flatMap((i) => [`10.2.${i >> 8}.${i & 255}`, `fd02::${i.toString(16)}`]),
    ],
    algorithm: measured.algorithm,
  })
  const empty = dp.addService({ vips: [], ports: [], backends: [] })
  for (const family of [4, 6] as const) {
    dp.addPort(HOSTS[family].vip, `${CLOSED_PORT}/tcp`, empty.id)
  }
}

function addOther(dp: Datapath, n: number): void {
  const backends = Array.from({ length: BACKENDS_EACH }, (_, i) => {
    const at = n * BACKENDS_EACH + i
    return i % 2
      ? `fd10::${(at >> 16).toString(16)}:${(at & 0xffff).toString(16)}`
      : `10.${64 + (at >> 16)}.${(at >> 8) & 255}.${at & 255}`
  })
  dp.addService({
    vips: [`10.32.${n >> 8}.${n & 255}`, `fd20::${n.toString(16)}`],
    ports: [`${VIP_PORT}/tcp`, `${VIP_PORT}/udp`],
    backends,
  })
}
