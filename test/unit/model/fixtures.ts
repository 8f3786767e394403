import type { Network, ServiceSpec, Snapshot } from '../../../src/model/types.js'
import * as states from '../../lib/states.js'

export { backend } from '../../lib/states.js'

export function network(name = 'net', given: Partial<Network> = {}): Network {
  const subnets = given.subnets ?? ['10.0.0.0/24', 'fd00:a::/64']
  return states.network(name, { subnets, pools: subnets, ...given })
}

export function service(name: string, given: Partial<ServiceSpec> = {}): ServiceSpec {
  const autoVips = given.vips === undefined ? [4 as const] : []
  return { autoVips, ...states.service(`net/${name}`, given) }
}

export function snapshot(
  services: readonly ServiceSpec[],
  networks: readonly Network[] = [network()],
): Snapshot {
  return { networks, services, problems: [] }
}
