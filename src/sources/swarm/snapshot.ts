/**
 * A swarm as one node sees it: its overlay networks and their services. Pure.
 *
 * A network is attached where this node has containers on it; elsewhere there is nothing to attach to.
 */
import { rangeOf } from '../docker/pools.js'
import { describe } from '../docker/labels.js'
import type { EngineContainer, EngineView } from '../docker/engine.js'
import type { NetworkAnswer } from '../docker/shapes.js'
import type {
  Attachment,
  Backend,
  Network,
  Problem,
  ServiceSpec,
  Snapshot,
} from '../../model/types.js'
import { canonicalAddress } from '../../model/address.js'
import type { SwarmService, SwarmTask } from './cluster.js'

export interface SwarmView {
  readonly engine: EngineView
  readonly services: readonly SwarmService[]
  /** Path of each network's namespace on this node, by the network's id. */
  readonly namespaces: ReadonlyMap<string, string>
  /** This node, as backends name it. */
  readonly node: string
}

const SOURCE = 'swarm'
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
  return { networks: [...networks.values()], services, problems }
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
  return {
    name,
    subnets: ranges.map(String),
    // VIPs are the swarm's own.
    pools: [],
    reserved: [],
    attachment: attachmentOf(answer, view),
    dns: { listen: [] },
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
  { name, mode, vip, labels, tasks }: SwarmService,
  network: Network,
  view: SwarmView,
  problems: Problem[],
): ServiceSpec[] {
  const item = `service ${network.name}/${name.toLowerCase()}`
  const { specs, mistakes } = describe(name, [network], labels, `service ${name}`)
  for (const { place, code, reason } of mistakes)
    problems.push({ source: SOURCE, item, place, code, reason })
  // A label that makes no sense costs itself, not the service: Swarm balances it without any.
  const [spec] = specs.length > 0 ? specs : describe(name, [network], {}, name).specs
  if (spec === undefined) return []
  const local = localAddresses(view)
  const backends = tasks.map((task) => backendOf(task, local.get(task.address), view.node))
  return [{ ...spec, mode, vips: vip === undefined ? [] : [vip], autoVips: [], backends }]
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

function localAddresses({ engine }: SwarmView): Map<string, EngineContainer> {
  const found = new Map<string, EngineContainer>()
  for (const container of engine.containers.values())
    for (const { NetworkID, IPAddress } of Object.values(container.NetworkSettings.Networks)) {
      const network = engine.networks.get(NetworkID)
      if (IPAddress === undefined || network === undefined || !isOverlay(network)) continue
      found.set(canonicalAddress(IPAddress), container)
    }
  return found
}
