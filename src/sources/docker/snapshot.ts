/**
 * One engine's containers as networks and services: a pure function of a look at the engine. Networks of
 * a swarm are not among them.
 */
import { canonicalAddress, type Cidr } from '../../model/address.js'
import type {
  Attachment,
  Backend,
  BackendState,
  Network,
  Problem,
  ServiceSpec,
  Snapshot,
} from '../../model/types.js'
import { serviceKey } from '../../model/types.js'
import { byAge } from './age.js'
import { askersOf, type ResolverSetting } from './askers.js'
import type { EngineContainer, EngineView } from './engine.js'
import type { Takeover } from '../takeover.js'
import { describe, enabled, listOf, smallNumber, type Labels } from './labels.js'
import { poolsOf, rangeOf } from './pools.js'
import type { NetworkAnswer } from './shapes.js'
import { isTaken } from './taken.js'

export interface DockerSettings {
  readonly takeover: Takeover
  /** Answer names at each network's gateway. */
  readonly dns: boolean
  /** Whose questions to the engine's resolver are answered. */
  readonly resolver: ResolverSetting
  /** This node, as backends name it. */
  readonly node: string
}

const SOURCE = 'docker'
const LABEL = /^[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?$/
const COMPOSE_SERVICE = 'com.docker.compose.service'
const COMPOSE_PROJECT = 'com.docker.compose.project'
const COMPOSE_NUMBER = 'com.docker.compose.container-number'
/** Drivers without addresses of their own, and what a swarm keeps for itself. */
const NO_NETWORKS = ['host', 'null', 'none', 'overlay']

/** A container at its place on one network. */
interface Member {
  readonly container: EngineContainer
  /** Canonical; none while it does not run. */
  readonly addresses: readonly string[]
}

export function snapshotOf(view: EngineView, settings: DockerSettings): Snapshot {
  const problems = [...view.leftOut].map(([item, reason]) => problem(item, 'SCHEMA', reason))
  const networks: Network[] = []
  const services: ServiceSpec[] = []
  const names = new Set<string>()
  const containers = [...view.containers.values()].sort(older)
  for (const answer of [...view.networks.values()].sort(older)) {
    if (answer.Scope !== 'local' || NO_NETWORKS.includes(answer.Driver)) continue
    if (enabled(answer.Labels) === false) continue
    const members = membersOf(answer, containers)
    const groups = groupsOf(answer, members, settings)
    if (groups.size === 0) continue
    const network = networkOf(answer, members, view, settings, problems)
    if (network === undefined) continue
    if (names.has(network.name)) {
      const reason = `two networks are named ${network.name}`
      problems.push(problem(`network ${answer.Name}`, 'DUPLICATE', reason, answer.Id.slice(0, 12)))
      continue
    }
    names.add(network.name)
    networks.push(network)
    for (const group of groups.values())
      services.push(...serviceOf(group, network, settings, problems))
  }
  return { networks, services, problems, placeOf: placesOf(services, view) }
}

interface Group {
  readonly name: string
  /** Compose project; containers of two projects do not make one service. */
  readonly project: string
  /** Older first. */
  readonly members: Member[]
}

function membersOf(network: NetworkAnswer, containers: readonly EngineContainer[]): Member[] {
  return containers.flatMap((container) => {
    const endpoint = Object.values(container.NetworkSettings.Networks).find(
      ({ NetworkID }) => NetworkID === network.Id,
    )
    if (endpoint === undefined) return []
    const { IPAddress, GlobalIPv6Address } = endpoint
    const given = container.State.Running ? [IPAddress, GlobalIPv6Address] : []
    return [{ container, addresses: given.filter((a) => a !== undefined).map(canonicalAddress) }]
  })
}

/** Services by project and name; their containers need not be running. */
function groupsOf(
  network: NetworkAnswer,
  members: readonly Member[],
  settings: DockerSettings,
): Map<string, Group> {
  const groups = new Map<string, Group>()
  for (const member of members) {
    const { Labels } = member.container.Config
    const name = Labels['fairlead.service'] ?? Labels[COMPOSE_SERVICE]
    if (name === undefined || !belongs(Labels, network)) continue
    const candidate = { name, network: network.Name, labels: Labels, networkLabels: network.Labels }
    if (!isTaken(candidate, settings.takeover)) continue
    const project = Labels[COMPOSE_PROJECT] ?? ''
    const key = `${project}/${name}`
    const group = groups.get(key) ?? { name, project, members: [] }
    group.members.push(member)
    groups.set(key, group)
  }
  return groups
}

/** `fairlead.networks`: which of a container's networks have the service. */
function belongs(labels: Labels, { Name }: NetworkAnswer): boolean {
  const named = labels['fairlead.networks']
  return named === undefined || listOf(named).includes(Name)
}

function networkOf(
  answer: NetworkAnswer,
  members: readonly Member[],
  view: EngineView,
  { dns, resolver }: DockerSettings,
  problems: Problem[],
): Network | undefined {
  const name = answer.Name.toLowerCase()
  const item = `network ${answer.Name}`
  if (!LABEL.test(name)) {
    problems.push(problem(item, 'VALUE', 'the name is not a DNS label, so nothing there is served'))
    return undefined
  }
  const configs = (answer.IPAM?.Config ?? []).flatMap((config) => {
    const subnet = rangeOf(config.Subnet ?? '')
    return subnet === undefined ? [] : [{ ...config, subnet }]
  })
  // One range per family: the first is the one that containers get addresses from.
  const ranges = ([4, 6] as const).flatMap(
    (of) => configs.find(({ subnet }) => subnet.family === of) ?? [],
  )
  if (ranges.length === 0) return undefined
  const pools = givenPools(answer, problems) ?? ranges.flatMap(defaultPools)
  const gateways = gatewaysOf(answer, members)
  const auxiliary = ranges.flatMap((config) => Object.values(config.AuxiliaryAddresses))
  const taken = members.flatMap(({ addresses }) => addresses)
  const containers = members.map(({ container }) => container)
  const askers = askersOf(answer, containers, view, resolver)
  return {
    name,
    subnets: ranges.map(({ subnet }) => subnet.toString()),
    pools: pools.map(String),
    reserved: reserved([...gateways, ...auxiliary.map(canonicalAddress), ...taken], pools),
    attachment: attachmentOf(answer, members),
    dns: { listen: dns ? gateways.map(listenAt) : [], ...(askers.length > 0 && { askers }) },
  }
}

function defaultPools({ subnet, IPRange }: { subnet: Cidr; IPRange?: string | undefined }): Cidr[] {
  return poolsOf(subnet, IPRange === undefined ? undefined : rangeOf(IPRange))
}

function givenPools({ Name, Labels }: NetworkAnswer, problems: Problem[]): Cidr[] | undefined {
  const text = Labels['fairlead.pool']
  if (text === undefined) return undefined
  const ranges = listOf(text).map(rangeOf)
  const good = ranges.filter((range) => range !== undefined)
  if (good.length === ranges.length && good.length > 0) return good
  const reason = `must be ranges such as 10.0.0.192/26, got ${JSON.stringify(text.slice(0, 80))}`
  problems.push(problem(`network ${Name}`, 'VALUE', reason, 'label fairlead.pool'))
  return undefined
}

/** The engine names a gateway it chose itself only where a container uses it. */
function gatewaysOf(answer: NetworkAnswer, members: readonly Member[]): string[] {
  const named = (answer.IPAM?.Config ?? []).map(({ Gateway }) => Gateway?.split('/')[0])
  const used = members.flatMap(({ container }) => {
    const endpoints = Object.values(container.NetworkSettings.Networks)
    const endpoint = endpoints.find(({ NetworkID }) => NetworkID === answer.Id)
    return [endpoint?.Gateway, endpoint?.IPv6Gateway]
  })
  const gateways = [...named, ...used].filter((gateway) => gateway !== undefined)
  return [...new Set(gateways.map(canonicalAddress))]
}

/** Only what could become a VIP, or the network would be another one with each container. */
function reserved(addresses: readonly string[], pools: readonly Cidr[]): string[] {
  const inside = addresses.filter((address) => pools.some((pool) => pool.contains(address)))
  return [...new Set(inside)].sort()
}

function listenAt(gateway: string): string {
  return gateway.includes(':') ? `[${gateway}]:53` : `${gateway}:53`
}

function attachmentOf(answer: NetworkAnswer, members: readonly Member[]): Attachment {
  const sockets = members
    .filter(({ container }) => container.State.Running)
    .map(({ container }) => container.NetworkSettings.SandboxKey)
    .filter((path) => path !== '')
  const named = answer.Options['com.docker.network.bridge.name']
  const bridge = named ?? `br-${answer.Id.slice(0, 12)}`
  return {
    // Other drivers have no bridge; their sockets are balanced all the same.
    ...(answer.Driver === 'bridge' && { bridge }),
    interfaces: [],
    sockets: [...new Set(sockets)].sort(),
  }
}

/** The newest container whose labels make sense describes the service; all of them serve it. */
function serviceOf(
  { name, members }: Group,
  network: Network,
  { node }: DockerSettings,
  problems: Problem[],
): ServiceSpec[] {
  const item = `service ${network.name}/${name.toLowerCase()}`
  for (const { container } of [...members].reverse()) {
    const bearer = `container ${nameOf(container)}`
    const { specs, mistakes } = describe(name, [network], container.Config.Labels, bearer)
    for (const { place, code, reason } of mistakes)
      problems.push(problem(item, code, reason, place))
    const [spec] = specs
    if (spec === undefined) continue
    const backends = members.flatMap((member) => backendsOf(member, node, problems))
    return [{ ...spec, backends }]
  }
  return []
}

function backendsOf(
  { container, addresses }: Member,
  node: string,
  problems: Problem[],
): Backend[] {
  const { Labels } = container.Config
  for (const key of ['weight', 'priority'] as const) {
    const text = Labels[`fairlead.${key}`]
    if (text === undefined || smallNumber(Labels, key) !== undefined) continue
    const reason = `must be an integer 0..65535, got ${JSON.stringify(text.slice(0, 80))}`
    const place = `container ${nameOf(container)} label fairlead.${key}`
    problems.push(problem(`container ${nameOf(container)}`, 'VALUE', reason, place))
  }
  const hostname = nameOf(container).toLowerCase()
  const slot = Labels[COMPOSE_NUMBER]
  const priority = smallNumber(Labels, 'priority')
  return addresses.map((address) => ({
    address,
    weight: smallNumber(Labels, 'weight') ?? 1,
    state: stateOf(container),
    ...(slot !== undefined && LABEL.test(slot) && { slot }),
    ...(LABEL.test(hostname) && { hostname }),
    node,
    ...(priority !== undefined && { priority }),
  }))
}

/** A container with a HEALTHCHECK joins once it is healthy. */
function stateOf({ stopping, State }: EngineContainer): BackendState {
  const health = State.Health?.Status
  if (health !== undefined && health !== 'none' && health !== 'healthy') return 'down'
  return stopping || State.Paused ? 'draining' : 'active'
}

function nameOf({ Name }: EngineContainer): string {
  return Name.replace(/^\//, '')
}

function placesOf(
  services: readonly ServiceSpec[],
  view: EngineView,
): (key: string) => string | undefined {
  return (key) => {
    const backend = services.find((spec) => serviceKey(spec) === key)?.backends[0]
    const container = [...view.containers.values()].find(({ NetworkSettings }) =>
      Object.values(NetworkSettings.Networks).some(
        ({ IPAddress, GlobalIPv6Address }) =>
          backend !== undefined && [IPAddress, GlobalIPv6Address].includes(backend.address),
      ),
    )
    return container && `container ${nameOf(container)}`
  }
}

function problem(item: string, code: Problem['code'], reason: string, place?: string): Problem {
  return { source: SOURCE, item, ...(place !== undefined && { place }), code, reason }
}

function older(
  a: { readonly Created: string; readonly Id: string },
  b: { readonly Created: string; readonly Id: string },
): number {
  return byAge(a.Created, b.Created) || (a.Id < b.Id ? -1 : 1)
}
