import type { Backend, Network, ServiceSpec, Snapshot } from '../../../src/model/types.js'

export function network(name = 'net', given: Partial<Network> = {}): Network {
  const subnets = given.subnets ?? ['10.0.0.0/24', 'fd00:a::/64']
  return {
    name,
    subnets,
    pools: subnets,
    reserved: [],
    attachment: { interfaces: [], sockets: [] },
    dns: { listen: [] },
    ...given,
  }
}

export function service(name: string, given: Partial<ServiceSpec> = {}): ServiceSpec {
  return {
    network: 'net',
    name,
    mode: 'vip',
    vips: [],
    autoVips: given.vips === undefined ? [4] : [],
    ports: [],
    algorithm: 'rr',
    ttlSeconds: 5,
    aliases: [],
    backends: [],
    ...given,
  }
}

export function backend(address: string, given: Partial<Backend> = {}): Backend {
  return { address, weight: 1, state: 'active', ...given }
}

export function snapshot(
  services: readonly ServiceSpec[],
  networks: readonly Network[] = [network()],
): Snapshot {
  return { networks, services, problems: [] }
}
