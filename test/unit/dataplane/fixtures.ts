/** States small enough to read, for tests of the dataplane. */
import type { Backend, Network, Service, State } from '../../../src/model/types.js'

export const WORDS = {
  algorithm: { rr: 0, wrr: 1, random: 2, lc: 3, wlc: 4, sh: 5, maglev: 6 },
  vip: { balanced: 1, anyPort: 2, backend: 4, node: 8 },
  onLink: 1,
  via: { here: 0, entry: 1, 'dsr-mac': 2, 'dsr-tunnel': 3, snat: 4 },
  closed: 2,
  service: { sources: 1, listedOnly: 2 },
  source: { allow: 1, deny: 2 },
} as const

export function network(name: string, extra: Partial<Network> = {}): Network {
  return {
    name,
    subnets: ['10.0.0.0/24', 'fd00::/64'],
    pools: [],
    reserved: [],
    attachment: { interfaces: [], sockets: [] },
    dns: { listen: [] },
    ...extra,
  }
}

export function backend(address: string, extra: Partial<Backend> = {}): Backend {
  return { address, weight: 1, state: 'active', ...extra }
}

export function service(key: string, extra: Partial<Service> = {}): Service {
  const [networkName = '', name = ''] = key.split('/')
  return {
    network: networkName,
    name,
    mode: 'vip',
    vips: ['10.0.0.9'],
    ports: [],
    algorithm: 'rr',
    ttlSeconds: 5,
    aliases: [],
    backends: [],
    ...extra,
  }
}

export function state(
  revision: number,
  networks: readonly Network[],
  services: readonly Service[],
): State {
  return {
    revision,
    networks: new Map(networks.map((entry) => [entry.name, entry])),
    services: new Map(services.map((entry) => [`${entry.network}/${entry.name}`, entry])),
    problems: [],
  }
}
