/** The least DNAT of a hook (least.h), one instance for a family and a direction. */
import { BpfObject, type Program } from 'libbpf-ts'
import { addressWords, type Family, HOSTS, VIP_PORT } from './frames.js'
import { type Hook, objectFile } from './timed.js'

/** How a packet leaves by the NIC again; `enum beyond` of least_xdp.bpf.c. */
const BEYOND = { mac: 1, tunnel: 2 } as const
type Beyond = keyof typeof BEYOND

export class Reference {
  readonly #lookups: BpfObject
  readonly #inserts: BpfObject
  readonly #handsOn: BpfObject | undefined
  readonly #beyond = new Map<Beyond, BpfObject>()

  /** @param csumIpv6Flag as the programs under test have it */
  constructor(
    hook: Hook,
    family: Family,
    options: { rewritesSource: boolean; rows: number; csumIpv6Flag: bigint },
  ) {
    const { vip, backend } = HOSTS[family]
    const { own, onWire, peer } = HOSTS[family]
    const open = (inserts: boolean, handsOn = false, way?: Beyond) => {
      const object = BpfObject.open(objectFile(`least_${hook}`))
      object.setRodata({
        rewrites_source: options.rewritesSource ? 1 : 0,
        inserts: inserts ? 1 : 0,
        new_addr: addressWords(options.rewritesSource ? vip : backend),
        new_port: VIP_PORT,
        ...(hook === 'tc'
          ? { csum_ipv6_flag: options.csumIpv6Flag }
          : {
              hands_on: handsOn ? 1 : 0,
              beyond: way ? BEYOND[way] : 0,
              own_addr: addressWords(own),
              next_addr: addressWords(way === 'mac' ? onWire : peer),
            }),
      })
      object.resize(`least${family}`, options.rows)
      object.resize(`least${10 - family}`, 1)
      return object
    }
    this.#inserts = open(true)
    this.#inserts.load()
    const beside = (handsOn: boolean, way?: Beyond) => {
      const object = open(false, handsOn, way)
      for (const name of ['least4', 'least6']) object.reuse(name, this.#inserts.map(name))
      object.load()
      return object
    }
    this.#lookups = beside(false)
    this.#handsOn = hook === 'xdp' ? beside(true) : undefined
    if (hook === 'xdp')
      for (const way of ['mac', 'tunnel'] as const) this.#beyond.set(way, beside(false, way))
  }

  /** A flow that it does not know passes. */
  get lookups(): Program {
    return this.#lookups.program('least')
  }

  /** On XDP: the same, which leaves what it has translated to tc, with metadata. */
  get handsOn(): Program {
    if (this.#handsOn === undefined) throw new Error('only on XDP a packet is handed on')
    return this.#handsOn.program('least')
  }

  /** On XDP: the same, which sends the packet to its next hop, as it was dialled or in a tunnel. */
  beyond(way: Beyond): Program {
    const object = this.#beyond.get(way)
    if (!object) throw new Error('only on XDP a packet leaves by the NIC again')
    return object.program('least')
  }

  /** A flow that it does not know gets a row. */
  get inserts(): Program {
    return this.#inserts.program('least')
  }

  close(): void {
    this.#lookups.close()
    this.#handsOn?.close()
    for (const object of this.#beyond.values()) object.close()
    this.#inserts.close()
  }
}
