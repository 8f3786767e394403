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
  readonly #pastBridge: BpfObject | undefined
  readonly #beyond = new Map<Beyond, BpfObject>()

  /** @param csumIpv6Flag as the programs under test have it */
  constructor(
    hook: Hook,
    family: Family,
    options: { rewritesSource: boolean; rows: number; csumIpv6Flag: bigint },
  ) {
    const { vip, backend } = HOSTS[family]
    const { own, onWire, peer } = HOSTS[family]
    const open = (inserts: boolean, onwards = false, way?: Beyond) => {
      const object = BpfObject.open(objectFile(`least_${hook}`))
      object.setRodata({
        rewrites_source: options.rewritesSource ? 1 : 0,
        inserts: inserts ? 1 : 0,
        new_addr: addressWords(options.rewritesSource ? vip : backend),
        new_port: VIP_PORT,
        ...(hook === 'tc'
          ? { csum_ipv6_flag: options.csumIpv6Flag, past_bridge: onwards ? 1 : 0 }
          : {
              hands_on: onwards ? 1 : 0,
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
    const beside = (onwards: boolean, way?: Beyond) => {
      const object = open(false, onwards, way)
      for (const name of ['least4', 'least6']) object.reuse(name, this.#inserts.map(name))
      object.load()
      return object
    }
    this.#lookups = beside(false)
    this.#handsOn = hook === 'xdp' ? beside(true) : undefined
    this.#pastBridge = hook === 'tc' && !options.rewritesSource ? beside(true) : undefined
    const addr = addressWords(backend)
    this.#pastBridge
      ?.map(`places${family}`)
      .set(
        { scope: 0, addr: family === 4 ? (addr[3] ?? 0) : addr },
        { ifindex: 1, mac: Uint8Array.of(2, 0, 0, 0, 0, 1), pad: new Uint8Array(2) },
      )
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

  /** In tc: the same, which looks up the backend's veth and puts the packet into its other end. */
  get pastBridge(): Program {
    if (this.#pastBridge === undefined) throw new Error('only in tc a packet enters a veth')
    return this.#pastBridge.program('least')
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
    this.#pastBridge?.close()
    for (const object of this.#beyond.values()) object.close()
    this.#inserts.close()
  }
}
