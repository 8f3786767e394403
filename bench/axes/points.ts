/** How many services, flows and backends there are, and what is measured with so many. */
import type { Demand } from '../frame/subject.js'
import { type HostCase, type HostCaseName, HOST_CASES, type Measured } from '../host/cases.js'

export type AxisName = 'services' | 'flows' | 'backends'

export interface Axis {
  readonly name: AxisName
  readonly title: string
  readonly counts: readonly number[]
  readonly demand: (count: number) => Demand
  readonly cases: (count: number) => readonly HostCase[]
}

const nanoseconds = { unit: 'ns', better: 'less', figure: costOf } as const
/** New flows of a round; all rounds together fit in the tables of all. */
const FRESH = { warm: 1024, count: 8192 }
/** Frames of many flows are counted once around. */
const LEAST_FRAMES = 65_536
const ROOM = 262_144

function costOf({ units, cost }: Measured): number {
  return cost / units
}

function known(flows: number): HostCase {
  return {
    ...{ name: 'frames', title: 'a frame of a known flow, to a socket', ...nanoseconds },
    arguments: () => [
      ...[`warm=${Math.max(flows, 2048)}`, `count=${Math.max(flows, LEAST_FRAMES)}`],
      ...['sink=socket', `flows=${flows}`],
    ],
  }
}

/** @param sink where nothing has the backends' addresses, `tc` */
function fresh(sink: 'socket' | 'tc'): HostCase {
  const { warm, count } = FRESH
  return {
    ...{ name: 'fresh', title: 'a frame of a flow of its own', command: 'frames', ...nanoseconds },
    arguments: (_, round) => [
      ...[`warm=${warm}`, `count=${count}`, `sink=${sink}`, 'flows=0'],
      `first=${round * (warm + count)}`,
    ],
  }
}

function connections(): HostCase {
  const found = HOST_CASES.find(({ name }) => name === ('connect' satisfies HostCaseName))
  if (!found) throw new Error('there is no case connect')
  return { ...found, ...nanoseconds, arguments: () => ['warm=100', 'count=1000'] }
}

export function axesOf(quick: boolean): readonly Axis[] {
  return [
    {
      name: 'services',
      title: 'services; the measured one is the last',
      counts: quick ? [1, 1000] : [1, 100, 1000, 10_000],
      demand: (services) => ({ services }),
      cases: () => [known(1), fresh('socket'), connections()],
    },
    {
      name: 'flows',
      title: 'flows, in turn',
      counts: quick ? [1, 16_384] : [1, 16_384, 1_048_576],
      demand: (flows) => ({ services: 1, flows: Math.max(ROOM, flows * 2) }),
      cases: (flows) => [known(flows)],
    },
    {
      name: 'backends',
      title: 'backends of the service',
      counts: quick ? [2, 100] : [2, 100, 1000],
      demand: (backends) => ({ services: 1, backends }),
      cases: () => [fresh('tc')],
    },
  ]
}
