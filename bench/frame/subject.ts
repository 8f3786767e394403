/** What is measured, and what it is measured on: every subject is a file with one of these. */
import type { Stage } from './stage.js'

/** Those that it is compared with, or stands beside. */
export type Family = 'none' | 'ipvs' | 'netfilter' | 'fairlead' | 'proxy'

/** Where the backend is: on this node, or out by the NIC again. */
export type Shape = 'local' | 'wire'

/** A subject that is set up on a stage. */
export interface InForce {
  /** What the client dials; default: the stage's VIP. */
  readonly dial?: string
  /** From now on it only carries: nothing of it may run beside the traffic. */
  quiesce?(): Promise<void> | void
  tearDown(): Promise<void>
}

export interface Demand {
  /** How many services there are; the measured one is the last of them. */
  readonly services: number
  /** Of the measured service; default 1. With more, they are only addresses (Stage.populate). */
  readonly backends?: number
  /** That tables are to have room for; default: what they are made for anyway. */
  readonly flows?: number
  /** For what runs in user space: the core that the traffic is on; default 0. */
  readonly cpu?: number
}

export interface Subject {
  /** In results and on the command line: lower case, `-`. */
  readonly name: string
  readonly title: string
  /** One sentence for the report: what exactly is set up. */
  readonly what: string
  readonly family: Family
  /** Where its backend is. */
  readonly shape: Shape
  /** Frames leave it as frames: the far NIC gets them before there is a socket buffer. */
  readonly sendsFrames?: boolean
  /** The backend answers as the VIP: packets go one way past it. */
  readonly oneWay?: boolean
  /** Works on connections only: a generated frame is none. */
  readonly socketsOnly?: boolean
  /** XDP sees what senders on this host leave to a device: they may leave nothing. */
  readonly wholeChecksums?: boolean
  /** Has a source port of its own for each flow: they end before rounds of new ones do. */
  readonly fewFlows?: boolean
  /** Is in user space: it takes connections and makes others. */
  readonly proxy?: boolean
  /** Why it cannot be measured here; undefined: it can. */
  unavailable(): Promise<string | undefined>
  setUp(stage: Stage, demand: Demand): Promise<InForce>
}
