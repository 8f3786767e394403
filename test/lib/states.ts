/** Parts of a state with nothing in them but what is given; fixtures add what their tests need. */
import {
  serviceKey,
  type Backend,
  type Network,
  type Service,
  type State,
} from '../../src/model/types.js'

export function network(name: string, given: Partial<Network> = {}): Network {
  return {
    name,
    subnets: [],
    pools: [],
    reserved: [],
    attachment: { interfaces: [], sockets: [] },
    dns: { listen: [] },
    ...given,
  }
}

export function backend(address: string, given: Partial<Backend> = {}): Backend {
  return { address, weight: 1, state: 'active', ...given }
}

/** @param key `network/service` */
export function service(key: string, given: Partial<Service> = {}): Service {
  const [networkName = '', name = ''] = key.split('/')
  return {
    network: networkName,
    name,
    mode: 'vip',
    vips: [],
    ports: [],
    algorithm: 'rr',
    ttlSeconds: 5,
    aliases: [],
    backends: [],
    ...given,
  }
}

export function state(
  revision: number,
  networks: readonly Network[],
  services: readonly Service[],
): State {
  return {
    revision,
    networks: new Map(networks.map((each) => [each.name, each])),
    services: new Map(services.map((each) => [serviceKey(each), each])),
    problems: [],
  }
}
