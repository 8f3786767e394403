/** What is counted in the guest. */
import type { Subject } from '../frame/subject.js'

export type CaseName = 'frames' | 'arrived' | 'fresh' | 'udp' | 'pingpong' | 'connect'

export interface Case {
  readonly name: CaseName
  readonly title: string
  readonly unit: string
  /** Of `traffic`. */
  readonly command: string
  /** Units before the count, and of it; a long run has more of the latter. */
  readonly warm: number
  readonly count: number
}

export const CASES: readonly Case[] = [
  {
    name: 'frames',
    title: 'generated frames, as from a NIC, to a socket',
    ...{ unit: 'packet', command: 'frames', warm: 1024, count: 8192 },
  },
  {
    name: 'arrived',
    title: "the same, taken at the far end's NIC",
    ...{ unit: 'packet', command: 'frames', warm: 1024, count: 8192 },
  },
  {
    name: 'fresh',
    title: 'generated frames, each of a new flow',
    ...{ unit: 'packet', command: 'frames', warm: 1024, count: 8192 },
  },
  {
    name: 'udp',
    title: 'datagrams between sockets',
    ...{ unit: 'packet', command: 'udp', warm: 100, count: 1000 },
  },
  {
    name: 'pingpong',
    title: 'question and answer on a TCP connection',
    ...{ unit: 'round trip', command: 'pingpong', warm: 100, count: 400 },
  },
  {
    name: 'connect',
    title: 'a TCP connection with a question and an answer',
    ...{ unit: 'connection', command: 'connect', warm: 30, count: 150 },
  },
]

const GENERATED: readonly CaseName[] = ['frames', 'arrived', 'fresh']

export function casesOf({ shape, oneWay, socketsOnly, fewFlows }: Subject): Case[] {
  return CASES.filter(({ name }) => {
    if (!GENERATED.includes(name)) return !oneWay
    if (socketsOnly || (fewFlows && name === 'fresh')) return false
    return shape === 'local' || name !== 'frames'
  })
}

/**
 * Arguments of `traffic` that depend on the case.
 * @param round from 0: flows are new in every round
 */
export function argumentsOf(
  { name, warm, count }: Case,
  subject: Subject,
  round: number,
  scale: number,
): string[] {
  const far = subject.sendsFrames ? 'xdp' : 'tc'
  const taker =
    name === 'frames' || (name === 'fresh' && subject.shape === 'local') ? 'socket' : far
  const fresh = name === 'fresh'
  const given = [`warm=${warm}`, `count=${fresh ? count : count * scale}`]
  if (!GENERATED.includes(name)) return given
  return [
    ...[...given, `sink=${taker}`],
    // A port that an earlier flow has is another matter, so each has its own.
    ...(fresh ? ['flows=0', `first=${(round + 1) * (warm + count)}`] : ['flows=1']),
  ]
}
