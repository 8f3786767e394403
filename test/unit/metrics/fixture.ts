/** A state and a kernel's report of it, for the sinks that only read. */
import { flowMatches, type Flow, type FlowPage, type FlowQuery } from '../../../src/model/flows.js'
import { HANDSHAKE_BOUNDS_SECONDS } from '../../../src/model/handshakes.js'
import type { Readback } from '../../../src/model/readback.js'
import { CounterSums, EndSums, HandshakeSums } from '../../../src/model/sums.js'
import type { Network, Problem, Service, ServiceKey, State } from '../../../src/model/types.js'
import { serviceKey } from '../../../src/model/types.js'

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] }

export type Report = {
  -readonly [Key in Exclude<keyof Readback, 'flows' | `${string}OfServices`>]: Awaited<
    ReturnType<Readback[Key]>
  >
} & { flows: Flow[] }

/** A kernel side that tells what it is told to tell, and counts how often it is asked. */
export class FixtureReadback implements Readback {
  reads = 0
  failure: Error | undefined

  constructor(readonly report: Report) {}

  counters(only?: ServiceKey): Promise<Report['counters']> {
    this.reads++
    if (this.failure) return Promise.reject(this.failure)
    const { counters } = this.report
    return Promise.resolve(counters.filter(({ service }) => (only ?? service) === service))
  }

  departed(): Report['departed'] {
    return this.report.departed
  }

  drops(): Report['drops'] {
    return this.report.drops
  }

  ends(): Report['ends'] {
    return this.report.ends
  }

  backendEnds(): Promise<Report['backendEnds']> {
    return Promise.resolve(this.report.backendEnds)
  }

  handshakes(only?: ServiceKey): Promise<Report['handshakes']> {
    const { handshakes } = this.report
    return Promise.resolve(handshakes.filter(({ service }) => (only ?? service) === service))
  }

  async countersOfServices(): Promise<Report['counters']> {
    const sums = new CounterSums()
    for (const row of await this.counters()) sums.add(row)
    return sums.rows()
  }

  endsOfServices(): Promise<Report['backendEnds']> {
    const sums = new EndSums()
    for (const row of this.report.backendEnds) sums.add(row)
    return Promise.resolve(sums.rows())
  }

  handshakesOfServices(): Promise<Report['handshakes']> {
    const sums = new HandshakeSums()
    for (const row of this.report.handshakes) sums.add(row)
    return Promise.resolve(sums.rows())
  }

  lostEvents(): Report['lostEvents'] {
    return this.report.lostEvents
  }

  events(): Report['events'] {
    return this.report.events
  }

  /** A cursor is the number of flows that were looked at. */
  flows({ filter, limit, cursor }: FlowQuery): Promise<FlowPage> {
    const at = Number(cursor ?? 0)
    const next = at + limit
    const flows = this.report.flows.slice(at, next).filter((flow) => flowMatches(flow, filter))
    const more = next < this.report.flows.length
    return Promise.resolve({ flows, ...(more && { next: String(next) }) })
  }

  occupancy(): Promise<Report['occupancy']> {
    return Promise.resolve(this.report.occupancy)
  }

  attachments(): Report['attachments'] {
    return this.report.attachments
  }

  reconcile(): Report['reconcile'] {
    return this.report.reconcile
  }

  features(): Report['features'] {
    return this.report.features
  }
}

export function network(name: string, subnets: string[]): Network {
  return {
    name,
    subnets,
    pools: subnets.slice(0, 1),
    reserved: [],
    attachment: { interfaces: [], sockets: [] },
    dns: { listen: ['10.0.0.2:53'] },
  }
}

export function service(fields: Partial<Mutable<Service>>): Service {
  return {
    network: 'overlay1',
    name: 'vote',
    mode: 'vip',
    vips: ['10.0.0.9'],
    ports: [{ protocol: 'tcp', port: 80, targetPort: 80 }],
    algorithm: 'rr',
    ttlSeconds: 5,
    aliases: [],
    backends: [
      { address: '10.0.0.5', weight: 1, state: 'active', slot: '1', hostname: 'c0ffee' },
      { address: '10.0.0.6', weight: 1, state: 'active', slot: '2' },
    ],
    ...fields,
  }
}

export function stateOf(
  services: readonly Service[],
  problems: readonly Problem[] = [],
  networks: readonly Network[] = [network('overlay1', ['10.0.0.0/24', 'fd00:a::/64'])],
): State {
  return {
    revision: 7,
    networks: new Map(networks.map((each) => [each.name, each])),
    services: new Map(services.map((each) => [serviceKey(each), each])),
    problems,
  }
}

/** Two backends of overlay1/vote on two paths, and one that has left. */
export function report(): Report {
  const row = (backend: string | undefined, path: 'tc' | 'sock', scale: number) => ({
    service: 'overlay1/vote',
    ...(backend !== undefined && { backend }),
    path,
    packetsIn: 10 * scale,
    bytesIn: 1000 * scale,
    packetsOut: 8 * scale,
    bytesOut: 8000 * scale,
    connections: 2 * scale,
    ...(backend !== undefined && { active: scale, ...(path === 'tc' && { inactive: 2 }) }),
  })
  return {
    counters: [
      row('10.0.0.5', 'tc', 1),
      row('10.0.0.5', 'sock', 2),
      row('10.0.0.6', 'tc', 3),
      row(undefined, 'tc', 4),
    ],
    departed: [
      {
        ...{ path: 'tc', packetsIn: 100, bytesIn: 10_000 },
        ...{ packetsOut: 80, bytesOut: 8000, connections: 20 },
      },
    ],
    drops: [
      { reason: 'no_backend', path: 'tc', count: 3 },
      { reason: 'fragment', path: 'tc', count: 0 },
    ],
    ends: [{ reason: 'idle', path: 'tc', count: 7 }],
    backendEnds: [
      {
        ...{ service: 'overlay1/vote', backend: '10.0.0.5', path: 'tc' },
        ends: [
          ['fin', 5],
          ['reset', 1],
        ],
      },
      { service: 'overlay1/vote', path: 'tc', ends: [['gone', 2]] },
    ],
    handshakes: [
      handshake('10.0.0.5', 'backend', [0, 2, 0, 1]),
      handshake(undefined, 'backend', [0, 0, 0, 0, 3]),
      handshake(undefined, 'client', [4]),
    ],
    lostEvents: { rate: 7, room: 0 },
    flows: flows(),
    events: [{ event: 'arp', path: 'tc', count: 5 }].map(({ event, path, count }) => ({
      reason: event,
      path: path as 'tc',
      count,
    })),
    occupancy: [
      { map: 'flows4', entries: 12, capacity: 262_144 },
      { map: 'vips4', entries: 31_000, capacity: 32_768 },
    ],
    attachments: [
      { network: 'overlay1', target: 'veth0', hook: 'tcx', program: 'from_container' },
      { network: 'overlay1', target: 'veth1', hook: 'tcx', program: 'from_container' },
    ],
    reconcile: {
      revision: 6,
      cycles: 40,
      failures: 1,
      repaired: 2,
      lastDurationSeconds: 0.0125,
      lastError: 'map vips4 is full',
    },
    features: { tcx: true, csumIpv6Flag: false },
  }
}

/** Ten milliseconds each. @param counts of the first buckets */
function handshake(
  backend: string | undefined,
  part: 'backend' | 'client',
  counts: readonly number[],
): Report['handshakes'][number] {
  const all = [...counts, ...new Array<number>(HANDSHAKE_BOUNDS_SECONDS.length + 1).fill(0)]
  return {
    ...{ service: 'overlay1/vote', path: 'tc', part },
    ...(backend !== undefined && { backend }),
    sumSeconds: counts.reduce((sum, count) => sum + count, 0) / 100,
    counts: all.slice(0, HANDSHAKE_BOUNDS_SECONDS.length + 1),
  }
}

/** Of overlay1/vote, one each on two paths, and one of a service that has gone. */
function flows(): Flow[] {
  const vip = { address: '10.0.0.9', port: 80 }
  return [
    {
      ...{ path: 'tc', protocol: 'tcp', state: 'ESTABLISHED', expiresSeconds: 897.4, vip },
      client: { address: '10.0.0.8', port: 40_000 },
      backend: { address: '10.0.0.5', port: 8080 },
      service: 'overlay1/vote',
    },
    {
      ...{ path: 'xdp', protocol: 'udp', state: 'UDP', expiresSeconds: 3661 },
      vip: { address: 'fd00:a::9', port: 53 },
      client: { address: '2001:db8::8', port: 5353 },
      backend: { address: 'fd00:a::6', port: 53 },
      service: 'overlay1/vote',
      seenAs: { address: 'fd00:a::1', port: 16_384 },
    },
    {
      ...{ path: 'tc', protocol: 'tcp', state: 'CLOSE', vip },
      client: { address: '10.0.0.7', port: 40_001 },
    },
  ]
}
