/** States small enough to read, for tests of the dataplane. */
import type { Network, Service } from '../../../src/model/types.js'
import * as states from '../../lib/states.js'

export { backend, state } from '../../lib/states.js'

export const WORDS = {
  algorithm: { rr: 0, wrr: 1, random: 2, lc: 3, wlc: 4, sh: 5, maglev: 6 },
  vip: { balanced: 1, anyPort: 2, backend: 4, node: 8 },
  onLink: 1,
  via: { here: 0, entry: 1, 'dsr-mac': 2, 'dsr-tunnel': 3, snat: 4 },
  closed: 2,
  service: { sources: 1, listedOnly: 2 },
  source: { allow: 1, deny: 2 },
} as const

export function network(name: string, given: Partial<Network> = {}): Network {
  return states.network(name, { subnets: ['10.0.0.0/24', 'fd00::/64'], ...given })
}

export function service(key: string, given: Partial<Service> = {}): Service {
  return states.service(key, { vips: ['10.0.0.9'], ...given })
}
