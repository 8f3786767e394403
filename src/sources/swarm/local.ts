/** What of a swarm is on this node, by what its engine has. Pure. */
import type { ResolverSetting } from '../docker/askers.js'
import type { EngineContainer, EngineView } from '../docker/engine.js'
import { describe, type Described, type Labels } from '../docker/labels.js'
import type { NetworkAnswer } from '../docker/shapes.js'
import { canonicalAddress } from '../../model/address.js'
import type { Backend, Network } from '../../model/types.js'
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
  /** Absent: ports lead to tasks of this node alone. */
  readonly mesh?: Mesh
}

/** The nodes of a swarm, to one of them. Addresses are canonical. */
export interface Mesh {
  /** Of this node, where tunnels of others end. */
  readonly address: string
  /** Of all nodes. */
  readonly nodes: readonly string[]
}

export const LABEL = /^[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?$/

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

export interface LocalPlace {
  readonly networkId: string
  /** Canonical. */
  readonly address: string
  readonly container: EngineContainer
}

/** This node's containers on networks of the swarm. */
export function localPlaces({ engine }: Pick<SwarmView, 'engine'>): LocalPlace[] {
  return [...engine.containers.values()].flatMap((container) =>
    Object.values(container.NetworkSettings.Networks).flatMap(({ NetworkID, ...endpoint }) => {
      const swarm = engine.networks.get(NetworkID)?.Scope === 'swarm'
      const given = [endpoint.IPAddress, endpoint.GlobalIPv6Address]
      return given.flatMap((text) =>
        text === undefined || !swarm
          ? []
          : { networkId: NetworkID, address: canonicalAddress(text), container },
      )
    }),
  )
}

/** By `network address`: two networks may have the same addresses. */
export function localAddresses(view: Pick<SwarmView, 'engine'>): Map<string, EngineContainer> {
  return new Map(
    localPlaces(view).map(({ networkId, address, container }) => [
      `${networkId} ${address}`,
      container,
    ]),
  )
}

export function backendOf(
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

/** A label that makes no sense costs the labels, not the service: a swarm's has none to begin with. */
export function describedBy(name: string, network: Network, labels: Labels): Described {
  const found = describe(name, [network], labels, `service ${name}`)
  if (found.specs.length > 0) return found
  return { specs: describe(name, [network], {}, name).specs, mistakes: found.mistakes }
}
