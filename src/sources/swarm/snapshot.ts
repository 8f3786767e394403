/**
 * A swarm as one node sees it: its overlay networks and their services. Pure.
 *
 * A network is attached where this node has containers on it; elsewhere there is nothing to attach to.
 */
import { askersOf, type ResolverSetting } from '../docker/askers.js'
import { rangeOf } from '../docker/pools.js'
import { describe, type Described, type Labels } from '../docker/labels.js'
import type { EngineContainer, EngineView } from '../docker/engine.js'
import type { NetworkAnswer } from '../docker/shapes.js'
import type {
  Attachment,
  Backend,
  Network,
  Port,
  Problem,
  ServiceSpec,
  Snapshot,
} from '../../model/types.js'
import { canonicalAddress, isAddress } from '../../model/address.js'
import type { SwarmService, SwarmTask } from './cluster.js'
import type { GatewayAnswer } from './shapes.js'

export interface SwarmView {
  readonly engine: EngineView
  readonly services: readonly SwarmService[]
  /** Path of each network's namespace on this node, by the network's id. */
  readonly namespaces: ReadonlyMap<string, string>
  /** This node, as backends name it. */
  readonly node: string
  /** Whose questions to the engine's resolver are answered. Absent: nobody's. */
  readonly resolver?: ResolverSetting
  /** The node's gateway bridge. Absent: nothing is published. */
  readonly gateway?: GatewayAnswer
}

const SOURCE = 'swarm'
/** Every container on an overlay network is on this bridge of its node, too. */
export const GATEWAY_BRIDGE = 'docker_gwbridge'
/** The overlay driver's own name for it, within the network's namespace. */
const BRIDGE = 'br0'
const LABEL = /^[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?$/

export function isOverlay({ Scope, Driver, Ingress }: NetworkAnswer): boolean {
  return Scope === 'swarm' && Driver === 'overlay' && !Ingress
}

/** Running containers of this node that are on a network. */
export function localContainers({ containers }: EngineView, networkId: string): EngineContainer[] {
  return [...containers.values()].filter(
    ({ State, NetworkSettings }) =>
      State.Running &&
      NetworkSettings.SandboxKey !== '' &&
      Object.values(NetworkSettings.Networks).some(({ NetworkID }) => NetworkID === networkId),
  )
}

export function snapshotOf(view: SwarmView): Snapshot {
  const problems: Problem[] = []
  const networks = new Map<string, Network>()
  const answers = [...view.engine.networks.values()]
    .filter(isOverlay)
    .sort((a, b) => (a.Created < b.Created ? -1 : 1))
  for (const answer of answers) {
    const network = networkOf(answer, view, problems)
    if (network !== undefined) networks.set(answer.Id, network)
  }
  const services = view.services.flatMap((service) => {
    const network = networks.get(service.networkId)
    return network === undefined ? [] : serviceOf(service, network, view, problems)
  })
  const published = publishedOf(view, networks)
  return {
    networks: [...networks.values(), ...published.networks],
    services: [...services, ...published.services],
    problems,
  }
}

/**
 * Ports that the swarm publishes, on this node: led to the tasks that run here, at their addresses on
 * the gateway bridge, which their replies leave by. Pure.
 */
function publishedOf(
  view: SwarmView,
  overlays: ReadonlyMap<string, Network>,
): Pick<Snapshot, 'networks' | 'services'> {
  const { gateway, services } = view
  const subnet = (gateway?.IPAM?.Config ?? []).map(({ Subnet }) => rangeOf(Subnet ?? ''))[0]
  if (subnet === undefined) return { networks: [], services: [] }
  const network: Network = {
    ...{ name: GATEWAY_BRIDGE, subnets: [subnet.toString()], pools: [], reserved: [] },
    attachment: { bridge: GATEWAY_BRIDGE, interfaces: [], sockets: [] },
    dns: { listen: [] },
  }
  const specs = [...new Set(services.map(({ name }) => name))].flatMap((name) => {
    const parts = services.filter((service) => service.name === name)
    const [spec] = describedBy(name, network, parts[0]?.labels ?? {}).specs
    if (spec === undefined) return []
    const byLabel = parts.some(({ networkId }) => overlays.has(networkId)) ? spec.publish : []
    const publish = distinct([...parts.flatMap((part) => part.publish), ...(byLabel ?? [])])
    const backends = localBackends(parts, view)
    if (publish.length === 0 || backends.length === 0) return []
    // They are all here: there is no other node by which replies would have to go back.
    const given = { ...spec, ...(spec.return !== undefined && { return: 'entry' as const }) }
    return [{ ...given, mode: 'dnsrr' as const, vips: [], autoVips: [], publish, backends }]
  })
  return { networks: specs.length === 0 ? [] : [network], services: specs }
}

/** A container once, whatever networks it is on, in the worst of the states that it has there. */
function localBackends(parts: readonly SwarmService[], view: SwarmView): Backend[] {
  const local = localAddresses(view)
  const found = new Map<string, Backend>()
  for (const { networkId, tasks } of parts)
    for (const task of tasks) {
      const here = local.get(`${networkId} ${task.address}`)
      const given = here && view.gateway?.Containers[here.Id]?.IPv4Address.split('/')[0]
      if (given === undefined || !isAddress(given)) continue
      const address = canonicalAddress(given)
      const backend = { ...backendOf(task, here, view.node), address }
      const before = found.get(address)
      if (before?.state !== 'draining') found.set(address, backend)
    }
  return [...found.values()].sort((a, b) => (a.address < b.address ? -1 : 1))
}

function distinct(ports: readonly Port[]): Port[] {
  return [...new Map(ports.map((port) => [`${port.protocol}/${port.port}`, port])).values()]
}

function networkOf(
  answer: NetworkAnswer,
  view: SwarmView,
  problems: Problem[],
): Network | undefined {
  const name = answer.Name.toLowerCase()
  if (!LABEL.test(name)) {
    const reason = 'the name is not a DNS label, so nothing there is served'
    problems.push({ source: SOURCE, item: `network ${answer.Name}`, code: 'VALUE', reason })
    return undefined
  }
  const subnets = (answer.IPAM?.Config ?? []).flatMap(({ Subnet }) => rangeOf(Subnet ?? '') ?? [])
  const ranges = ([4, 6] as const).flatMap(
    (of) => subnets.find(({ family }) => family === of) ?? [],
  )
  if (ranges.length === 0) return undefined
  const { engine, resolver = 'none' } = view
  const askers = askersOf(answer, localContainers(engine, answer.Id), engine, resolver)
  return {
    name,
    subnets: ranges.map(String),
    // VIPs are the swarm's own.
    pools: [],
    reserved: [],
    attachment: attachmentOf(answer, view),
    dns: { listen: [], ...(askers.length > 0 && { askers }) },
  }
}

function attachmentOf({ Id }: NetworkAnswer, { engine, namespaces }: SwarmView): Attachment {
  const here = localContainers(engine, Id)
  const namespace = namespaces.get(Id)
  if (here.length === 0 || namespace === undefined) return { interfaces: [], sockets: [] }
  const sockets = here.map(({ NetworkSettings }) => NetworkSettings.SandboxKey)
  return { namespace, bridge: BRIDGE, interfaces: [], sockets: [...new Set(sockets)].sort() }
}

function serviceOf(
  { name, networkId, mode, vip, labels, tasks }: SwarmService,
  network: Network,
  view: SwarmView,
  problems: Problem[],
): ServiceSpec[] {
  const item = `service ${network.name}/${name.toLowerCase()}`
  const { specs, mistakes } = describedBy(name, network, labels)
  for (const { place, code, reason } of mistakes)
    problems.push({ source: SOURCE, item, place, code, reason })
  const [spec] = specs
  if (spec === undefined) return []
  const local = localAddresses(view)
  const backends = tasks.map((task) =>
    backendOf(task, local.get(`${networkId} ${task.address}`), view.node),
  )
  // From outside they are reached by another network.
  const given = { ...spec, ...(spec.publish && { publish: [] }) }
  return [{ ...given, mode, vips: vip === undefined ? [] : [vip], autoVips: [], backends }]
}

/** A label that makes no sense costs the labels, not the service: a swarm's has none to begin with. */
function describedBy(name: string, network: Network, labels: Labels): Described {
  const found = describe(name, [network], labels, `service ${name}`)
  if (found.specs.length > 0) return found
  return { specs: describe(name, [network], {}, name).specs, mistakes: found.mistakes }
}

function backendOf(
  { address, state, slot, node }: SwarmTask,
  here: EngineContainer | undefined,
  own: string,
): Backend {
  const name = here === undefined ? node?.toLowerCase() : own
  return {
    address,
    weight: 1,
    state: here?.stopping === true && state === 'active' ? 'draining' : state,
    ...(slot !== undefined && { slot }),
    ...(name !== undefined && LABEL.test(name) && { node: name }),
  }
}

/** This node's containers by `network address`: two networks may have the same addresses. */
function localAddresses({ engine }: SwarmView): Map<string, EngineContainer> {
  const found = new Map<string, EngineContainer>()
  for (const container of engine.containers.values())
    for (const { NetworkID, IPAddress } of Object.values(container.NetworkSettings.Networks)) {
      const network = engine.networks.get(NetworkID)
      if (IPAddress === undefined || network?.Scope !== 'swarm') continue
      found.set(`${NetworkID} ${canonicalAddress(IPAddress)}`, container)
    }
  return found
}
