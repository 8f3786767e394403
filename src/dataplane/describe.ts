/** What a run of explain.bpf.c found, in the words of the model: with the reasons of every backend. */
import { family, fromWords } from '../model/address.js'
import type {
  BackendReason,
  Chooser,
  ExplainedBackend,
  ExplainedFlow,
  Explanation,
  Match,
  Outcome,
} from '../model/explain.js'
import type { FlowEnd } from '../model/flows.js'
import { servingBackends } from '../model/ring.js'
import type { Backend, Path, Service, ServiceKey, State } from '../model/types.js'
import { PLACE, VERDICT, type Found, type Run, type RunPacket } from './explainRun.js'
import { flowState } from './flowTables.js'
import type { Installer } from './install.js'
import type { PinnedMaps } from './pinnedMaps.js'
import type { ProgramSettings } from './programs.js'
import { readRange } from './runs.js'
import type { BackendRow, ServiceRow } from './records.js'
import { IPPROTO, reachableBackends } from './rows.js'

export interface DescribeParts {
  readonly maps: PinnedMaps
  readonly installer: Installer
  readonly settings: ProgramSettings
  readonly state: State | undefined
}

interface Where {
  readonly path: Path
  /** Empty: the outside. */
  readonly network: string
}

const NS_PER_SECOND = 1e9

export function describe(
  parts: DescribeParts,
  packet: RunPacket,
  where: Where,
  run: Run,
): Explanation {
  const { installer, maps } = parts
  const { found } = run
  const { client, vip, protocol, first } = packet
  const flow = flowOf(parts, packet, found)
  const serviceId = flow?.used === true ? found.flow_service : found.service
  const service = installer.ids.services.keyOf(serviceId)
  const row = maps.get('services').get(serviceId) as ServiceRow | undefined
  const outcome = outcomeOf(parts, where.path, flow, found)
  const backend = outcome === 'translated' ? backendEnd(parts, found) : undefined
  const by = row && backend && chooserOf(parts, where.path, flow, found, row)
  const seenAs = backend && where.path !== 'sock' ? seen(packet, run) : undefined
  const choice = by && choiceOf(parts, by, found, row)
  const affinity = row && affinityOf(parts, found, row, by)
  return {
    ...where,
    ...{ protocol, client, vip, first },
    ...(outcome === 'refused' || outcome === 'dropped' ? { reason: reasonOf(maps, found) } : {}),
    outcome,
    match: matchOf(maps, found),
    ...(service !== undefined && { service }),
    ...sourceOf(maps, found, row),
    ...(flow && { flow }),
    ...(affinity && { affinity }),
    ...(choice && { choice }),
    ...(backend && { backend }),
    ...(seenAs && { seenAs }),
    backends:
      service === undefined || row === undefined
        ? []
        : backendsOf(parts, { service, id: serviceId, row, client, by, chosen: backend?.address }),
    events: maps.constants.events.filter((_, event) => (found.events & (1 << event)) !== 0),
  }
}

/**
 * The end of it alone, of a packet that has just passed: if it has begun a connection that is known,
 * that one's, even if it is over by now.
 */
export function verdictOf(
  parts: DescribeParts,
  packet: RunPacket,
  path: Path,
  { found }: Run,
): Pick<Explanation, 'outcome' | 'reason' | 'backend'> {
  const address = parts.installer.ids.backends.backendOf(found.flow_backend)?.address
  if (found.alive !== 0 && found.expired === 0 && address !== undefined)
    return { outcome: 'translated', backend: { address, port: found.backend_port } }
  const outcome = outcomeOf(parts, path, flowOf(parts, packet, found), found)
  const backend = outcome === 'translated' ? backendEnd(parts, found) : undefined
  const failed = outcome === 'refused' || outcome === 'dropped'
  return {
    outcome,
    ...(backend && { backend }),
    ...(failed && { reason: reasonOf(parts.maps, found) }),
  }
}

function matchOf({ constants: { vip } }: PinnedMaps, found: Found): Match {
  if (found.vip === 0) return 'none'
  if ((found.vip_flags & vip.balanced) !== 0) {
    if (found.named !== 0) return 'port'
    return (found.vip_flags & vip.anyPort) !== 0 ? 'any_port' : 'no_port'
  }
  if ((found.vip_flags & vip.node) !== 0) return found.named !== 0 ? 'published' : 'not_published'
  return 'backend'
}

/** Whether the packet's own flow decides: it was not looked for in vain, and nothing begins anew. */
function flowOf(parts: DescribeParts, packet: RunPacket, found: Found): ExplainedFlow | undefined {
  if (found.place === PLACE.absent) return undefined
  const { maps, settings, installer } = parts
  const { direct } = maps.constants.flow
  const seconds = (jiffies: number) => Math.round((jiffies / settings.hz) * 10) / 10
  const state = flowState(found.flow_flags, IPPROTO[packet.protocol], maps.constants.flow)
  const alive = found.alive !== 0
  const backend =
    (found.flow_flags & direct) !== 0
      ? packet.vip.address
      : alive
        ? installer.ids.backends.backendOf(found.flow_backend)?.address
        : undefined
  return {
    state,
    embryonic: found.embryonic !== 0,
    idleSeconds: seconds(found.idle_jiffies),
    expiresSeconds: Math.max(0, seconds(found.timeout_jiffies - found.idle_jiffies)),
    ...(backend !== undefined && { backend }),
    used: alive && found.expired === 0 && found.begins === 0 && found.verdict !== VERDICT.drop,
  }
}

function outcomeOf(
  { maps }: DescribeParts,
  path: Path,
  flow: ExplainedFlow | undefined,
  found: Found,
): Outcome {
  if (path === 'sock') {
    if (found.chosen !== 0) return 'translated'
    return found.drop === 0 ? 'passed' : 'refused'
  }
  if (found.verdict >= VERDICT.refuse) return 'refused'
  if (found.verdict === VERDICT.drop) return 'dropped'
  if (found.begins !== 0) return 'translated'
  const direct = (found.flow_flags & maps.constants.flow.direct) !== 0
  return flow?.used === true && !direct ? 'translated' : 'passed'
}

function reasonOf({ constants }: PinnedMaps, { verdict, drop }: Found): string {
  const reason = verdict >= VERDICT.refuse ? verdict - VERDICT.refuse : drop
  return constants.dropReasons[reason] ?? String(reason)
}

function backendEnd({ installer }: DescribeParts, found: Found): FlowEnd | undefined {
  const id = found.begins !== 0 || found.chosen !== 0 ? found.chosen : found.flow_backend
  const backend = installer.ids.backends.backendOf(id)
  return backend && { address: backend.address, port: found.backend_port }
}

/** The client as the backend sees it, if that is another one. */
function seen({ client }: RunPacket, { found, from }: Run) {
  if (found.verdict === VERDICT.hairpin) {
    // Not carried out here: the VIP takes the client's place, with a port that is drawn.
    if (found.seen_port === 0) return undefined
    return { address: fromWords(found.seen_addr), port: found.seen_port }
  }
  return from.address === client.address && from.port === client.port ? undefined : from
}

function sourceOf({ constants }: PinnedMaps, { allowed }: Found, row: ServiceRow | undefined) {
  if (row === undefined || (row.flags & constants.service.sources) === 0) return {}
  return { source: allowed === 0 ? ('denied' as const) : ('allowed' as const) }
}

function chooserOf(
  { maps }: DescribeParts,
  path: Path,
  flow: ExplainedFlow | undefined,
  found: Found,
  row: ServiceRow,
): Chooser {
  const { algorithm } = maps.constants
  if (flow?.used === true) return 'flow'
  if (found.searched === 0) return 'affinity'
  // A socket's own number is hashed with its namespace's, and there is no socket yet.
  if (path === 'sock' && row.algorithm === algorithm.maglev) return 'lot'
  if (row.algorithm === algorithm.sh || row.algorithm === algorithm.maglev) return 'hash'
  if (row.algorithm === algorithm.random || found.sampled !== 0) return 'lot'
  return row.algorithm === algorithm.lc || row.algorithm === algorithm.wlc ? 'least' : 'turn'
}

function choiceOf(
  { maps }: DescribeParts,
  by: Chooser,
  found: Found,
  row: ServiceRow,
): Explanation['choice'] {
  const names = Object.entries(maps.constants.algorithm)
  const algorithm = names.find(([, value]) => value === row.algorithm)?.[0] ?? 'rr'
  const asked = by !== 'flow' && by !== 'affinity'
  const drawn = by === 'lot'
  return {
    algorithm: algorithm as NonNullable<Explanation['choice']>['algorithm'],
    by,
    ...(asked && { slots: found.slots }),
    ...(asked && !drawn && { slot: found.slot }),
    ...(by === 'hash' && { hash: found.hash.toString(16).padStart(16, '0') }),
    ...((by === 'turn' || by === 'least') && { placed: Number(found.placed) }),
    certain: !drawn,
  }
}

function affinityOf(
  { installer }: DescribeParts,
  { kept, kept_ns }: Found,
  { affinity_seconds: timeoutSeconds }: ServiceRow,
  by: Chooser | undefined,
): Explanation['affinity'] {
  if (timeoutSeconds === 0 || by === 'flow') return undefined
  const backend = installer.ids.backends.backendOf(kept)?.address
  const ago = Number(process.hrtime.bigint() - kept_ns) / NS_PER_SECOND
  const left = Math.max(0, Math.round((timeoutSeconds - ago) * 10) / 10)
  return {
    timeoutSeconds,
    ...(backend !== undefined && { backend }),
    secondsLeft: backend === undefined ? 0 : left,
    used: by === 'affinity',
  }
}

interface Chosen {
  readonly service: ServiceKey
  readonly id: number
  readonly row: ServiceRow
  readonly client: FlowEnd
  readonly by: Chooser | undefined
  /** Address. */
  readonly chosen: string | undefined
}

/** Those of the state, and those that have left it and keep connections. */
function backendsOf(parts: DescribeParts, of: Chosen): ExplainedBackend[] {
  const { installer, maps, state } = parts
  const service = state?.services.get(of.service)
  const declared = new Map(service?.backends.map((backend) => [backend.address, backend]))
  const ids = installer.ids.backends.of(of.id) ?? new Map<string, number>()
  const v6 = family(of.client.address) === 6
  const counts = slotCounts(
    maps,
    v6 ? of.row.ring6 : of.row.ring4,
    v6 ? of.row.slots6 : of.row.slots4,
  )
  const marks = maps.get('overloads')
  const actives = maps.get('actives')
  const addresses = new Set([...declared.keys(), ...ids.keys()])
  return [...addresses].map((address): ExplainedBackend => {
    const backend = declared.get(address)
    const id = ids.get(address) ?? 0
    const row = id === 0 ? undefined : (maps.get('backends').get(id) as BackendRow | undefined)
    const slots = counts.get(id) ?? 0
    const active = id === 0 ? 0 : Number(actives.get(id) ?? 0n)
    const full = id !== 0 && of.row.upper > 0 && isFull(of.row, active, Number(marks.get(id) ?? 0))
    const reason =
      address === of.chosen
        ? 'chosen'
        : (unfit(parts, service, backend, of, slots) ?? passedOver(of, full))
    return {
      address,
      weight: backend?.weight ?? row?.weight ?? 0,
      ...(backend && { state: backend.state }),
      ...{ active, slots, reason },
    }
  })
}

function isFull({ upper, lower }: ServiceRow, active: number, mark: number): boolean {
  return active >= upper || (mark !== 0 && active >= lower)
}

/** Why a backend has no slot in the ring; undefined if it has one. */
function unfit(
  { installer }: DescribeParts,
  service: Service | undefined,
  backend: Backend | undefined,
  { client }: Chosen,
  slots: number,
): BackendReason | undefined {
  if (backend === undefined || service === undefined) return slots > 0 ? undefined : 'leaving'
  if (family(backend.address) !== family(client.address)) return 'family'
  if (slots > 0) return undefined
  if (!reachableBackends(service, installer.outside).includes(backend)) return 'unreached'
  if (backend.state === 'down') return 'down'
  const peers = service.backends.filter((each) => family(each.address) === family(client.address))
  const serving = servingBackends(peers, service.locality, installer.node)
  if (serving.includes(backend)) return 'not_in_ring'
  if (backend.state === 'draining') return 'draining'
  const rivals = serving.some(({ weight }) => weight > 0)
  if (backend.weight === 0 && rivals) return 'weight'
  const least = Math.min(...serving.map(({ priority = 0 }) => priority))
  return (backend.priority ?? 0) > least ? 'standby' : 'remote'
}

/** Why one that could have been chosen was not. */
function passedOver({ by }: Chosen, full: boolean): BackendReason {
  if (by === 'flow') return by
  if (full) return 'overloaded'
  if (by === undefined) return 'not_asked'
  return by === 'lot' ? 'possible' : by
}

/** How many slots of a ring each backend has, by id. */
function slotCounts(maps: PinnedMaps, first: number, slots: number): Map<number, number> {
  const counts = new Map<number, number>()
  if (slots === 0) return counts
  for (const { values, count } of readRange(maps.get('slots'), first, first + slots)) {
    const ids = new Uint32Array(values.buffer, values.byteOffset, count)
    for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  return counts
}
