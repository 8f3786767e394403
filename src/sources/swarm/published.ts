/**
 * Ports that the swarm publishes, as one node answers at them. Pure.
 *
 * A task here is led to by its address on the gateway bridge, which its replies leave by. That address
 * means nothing on other nodes: there it is called by one that the swarm gave it, on the ingress network
 * where it has one, and this node is told which container that is.
 */
import { rangeOf } from '../docker/pools.js'
import { canonicalAddress, isAddress } from '../../model/address.js'
import { groupBy } from '../../model/groupBy.js'
import type { Alias, Backend, Network, Port, ServiceSpec, Snapshot } from '../../model/types.js'
import type { SwarmService, SwarmTask } from './cluster.js'
import { backendOf, describedBy, localAddresses, localPlaces, type SwarmView } from './local.js'

/** Every container on an overlay network is on this bridge of its node, too. */
export const GATEWAY_BRIDGE = 'docker_gwbridge'

/** @param overlays by id, those with a name that can be served */
export function publishedOf(
  view: SwarmView,
  overlays: ReadonlyMap<string, Network>,
): Pick<Snapshot, 'networks' | 'services'> {
  const { gateway, services, mesh } = view
  const subnet = (gateway?.IPAM?.Config ?? []).map(({ Subnet }) => rangeOf(Subnet ?? ''))[0]
  if (subnet === undefined) return { networks: [], services: [] }
  const aliases = mesh === undefined ? [] : aliasesOf(view)
  const network: Network = {
    ...{ name: GATEWAY_BRIDGE, subnets: [subnet.toString()], pools: [], reserved: [] },
    attachment: { bridge: GATEWAY_BRIDGE, interfaces: [], sockets: [] },
    dns: { listen: [] },
    ...(mesh !== undefined && {
      tunnels: {
        address: mesh.address,
        peers: [...new Set(mesh.nodes)].filter((node) => node !== mesh.address).sort(),
        aliases,
      },
    }),
  }
  const specs = [...groupBy(services, ({ name }) => name)].flatMap(([name, parts]) => {
    const [spec] = describedBy(name, network, parts[0]?.labels ?? {}).specs
    return spec === undefined ? [] : publishedSpec(spec, parts, view, overlays)
  })
  const needed = specs.length > 0 || aliases.length > 0
  return { networks: needed ? [network] : [], services: specs }
}

function publishedSpec(
  spec: ServiceSpec,
  parts: readonly SwarmService[],
  view: SwarmView,
  overlays: ReadonlyMap<string, Network>,
): ServiceSpec[] {
  const byLabel = parts.some(({ networkId }) => overlays.has(networkId)) ? spec.publish : []
  const publish = distinct([...parts.flatMap((part) => part.publish), ...(byLabel ?? [])])
  const backends = backendsOf(parts, view)
  if (publish.length === 0 || backends.length === 0) return []
  // Each node has an agent: replies go back by the one that they came in by.
  const given = { ...spec, ...(spec.return !== undefined && { return: 'entry' as const }) }
  return [{ ...given, mode: 'dnsrr', vips: [], autoVips: [], publish, backends }]
}

interface Place {
  readonly networkId: string
  readonly task: SwarmTask
}

/** A task once, whatever networks it is on, in the worst of the states that it has there. */
function backendsOf(parts: readonly SwarmService[], view: SwarmView): Backend[] {
  const ingress = (id: string): boolean => view.engine.networks.get(id)?.Ingress === true
  // The same network first on every node, so that all call a task alike.
  const ordered = [...parts].sort(
    (a, b) =>
      Number(ingress(b.networkId)) - Number(ingress(a.networkId)) ||
      (a.networkId < b.networkId ? -1 : 1),
  )
  const tasks = new Map<string, Place[]>()
  for (const { networkId, tasks: there } of ordered)
    for (const task of there) {
      const key = task.id ?? `${networkId} ${task.address}`
      tasks.set(key, [...(tasks.get(key) ?? []), { networkId, task }])
    }
  const local = localAddresses(view)
  const found = new Map<string, Backend>()
  for (const places of tasks.values()) {
    const backend = localBackend(places, local, view) ?? remoteBackend(places, local, view)
    if (backend === undefined) continue
    const before = found.get(backend.address)
    if (before?.state !== 'draining') found.set(backend.address, backend)
  }
  return [...found.values()].sort((a, b) => (a.address < b.address ? -1 : 1))
}

type Local = ReturnType<typeof localAddresses>

function localBackend(places: readonly Place[], local: Local, view: SwarmView) {
  for (const { networkId, task } of places) {
    const here = local.get(`${networkId} ${task.address}`)
    const address = here && gatewayAddress(here.Id, view)
    if (address === undefined) continue
    const state = worst(places)
    return { ...backendOf({ ...task, state }, here, view.node), address }
  }
  return undefined
}

/** Led to its node in a tunnel. It cannot be checked from here: its own node alone reaches it. */
function remoteBackend(
  places: readonly Place[],
  local: Local,
  { mesh, node }: SwarmView,
): Backend | undefined {
  const [first] = places
  const via = first?.task.nodeAddress
  if (first === undefined || mesh === undefined) return undefined
  if (via === undefined || via === mesh.address) return undefined
  if (places.some(({ networkId, task }) => local.has(`${networkId} ${task.address}`)))
    return undefined
  const task = { ...first.task, state: worst(places) }
  return { ...backendOf(task, undefined, node), via, checked: false }
}

function worst(places: readonly Place[]): SwarmTask['state'] {
  const states = places.map(({ task }) => task.state)
  return states.find((state) => state !== 'active') ?? 'active'
}

function gatewayAddress(container: string, { gateway }: SwarmView): string | undefined {
  const given = gateway?.Containers[container]?.IPv4Address.split('/')[0]
  return given !== undefined && isAddress(given) ? canonicalAddress(given) : undefined
}

/** An address that two containers have, on two networks, is nobody's. */
function aliasesOf(view: SwarmView): Alias[] {
  const found = new Map<string, string | undefined>()
  for (const { address: alias, container } of localPlaces(view)) {
    const address = container.State.Running ? gatewayAddress(container.Id, view) : undefined
    if (address === undefined || alias.includes(':')) continue
    found.set(alias, found.has(alias) ? undefined : address)
  }
  return [...found]
    .flatMap(([alias, address]) => (address === undefined ? [] : { alias, address }))
    .sort((a, b) => (a.alias < b.alias ? -1 : 1))
}

function distinct(ports: readonly Port[]): Port[] {
  return [...new Map(ports.map((port) => [`${port.protocol}/${port.port}`, port])).values()]
}
