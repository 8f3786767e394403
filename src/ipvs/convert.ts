/**
 * From a virtual service of IPVS to a service of the file, and what of it that cannot say. Pure.
 * docs/reference/import.md has the tables that this is.
 */
import { family } from '../model/address.js'
import type { Algorithm } from '../model/types.js'
import { familyOf, type RealServer, type VirtualService } from './rules.js'

/** `near`: carried over, not quite as it was. `left out`: not carried over. */
export interface Note {
  /** Of the rules, counted from 1. */
  readonly line: number
  readonly kind: 'near' | 'left out'
  readonly text: string
}

export interface BackendPlan {
  readonly line: number
  readonly address: string
  readonly weight: number
  readonly priority?: number
}

/** Fields of a service as the file has them. */
export interface ServicePlan {
  readonly line: number
  readonly name: string
  readonly vip: string
  /** As the file writes them; empty: every port. */
  readonly ports: readonly string[]
  readonly algorithm: Algorithm
  readonly return?: 'dsr-mac' | 'dsr-tunnel'
  readonly affinity?: { readonly timeout: number; readonly prefix?: number }
  readonly thresholds?: { readonly upper: number; readonly lower?: number }
  /** Datagrams may come to it. */
  readonly udp: boolean
  readonly backends: readonly BackendPlan[]
}

/** What packets with a mark are. */
export interface MarkMeaning {
  readonly mark: number
  readonly address: string
  /** Empty: every port. */
  readonly ports: readonly { readonly port: number; readonly protocol: 'tcp' | 'udp' }[]
}

export interface Converted {
  /** Absent: nothing of it is carried over. */
  readonly plan?: ServicePlan
  readonly notes: readonly Note[]
}

const MAX_AFFINITY_SECONDS = 30 * 86_400
const MAX_WEIGHT = 65_535

interface Choice {
  readonly algorithm: Algorithm
  /** Where it differs. */
  readonly near?: string
}

const PLACED_ANEW = 'places clients by another hash than before'
const ONE_SERVER =
  'goes by destination, which for one VIP is one server until that is overloaded; wlc uses all'

/** Schedulers without flags that matter. */
const CHOICES: Readonly<Record<string, Choice>> = {
  rr: { algorithm: 'rr' },
  wrr: { algorithm: 'wrr' },
  lc: { algorithm: 'lc' },
  wlc: { algorithm: 'wlc' },
  lblc: { algorithm: 'wlc', near: ONE_SERVER },
  lblcr: { algorithm: 'wlc', near: ONE_SERVER },
  dh: {
    algorithm: 'maglev',
    near: 'goes by destination, which for one VIP is one server; maglev spreads over all',
  },
  sed: { algorithm: 'wlc', near: 'counts the connection to come; wlc does not' },
  nq: {
    algorithm: 'wlc',
    near: 'takes an idle server first whatever its weight; wlc the heaviest',
  },
  twos: { algorithm: 'wlc', near: 'chooses of two servers at random; wlc of all' },
  fo: { algorithm: 'rr' },
  ovf: {
    algorithm: 'wlc',
    near: 'fills one server after the other; wlc uses all, in proportion to their weights',
  },
}

export function convert(service: VirtualService, marks: readonly MarkMeaning[]): Converted {
  const notes: Note[] = []
  const note = (kind: Note['kind'], text: string, line = service.line): void => {
    notes.push({ line, kind, text })
  }
  const place = placeOf(service, marks, note)
  if (place === undefined) return { notes }
  const { dialled, ...where } = place
  const servers = servable(service, note)
  const { algorithm, backends } = choose(service, servers, note)
  const affinity = affinityOf(service, note)
  const thresholds = thresholdsOf(servers, note)
  const [first] = servers
  return {
    notes,
    plan: {
      ...{ line: service.line, ...where, algorithm, backends },
      ports: portsOf(dialled, first, note),
      ...(first && first.forwarding !== 'nat' && { return: RETURNS[first.forwarding] }),
      ...(affinity && { affinity }),
      ...(thresholds && { thresholds }),
    },
  }
}

type Tell = (kind: Note['kind'], text: string, line?: number) => void

const RETURNS = { direct: 'dsr-mac', tunnel: 'dsr-tunnel' } as const

interface Dialled {
  readonly port: number
  readonly protocol: 'tcp' | 'udp'
}

interface Place {
  readonly name: string
  readonly vip: string
  readonly dialled: readonly Dialled[]
  readonly udp: boolean
}

/** Undefined when there is nothing that it could be. */
function placeOf(
  { taken }: VirtualService,
  marks: readonly MarkMeaning[],
  note: Tell,
): Place | undefined {
  if ('mark' in taken) {
    const { mark } = taken
    const meaning = marks.find((m) => m.mark === mark && family(m.address) === taken.family)
    const of = `${mark}${taken.family === 6 ? ' -6' : ''}`
    if (meaning === undefined) {
      note('left out', `mark ${of}: what has it is a firewall's to say; tell by --fwmark`)
      return undefined
    }
    const name = `fwmark-${mark}${taken.family === 6 ? '-v6' : ''}`
    const { address: vip, ports: dialled } = meaning
    const udp = dialled.length === 0 || dialled.some(({ protocol }) => protocol === 'udp')
    return { name, vip, dialled, udp }
  }
  const { protocol, address: vip, port } = taken
  if (protocol === 'sctp') {
    note('left out', 'SCTP is not balanced')
    return undefined
  }
  const words = vip.replace(/[.:]+/g, (found) => (found === '::' ? '--' : '-'))
  const name = `${protocol}-${words}-${port === 0 ? 'any' : port}`
  if (port !== 0) return { name, vip, dialled: [{ port, protocol }], udp: protocol === 'udp' }
  const other = protocol === 'tcp' ? 'UDP' : 'TCP'
  note('near', `every port of the VIP, of ${other} too`)
  return { name, vip, dialled: [], udp: true }
}

/** Those of one way of forwarding and one port: a service has one of each. */
function servable(service: VirtualService, note: Tell): RealServer[] {
  const of = familyOf(service.taken)
  const able = service.servers.filter((server) => {
    const why =
      family(server.address) !== of
        ? 'is of the other family than its VIP'
        : server.forwarding === 'tunnel' && server.encapsulation !== 'ipip'
          ? `wants ${server.encapsulation.toUpperCase()}; tunnels are IPIP or IP6IP6`
          : undefined
    if (why !== undefined) note('left out', `server ${server.address} ${why}`, server.line)
    return why === undefined
  })
  const method = mostOf(able.map(({ forwarding }) => forwarding))
  const alike = able.filter(({ forwarding }) => forwarding === method)
  const port = mostOf(alike.map((server) => server.port))
  for (const server of able) {
    const why =
      server.forwarding !== method
        ? 'is forwarded to in another way than the rest; a service has one'
        : server.port !== port
          ? `listens on port ${server.port}, most others on ${port}; a service has one`
          : undefined
    if (why !== undefined) note('left out', `server ${server.address} ${why}`, server.line)
  }
  return alike.filter((server) => server.port === port)
}

/** The value that stands most often; of several the first. */
function mostOf<T>(values: readonly T[]): T | undefined {
  const counts = new Map<T, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  const most = Math.max(...counts.values())
  return values.find((value) => counts.get(value) === most)
}

function portsOf(dialled: readonly Dialled[], server: RealServer | undefined, note: Tell) {
  const target = server?.forwarding === 'nat' ? server.port : 0
  if (dialled.length === 0 && target !== 0)
    note('near', `every port leads to the same port of a backend, not to ${target}`)
  return dialled.map(({ port, protocol }) => {
    const end = protocol === 'udp' ? '/udp' : ''
    return target === 0 || target === port ? `${port}${end}` : `${port}:${target}${end}`
  })
}

function choose(
  service: VirtualService,
  servers: readonly RealServer[],
  note: Tell,
): { algorithm: Algorithm; backends: BackendPlan[] } {
  const { algorithm, near } = choiceOf(service)
  const now = algorithm === service.scheduler ? '' : `; it is ${algorithm} now`
  if (near !== undefined) note('near', `${service.scheduler} ${near}${now}`)
  const weights = weightsOf(service, servers, note)
  const plans = servers.map(({ line, address }, i) => ({ line, address, weight: weights[i] ?? 1 }))
  if (service.scheduler !== 'fo') return { algorithm, backends: plans }
  // The heaviest that can take connections does, alone.
  const order = [...plans].sort((a, b) => b.weight - a.weight)
  const equal = order.some(({ weight }, i) => weight > 0 && order[i + 1]?.weight === weight)
  if (equal) note('near', 'fo: of servers of equal weight the one that stands first comes first')
  const backends = plans.map((plan) => ({
    ...{ line: plan.line, address: plan.address },
    weight: plan.weight === 0 ? 0 : 1,
    priority: order.indexOf(plan),
  }))
  return { algorithm, backends }
}

function choiceOf({ scheduler, flags }: VirtualService): Choice {
  if (scheduler !== 'sh' && scheduler !== 'mh')
    return CHOICES[scheduler] ?? { algorithm: 'wrr', near: 'is not known' }
  // Flags 1 and 2 of a scheduler, by whichever name.
  const fallback = flags.some((flag) => flag === `${scheduler}-fallback` || flag === 'flag-1')
  const byPort = flags.some((flag) => flag === `${scheduler}-port` || flag === 'flag-2')
  const refused = 'leads whoever belongs to a server of weight 0, or a full one, to another'
  const near = fallback ? PLACED_ANEW : `${PLACED_ANEW}, and ${refused}`
  return { algorithm: byPort ? 'maglev' : 'sh', near }
}

function weightsOf(
  { line }: VirtualService,
  servers: readonly RealServer[],
  note: Tell,
): readonly number[] {
  const weights = servers.map(({ weight }) => weight)
  if (weights.length > 0 && weights.every((weight) => weight === 0))
    note('near', 'all weights are 0: connections are accepted, as if all were 1', line)
  const heaviest = Math.max(...weights)
  if (heaviest <= MAX_WEIGHT) return weights
  note('near', `weights are scaled to at most ${MAX_WEIGHT}`, line)
  return weights.map((weight) =>
    weight === 0 ? 0 : Math.max(1, Math.round((weight / heaviest) * MAX_WEIGHT)),
  )
}

function affinityOf(service: VirtualService, note: Tell): ServicePlan['affinity'] {
  const { persistence, prefix, mask, engine, onePacket } = service
  if (engine !== undefined)
    note('left out', `persistence engine ${engine}: clients are known by their addresses`)
  if (onePacket)
    note('left out', 'one-packet scheduling: datagrams of one source port stay together')
  if (persistence === undefined) return undefined
  if (mask !== undefined) note('near', `mask ${mask} has holes; its first ${prefix} bits are used`)
  if (persistence > MAX_AFFINITY_SECONDS) note('near', 'persistence is cut to 30 days')
  if (prefix === 0) note('near', 'all clients are one by mask 0.0.0.0; two by /1')
  const full = familyOf(service.taken) === 6 ? 128 : 32
  return {
    timeout: Math.min(persistence, MAX_AFFINITY_SECONDS),
    ...(prefix !== undefined && prefix !== full && { prefix: Math.max(prefix, 1) }),
  }
}

/** One pair holds for all backends of a service. */
function thresholdsOf(servers: readonly RealServer[], note: Tell): ServicePlan['thresholds'] {
  const [first] = servers
  if (first === undefined || servers.every(({ upper }) => upper === 0)) return undefined
  const { upper, lower } = first
  if (servers.every((server) => server.upper === upper && server.lower === lower))
    return { upper, ...(lower > 0 && lower <= upper && { lower }) }
  for (const server of servers)
    if (server.upper > 0)
      note(
        'left out',
        `thresholds ${server.upper} and ${server.lower}: a service has the same for all backends`,
        server.line,
      )
  return undefined
}
