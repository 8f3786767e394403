/**
 * A swarm's services and tasks, as a manager knows them from its store and a worker from the gossip of
 * the networks that it has tasks on. Pure: from answers of the engine to one form.
 */
import { isUnicast } from '../../model/address.js'
import { groupBy } from '../../model/groupBy.js'
import type { BackendState, Mode, Port } from '../../model/types.js'
import { byAge } from '../docker/age.js'
import { hostBeforePort, hostOf } from './address.js'
import type { GossipAnswer, NodeAnswers, ServiceAnswers, TaskAnswers } from './shapes.js'

export interface SwarmTask {
  /** Canonical. */
  readonly address: string
  readonly state: BackendState
  /** Number of the replica; a global service has none. */
  readonly slot?: string
  /** Host name of its node. Absent: unknown. */
  readonly node?: string
  /** Where its node is reached by the others, canonical. Absent: unknown. */
  readonly nodeAddress?: string
  /** The same on all networks that it is on. Absent: unknown. */
  readonly id?: string
}

/** A service at its place on one network. */
export interface SwarmService {
  readonly name: string
  readonly networkId: string
  readonly mode: Mode
  /** Canonical; absent in mode dnsrr. */
  readonly vip?: string
  /** `deploy.labels`, which only managers know. */
  readonly labels: Readonly<Record<string, string>>
  /** Ports published in ingress mode; they are the service's, on whichever network. */
  readonly publish: readonly Port[]
  readonly tasks: readonly SwarmTask[]
}

/** As a manager's store has it, in order of the services' age. */
export function fromManager(
  services: ServiceAnswers,
  tasks: TaskAnswers,
  nodes: NodeAnswers,
): SwarmService[] {
  const nodeOf = new Map(nodes.map((node) => [node.ID, node]))
  const tasksOf = groupBy(tasks, ({ ServiceID }) => ServiceID)
  return [...services]
    .sort((a, b) => byAge(a.CreatedAt, b.CreatedAt) || (a.ID < b.ID ? -1 : 1))
    .flatMap(({ ID, Spec, Endpoint }) => {
      const vips = new Map(
        (Endpoint?.VirtualIPs ?? []).map(({ NetworkID, Addr }) => [NetworkID, Addr]),
      )
      const targets = [...Spec.TaskTemplate.Networks, ...Spec.Networks].map(({ Target }) => Target)
      const mode: Mode = Spec.EndpointSpec?.Mode === 'dnsrr' ? 'dnsrr' : 'vip'
      const publish = publishedPorts(Endpoint?.Ports ?? [])
      return [...new Set([...targets, ...vips.keys()])].map((networkId): SwarmService => {
        const vip = hostOf(vips.get(networkId) ?? '')
        return {
          ...{ name: Spec.Name, networkId, mode, labels: Spec.Labels, publish },
          ...(vip !== undefined && { vip }),
          tasks: (tasksOf.get(ID) ?? []).flatMap((task) => managedTask(task, networkId, nodeOf)),
        }
      })
    })
}

type PortAnswers = NonNullable<ServiceAnswers[number]['Endpoint']>['Ports']

/** Those of mode `host` are the engine's own: it binds them to one task. */
function publishedPorts(ports: PortAnswers): Port[] {
  return ports.flatMap(({ Protocol: protocol, TargetPort, PublishedPort, PublishMode }) =>
    PublishMode === 'ingress' && PublishedPort > 0 && (protocol === 'tcp' || protocol === 'udp')
      ? [{ protocol, port: PublishedPort, targetPort: TargetPort }]
      : [],
  )
}

/** Of all nodes that have not left, as a manager's store has them. */
export function nodesOf(nodes: NodeAnswers): string[] {
  return nodes.flatMap((node) => addressOfNode(node) ?? []).sort()
}

/** A manager that has not heard of itself from another one has 0.0.0.0, or a loopback address, there. */
function addressOfNode({ Status, ManagerStatus }: NodeAnswers[number]): string | undefined {
  const named = [hostOf(Status.Addr), hostBeforePort(ManagerStatus?.Addr ?? '')]
  return named.find((address) => address !== undefined && isReachable(address))
}

/** From other nodes, that is. */
function isReachable(address: string): boolean {
  return isUnicast(address) && !address.startsWith('127.') && address !== '::1'
}

/** Gossip does not tell the protocol: it is TCP for nearly all, and a node's UDP port is its own. */
function gossipedPorts(texts: readonly string[]): Port[] {
  return texts.flatMap((text) => {
    const [, target, publish] = /^Target: (\d+), Publish: (\d+)$/.exec(text) ?? []
    const port = Number(publish)
    return port > 0 ? [{ protocol: 'tcp' as const, port, targetPort: Number(target) }] : []
  })
}

/** A task serves from `running`, which one with a HEALTHCHECK is when it is healthy. */
function managedTask(
  task: TaskAnswers[number],
  networkId: string,
  nodes: ReadonlyMap<string, NodeAnswers[number]>,
): SwarmTask[] {
  const node = nodes.get(task.NodeID)
  // What a node that is lost last said of its tasks stays as it was for a day.
  if (task.Status.State !== 'running' || node?.Status.State === 'down') return []
  const attached = task.NetworksAttachments.filter(({ Network }) => Network.ID === networkId)
  const nodeAddress = node && addressOfNode(node)
  const addresses = attached.flatMap(({ Addresses }) => Addresses.map(hostOf))
  return addresses.flatMap((address) =>
    address === undefined
      ? []
      : {
          address,
          state: task.DesiredState === 'running' ? ('active' as const) : ('draining' as const),
          ...(typeof task.Slot === 'number' && task.Slot > 0 && { slot: String(task.Slot) }),
          ...(node && node.Description.Hostname !== '' && { node: node.Description.Hostname }),
          ...(nodeAddress !== undefined && { nodeAddress }),
          id: task.ID,
        },
  )
}

/**
 * As the gossip of one network has it. A task that is about to stop stays there for as long as it takes
 * to stop, and is only taken out of the answers of the engine's resolver.
 *
 * @param named  addresses that the resolver gives for `tasks.SERVICE`, by service; a service that is not
 *               there could not be asked for
 * @param before as it was told last: without an answer a task that drained does so still
 */
export function fromGossip(
  networkId: string,
  { Services }: GossipAnswer,
  named: ReadonlyMap<string, ReadonlySet<string>>,
  before: readonly SwarmService[] = [],
): SwarmService[] {
  const drained = new Set(
    before.flatMap(({ tasks }) =>
      tasks.flatMap((task) => (task.state === 'draining' ? task.id : [])),
    ),
  )
  return Object.entries(Services)
    .filter(([name]) => name !== '')
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { VIP, Ports, Tasks }]): SwarmService => {
      const vip = hostOf(VIP)
      const alive = named.get(name)
      return {
        ...{ name, networkId, mode: vip === undefined ? 'dnsrr' : 'vip', labels: {} },
        publish: gossipedPorts(Ports),
        ...(vip !== undefined && { vip }),
        tasks: Tasks.flatMap(({ Name, EndpointIP, Info }): SwarmTask[] => {
          const address = hostOf(EndpointIP)
          if (address === undefined) return []
          const nodeAddress = hostOf(Info['Host IP'] ?? '')
          const id = Name.split('.').at(-1) ?? ''
          const serves = alive === undefined ? !drained.has(id) : alive.has(address)
          const state = serves ? 'active' : 'draining'
          return [
            {
              ...{ address, state, ...slotOf(Name) },
              ...(nodeAddress !== undefined && { nodeAddress }),
              ...(id !== '' && { id }),
            },
          ]
        }).sort((a, b) => (a.address < b.address ? -1 : 1)),
      }
    })
}

/**
 * What gossip says now, and of the rest what the store said last: labels, and networks of which there is
 * no gossip here.
 */
export function withKnown(
  gossip: readonly SwarmService[],
  known: readonly SwarmService[],
): SwarmService[] {
  const heard = new Set(gossip.map(({ networkId }) => networkId))
  const keyOf = ({ name, networkId }: SwarmService) => `${networkId} ${name}`
  const knownBy = new Map(known.map((service) => [keyOf(service), service]))
  const labelled = gossip.map((service) => {
    const before = knownBy.get(keyOf(service))
    if (before === undefined) return service
    const { labels, publish } = before
    return { ...service, labels, ...(sameNumbers(publish, service.publish) && { publish }) }
  })
  return [...labelled, ...known.filter(({ networkId }) => !heard.has(networkId))]
}

/** Gossip has no protocols. */
function sameNumbers(known: readonly Port[], heard: readonly Port[]): boolean {
  const numbers = (ports: readonly Port[]): string =>
    [...new Set(ports.map(({ port, targetPort }) => `${port}:${targetPort}`))].sort().join()
  return numbers(known) === numbers(heard)
}

/** Nodes that have the network, as its gossip has them. */
export function nodesOfGossip({ Peers }: GossipAnswer): string[] {
  return Peers.flatMap(({ IP }) => hostOf(IP) ?? []).sort()
}

/** `vote.1.840muqg16af2` is of slot 1; a global service has a node's id there. */
function slotOf(name: string): { slot?: string } {
  const part = name.split('.').at(-2) ?? ''
  return /^\d{1,9}$/.test(part) ? { slot: part } : {}
}
