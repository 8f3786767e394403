/** Which of a swarm's services this node serves. Pure. */
import type { Snapshot } from '../../model/types.js'
import type { NetworkAnswer } from '../docker/shapes.js'
import { isTaken } from '../docker/taken.js'
import type { Takeover } from '../takeover.js'
import type { SwarmService } from './cluster.js'

/** @param networks by id */
export function takenServices(
  services: readonly SwarmService[],
  networks: ReadonlyMap<string, NetworkAnswer>,
  takeover: Takeover,
): readonly SwarmService[] {
  const taken = new Set(
    services.filter(({ name, labels, networkId }) => {
      const at = networks.get(networkId)
      const network = { network: at?.Name ?? '', networkLabels: at?.Labels ?? {} }
      return at?.Ingress !== true && isTaken({ name, labels, ...network }, takeover)
    }),
  )
  const names = new Set([...taken].map(({ name }) => name))
  // The ingress network is everybody's: what is published goes with the service.
  const published = ({ name, networkId, labels }: SwarmService): boolean =>
    networks.get(networkId)?.Ingress === true &&
    (names.has(name) || isTaken({ name, network: '', labels, networkLabels: {} }, takeover))
  return services.filter((service) => taken.has(service) || published(service))
}

/** Where nothing is served nothing is attached, unless everything is to be served that comes. */
export function withoutIdle(snapshot: Snapshot, { mode }: Takeover): Snapshot {
  if (mode === 'all') return snapshot
  const used = new Set(snapshot.services.map(({ network }) => network))
  // Tunnels of nodes that have taken a service over end here all the same.
  const networks = snapshot.networks.filter(
    ({ name, tunnels }) => used.has(name) || tunnels !== undefined,
  )
  return { ...snapshot, networks }
}
