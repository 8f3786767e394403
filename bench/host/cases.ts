/** What is measured on this machine, and how a figure is made of it. */
import type { Subject } from '../frame/subject.js'

export type HostCaseName =
  'connect' | 'pingpong' | 'stream' | 'udp' | 'frames' | 'arrived' | 'fresh'

/** What `traffic` prints. */
export interface Measured {
  readonly units: number
  readonly cost: number
  readonly p50?: number
  readonly p99?: number
  readonly p999?: number
  readonly sent?: number
  readonly taken?: number
}

export interface HostCase {
  readonly name: HostCaseName
  readonly title: string
  /** Of the figure; more is better unless it is a time. */
  readonly unit: string
  readonly better: 'more' | 'less'
  readonly figure: (measured: Measured) => number
  /** Of `traffic`; default: the name. */
  readonly command?: string
  readonly arguments: (quick: boolean, round: number) => readonly string[]
}

export const perSecond = ({ units, cost }: Measured) => (units / cost) * 1e9
const counts = (warm: number, count: number) => (quick: boolean) => [
  `warm=${warm}`,
  `count=${quick ? count / 8 : count}`,
]

export const HOST_CASES: readonly HostCase[] = [
  {
    name: 'connect',
    title: 'a TCP connection with a question and an answer',
    ...{ unit: 'µs', better: 'less', figure: ({ units, cost }) => cost / units / 1000 },
    arguments: counts(100, 2000),
  },
  {
    name: 'pingpong',
    title: 'requests on one TCP connection, one at a time',
    ...{ unit: 'requests/s', better: 'more', figure: perSecond, arguments: counts(200, 8000) },
  },
  {
    name: 'stream',
    title: 'throughput of one TCP connection',
    ...{ unit: 'Gb/s', better: 'more', figure: ({ units, cost }) => (units * 8) / cost },
    arguments: (quick) => ['count=1', `milliseconds=${quick ? 150 : 500}`],
  },
  {
    name: 'udp',
    title: 'datagrams between sockets',
    ...{ unit: 'packets/s', better: 'more', figure: perSecond, arguments: counts(500, 24_000) },
  },
  {
    name: 'frames',
    title: 'generated frames, as from a NIC, to a socket',
    ...{ unit: 'packets/s', better: 'more', figure: perSecond },
    arguments: (quick) => [
      'warm=2048',
      `count=${quick ? 16_384 : 131_072}`,
      'sink=socket',
      'flows=1',
    ],
  },
]

/** Of what leaves by the wire again: there is no socket behind it. */
const arrived = (sink: 'xdp' | 'tc'): HostCase => ({
  name: 'arrived',
  title: "generated frames, taken at the far end's NIC",
  ...{ unit: 'packets/s', better: 'more', figure: perSecond, command: 'frames' },
  arguments: (quick) => [
    'warm=2048',
    `count=${quick ? 16_384 : 131_072}`,
    `sink=${sink}`,
    'flows=1',
  ],
})

const TCP: readonly HostCaseName[] = ['connect', 'pingpong', 'stream']

/** Each, for tables. */
export const ALL_HOST_CASES: readonly HostCase[] = [...HOST_CASES, arrived('tc')]

export function hostCasesOf(subject: Subject): HostCase[] {
  const { shape, proxy, socketsOnly, sendsFrames, oneWay } = subject
  if (shape === 'wire') return [arrived(sendsFrames ? 'xdp' : 'tc')]
  // What goes past the balancer on its way back needs sockets that have the VIP.
  if (oneWay) return HOST_CASES.filter(({ name }) => name === 'frames')
  return HOST_CASES.filter(
    ({ name }) => TCP.includes(name) || (!proxy && !(socketsOnly && name === 'frames')),
  )
}
