/**
 * Captures a service's packets: capture.bpf.c on the interfaces of its network, and of the edge, for as
 * long as somebody looks. What became of a client's packet without a connection is asked of the
 * programs' own code (explain.ts).
 */
import { RingBuffer, type BpfObject, type Codec, type Link } from 'libbpf-ts'
import { FairleadError } from '../errors.js'
import { fromBytes, rangeWords } from '../model/address.js'
import type {
  Capture,
  CapturedInterface,
  CapturedPacket,
  CaptureQuestion,
  Capturer,
} from '../model/capture.js'
import type { FlowEnd } from '../model/flows.js'
import type { Network, State } from '../model/types.js'
import type { KernelExplainer } from './explain.js'
import { flowState } from './flowTables.js'
import type { Installer } from './install.js'
import { OUTSIDE_NETWORK } from './outside.js'
import type { PinnedMaps } from './pinnedMaps.js'
import { loadCapture, type ProgramSettings } from './programs.js'
import { IPPROTO } from './rows.js'

/** A packet is told of when the programs are through with it, on every CPU. */
const SETTLE_MS = 25
const SENT_BY_CLIENT = 1
const NS_PER_MS = 1_000_000n
/** Waiting to be told of; each has a copy of its record. */
const MAX_WAITING = 10_000

export interface CapturePort extends CapturedInterface {
  readonly ifindex: number
}

export interface CaptureParts {
  readonly maps: PinnedMaps
  readonly settings: ProgramSettings
  readonly installer: Installer
  readonly explainer: KernelExplainer
  readonly state: () => State | undefined
  /** Where our programs are; of the edge without a network. */
  readonly ports: (network?: string) => readonly CapturePort[]
  /** What enters a container past its bridge leaves no interface. @returns what ends it */
  readonly byBridge: () => () => void
}

/** `struct capture`. */
interface Row {
  at_ns: bigint
  ifindex: number
  bytes: number
  kept: number
  leaves: number
  sender: number
  translated: number
  service: number
  backend: number
  flags: number
  protocol: number
  starts: number
  backend_port: number
  data: Uint8Array
}

/** One instance of the programs, for a network or the outside. */
interface Place {
  readonly network?: Network
  readonly object: BpfObject
  readonly links: Link[]
  readonly ring: RingBuffer
}

export class KernelCapturer implements Capturer {
  readonly #parts: CaptureParts
  #running = false
  #current: Capture | undefined

  constructor(parts: CaptureParts) {
    this.#parts = parts
  }

  async capture(
    question: CaptureQuestion,
    onPacket: (packet: CapturedPacket) => void,
  ): Promise<Capture> {
    if (this.#running) throw new FairleadError('BUSY', 'another capture runs')
    this.#running = true
    const release = this.#parts.byBridge()
    const ended = () => {
      this.#running = false
      release()
    }
    const session = new Session(this.#parts, question, onPacket)
    try {
      await session.open()
    } catch (error) {
      await session.close()
      ended()
      throw error
    }
    let closing: Promise<void> | undefined
    this.#current = {
      interfaces: session.interfaces,
      leftOut: () => session.leftOut(),
      close: () => (closing ??= session.close().finally(ended)),
    }
    return this.#current
  }

  async close(): Promise<void> {
    await this.#current?.close()
  }
}

class Session {
  readonly interfaces: CapturePort[] = []
  readonly #parts: CaptureParts
  readonly #question: CaptureQuestion
  readonly #onPacket: (packet: CapturedPacket) => void
  readonly #places: Place[] = []
  readonly #waiting: { readonly place: Place; readonly row: Row }[] = []
  /** From CLOCK_MONOTONIC to the time of day. */
  readonly #sinceNs = BigInt(Date.now()) * NS_PER_MS - process.hrtime.bigint()
  #timer: NodeJS.Timeout | undefined
  #telling: Promise<void> | undefined
  #overrun = 0
  #left = 0
  #closed = false

  constructor(
    parts: CaptureParts,
    question: CaptureQuestion,
    onPacket: (packet: CapturedPacket) => void,
  ) {
    this.#parts = parts
    this.#question = question
    this.#onPacket = onPacket
  }

  async open(): Promise<void> {
    const { installer, state, ports, settings } = this.#parts
    const { service: key, backend } = this.#question
    const network = state()?.networks.get(key.split('/')[0] ?? '')
    const service = installer.ids.services.get(key)
    if (network === undefined || service === undefined)
      throw new FairleadError('REFERENCE', `there is no service ${key} in the kernel`)
    const backendId = backend === undefined ? 0 : installer.ids.backends.get(service, backend)
    if (backendId === undefined)
      throw new FairleadError('REFERENCE', `${key} has no backend ${backend ?? ''}`)
    if (settings.hook !== 'tcx')
      throw new FairleadError('HOST', 'capturing needs tcx, which kernels before 6.6 lack')
    await this.#parts.explainer.prepare()
    const wanted = { service, backend: backendId }
    const id = installer.ids.networks.get(network.name)
    if (id !== undefined) await this.#add(id, network, ports(network.name), wanted)
    await this.#add(OUTSIDE_NETWORK, undefined, ports(), wanted)
    if (this.interfaces.length === 0)
      throw new FairleadError('REFERENCE', `our programs are on no interface of ${network.name}`)
  }

  leftOut(): number {
    return this.#left + this.#overrun + this.#beyond()
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#telling
    this.#left = this.#beyond()
    for (const { links, ring, object } of this.#places.splice(0)) {
      for (const link of links) link.close()
      ring.close()
      object.close()
    }
  }

  /** What the programs have left out, of those that run. */
  #beyond(): number {
    return this.#places.reduce((sum, { object }) => sum + beyond(object), 0)
  }

  async #add(
    id: number,
    network: Network | undefined,
    ports: readonly CapturePort[],
    wanted: { readonly service: number; readonly backend: number },
  ): Promise<void> {
    if (ports.length === 0) return
    const { settings, maps } = this.#parts
    const { client, snapBytes = 0, packetsPerSecond } = this.#question
    const range = client && rangeWords(client)
    const object = await loadCapture(settings, maps, {
      network_id: id,
      wanted_service: wanted.service,
      wanted_backend: wanted.backend,
      ...(range && { client: range.base, client_mask: range.mask }),
      snap_bytes: snapBytes,
      rate_packets: packetsPerSecond,
    })
    const codec = object.types.struct('capture') as unknown as Codec<Row>
    const ring = new RingBuffer(object.map('captures'), (record) => {
      const whole = new Uint8Array(codec.size)
      whole.set(record.subarray(0, codec.size))
      this.#take(place, codec.decode(whole))
    })
    const place: Place = { ...(network && { network }), object, links: [], ring }
    this.#places.push(place)
    await Promise.all(ports.map((port) => this.#attach(place, port)))
    this.interfaces.push(...ports)
  }

  async #attach({ object, links }: Place, { ifindex, namespace }: CapturePort): Promise<void> {
    const at = { interface: ifindex, netns: namespace, fallback: false } as const
    const [before, behind] = [object.program('capture_before'), object.program('capture_behind')]
    links.push(await before.attachTcx({ ...at, direction: 'ingress', position: 'first' }))
    links.push(await behind.attachTcx({ ...at, direction: 'egress', position: 'last' }))
  }

  #take(place: Place, row: Row): void {
    if (this.#closed) return
    if (this.#waiting.length >= MAX_WAITING) {
      this.#overrun++
      return
    }
    this.#waiting.push({ place, row })
    this.#timer ??= setTimeout(() => {
      this.#telling = this.#tell().finally(() => (this.#timer = undefined))
    }, SETTLE_MS)
  }

  async #tell(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#closed)
      for (const { place, row } of this.#waiting.splice(0)) await this.#tellOf(place, row)
  }

  async #tellOf(place: Place, row: Row): Promise<void> {
    const at = this.interfaces.findIndex(
      ({ ifindex, namespace }) =>
        ifindex === row.ifindex && namespace === place.network?.attachment.namespace,
    )
    if (at !== -1) this.#onPacket(await this.#packet(place, row, at))
  }

  async #packet({ network }: Place, row: Row, at: number): Promise<CapturedPacket> {
    const { installer, maps } = this.#parts
    const service = installer.ids.services.keyOf(row.service)
    const address = installer.ids.backends.backendOf(row.backend)?.address
    const data = row.data.slice(0, row.kept)
    const packet: CapturedPacket = {
      atNs: row.at_ns + this.#sinceNs,
      interface: at,
      direction: row.leaves === 0 ? 'in' : 'out',
      bytes: row.bytes,
      data,
      from: row.sender === SENT_BY_CLIENT ? 'client' : 'service',
      translated: row.translated !== 0,
      protocol: row.protocol === IPPROTO.tcp ? 'tcp' : 'udp',
      ...(service !== undefined && { service }),
      ...(address !== undefined && { backend: { address, port: row.backend_port } }),
      ...(row.backend !== 0 && {
        state: flowState(row.flags, row.protocol, maps.constants.flow),
      }),
    }
    const ends = endsOf(Buffer.from(data))
    if (packet.from !== 'client' || packet.direction !== 'in' || row.backend !== 0 || !ends)
      return packet
    const asked = { ...ends, protocol: packet.protocol, first: row.starts !== 0 }
    return { ...packet, ...(await this.#parts.explainer.verdict(asked, network, row.ifindex)) }
  }
}

/** Source and destination of a frame; undefined if it has extension headers. */
function endsOf(frame: Buffer): { client: FlowEnd; vip: FlowEnd } | undefined {
  const v6 = frame.readUInt16BE(12) === 0x86dd
  const l4 = v6 ? 54 : 14 + ((frame[14] ?? 0) & 15) * 4
  const next = frame[20] ?? 0
  if (frame.length < l4 + 4 || (v6 && next !== IPPROTO.tcp && next !== IPPROTO.udp))
    return undefined
  const [source, destination, length] = v6 ? [22, 38, 16] : [26, 30, 4]
  const address = (from: number) => fromBytes(frame.subarray(from, from + length))
  return {
    client: { address: address(source), port: frame.readUInt16BE(l4) },
    vip: { address: address(destination), port: frame.readUInt16BE(l4 + 2) },
  }
}

function beyond(object: BpfObject): number {
  return Number((object.map('.bss').get(0) as Record<string, bigint>)['left_out'] ?? 0n)
}
