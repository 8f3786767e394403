/** Packets of a service as they pass, for those who look at them. Pure. */
import type { Cidr } from './address.js'
import type { Outcome } from './explain.js'
import type { FlowEnd, FlowState } from './flows.js'
import type { Protocol, ServiceKey } from './types.js'

export interface CaptureQuestion {
  readonly service: ServiceKey
  /** Canonical address; absent: any. */
  readonly backend?: string
  /** Absent: any. */
  readonly client?: Cidr
  /** Of each packet, from the Ethernet header on; absent: its headers alone. At most 2048. */
  readonly snapBytes?: number
  /** About so many in a second, beyond which packets are left out and counted. */
  readonly packetsPerSecond: number
}

export interface CapturedInterface {
  readonly name: string
  /** Path of its network namespace; absent: the agent's own. */
  readonly namespace?: string
}

export interface CapturedPacket {
  /** Nanoseconds since 1970. */
  readonly atNs: bigint
  /** Index in `interfaces`. */
  readonly interface: number
  /** `in`: before our program saw it; `out`: behind it. */
  readonly direction: 'in' | 'out'
  /** Of the whole frame. */
  readonly bytes: number
  readonly data: Uint8Array
  readonly from: 'client' | 'service'
  /** Whether its other end is the backend, not the VIP. */
  readonly translated: boolean
  readonly protocol: Protocol
  readonly service?: ServiceKey
  /** Absent: no connection is tracked, and none was begun. */
  readonly backend?: FlowEnd
  /** Of the connection, when the packet passed. */
  readonly state?: FlowState
  /** Of a client's packet without a connection: what became of it. */
  readonly outcome?: Outcome
  /** Why it was refused or dropped. */
  readonly reason?: string
}

export interface Capture {
  readonly interfaces: readonly CapturedInterface[]
  /** Packets that were left out so far: beyond the rate, or nobody read them in time. */
  leftOut(): number
  /** Takes the programs off. Idempotent. */
  close(): Promise<void>
}

export interface Capturer {
  /**
   * Programs are put on the interfaces that there are now, and are gone with the capture, or the agent.
   *
   * @param onPacket called in the order of arrival on each interface
   * @throws FairleadError REFERENCE for a service or backend that is not there, BUSY while another
   *         capture runs, HOST where the kernel has no tcx (before 6.6)
   */
  capture(question: CaptureQuestion, onPacket: (packet: CapturedPacket) => void): Promise<Capture>
}

/** What a packet is and what became of it, in a line. */
export function captureText(packet: CapturedPacket): string {
  const { from, translated, backend, service, state, outcome, reason } = packet
  const ends = from === 'client' ? ['client', 'VIP'] : ['VIP', 'client']
  const behind = from === 'client' ? ['client', 'backend'] : ['backend', 'client']
  // A client's packet is translated on its way in, a backend's on its way back.
  const done = translated === (from === 'client')
  const what = `${(translated ? behind : ends).join(' to ')}, ${done ? 'after' : 'before'} translation`
  const parts = [
    what,
    ...(service === undefined ? [] : [`service ${service}`]),
    ...(backend === undefined ? [] : [`backend ${backend.address} port ${backend.port}`]),
    ...(state === undefined ? [] : [state]),
    ...(outcome === undefined || outcome === 'translated' ? [] : [outcome]),
    ...(reason === undefined ? [] : [reason]),
  ]
  return parts.join('; ')
}
