/**
 * A swarm as one node sees it: its overlay networks and their services. Pure.
 *
 * A network is attached where this node has containers on it; elsewhere there is nothing to attach to.
 */
import { askersOf } from '../docker/askers.js'
import { rangeOf } from '../docker/pools.js'
import type { NetworkAnswer } from '../docker/shapes.js'
import type { Attachment, Network, Problem, ServiceSpec, Snapshot } from '../../model/types.js'
import type { SwarmService } from './cluster.js'
import {
  backendOf,
  describedBy,
  isOverlay,
  LABEL,
  localAddresses,
  localContainers,
  type SwarmView,
} from './local.js'
import { publishedOf } from './published.js'

const SOURCE = 'swarm'
/** The overlay driver's own name for it, within the network's namespace. */
const BRIDGE = 'br0'

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
