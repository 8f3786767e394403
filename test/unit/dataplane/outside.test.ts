/** Rows of network 0: what is reached from outside, and how a backend is. */
import t from 'tap'
import { servicePlan } from '../../../src/dataplane/rows.js'
import { HERE, type Outside } from '../../../src/dataplane/outside.js'
import type { Network, Service } from '../../../src/model/types.js'
import { backend, network, service, WORDS } from './fixtures.js'

const OUTSIDE: Outside = { addresses: ['192.0.2.1', '2001:db8::1'], peers: [] }
const VIP = 0x0a000009

function plan(of: Service, on: Network, outside?: Outside) {
  return servicePlan(of, on, { network: 3, service: 7, backend: () => 1 }, WORDS, outside)
}

t.test('a VIP is outside only if its network is, and the node has an edge', (t) => {
  const web = service('n/a', {
    ports: [{ protocol: 'tcp', port: 80, targetPort: 8080 }],
    backends: [backend('10.0.0.5')],
  })
  const edge = { ...network('n'), edge: true }
  const outsideRows = (on: Network, outside?: Outside) => {
    const { vips, ports } = plan(web, on, outside)
    return [...vips, ...ports].filter(({ key }) => key['network'] === 0)
  }
  t.same(outsideRows(network('n'), OUTSIDE), [])
  t.same(outsideRows(edge), [])
  t.same(outsideRows(edge, OUTSIDE), [
    { family: 4, key: { network: 0, addr: VIP }, flags: 1, service: 0 },
    {
      family: 4,
      key: { network: 0, addr: VIP, port: 80, protocol: 6, pad: 0 },
      value: { service: 7, target_port: 8080, pad: 0 },
    },
  ])
  t.end()
})

t.test("published ports are rows of the node's addresses of the backends' families", (t) => {
  const published = service('n/a', {
    vips: [],
    mode: 'dnsrr',
    publish: [{ protocol: 'udp', port: 53, targetPort: 5353 }],
    backends: [backend('10.0.0.5')],
  })
  const rows = (of: Service) => {
    const { vips, ports, backends } = plan(of, network('n'), OUTSIDE)
    t.equal(backends.length, 1)
    return { vips: vips.filter(({ flags }) => flags === 8), ports }
  }
  const node = { addr: 0xc0000201 }
  const vip = (network: number) => ({
    ...{ family: 4, key: { network, ...node }, flags: 8, service: 0 },
  })
  const port = (network: number) => ({
    family: 4,
    key: { network, ...node, port: 53, protocol: 17, pad: 0 },
    value: { service: 7, target_port: 5353, pad: 0 },
  })
  const outside = { vips: [vip(0)], ports: [port(0)] }
  t.same(rows(published), outside)
  const balanced = { ...published, mode: 'vip', vips: ['10.0.0.9'], ports: [] } as const
  const both = { vips: [vip(0), vip(3)], ports: [port(0), port(3)] }
  t.same(rows(balanced), both, 'with a VIP for containers of its network too')
  const beyond = { ...balanced, backends: [{ ...backend('10.0.0.5'), via: '192.0.2.2' }] }
  t.same(rows(beyond), outside, 'no container has a way by a node')
  t.end()
})

t.test("a backend's node, or the way back of its service, says how it is reached", (t) => {
  const kinds = (of: Partial<Service>, via?: string, outside: Outside | undefined = OUTSIDE) => {
    const there = { ...backend('10.0.0.5'), ...(via !== undefined && { via }) }
    const { backends } = plan(service('n/a', { ...of, backends: [there] }), network('n'), outside)
    return backends.map(({ via: { kind, words } }) => [kind, words[3]])
  }
  t.same(kinds({}), [[0, 0]])
  t.same(kinds({}, '192.0.2.2'), [[1, 0xc0000202]])
  t.same(kinds({}, '192.0.2.1'), [[0, 0]], 'this node itself')
  t.same(kinds({ return: 'dsr-mac' }), [[2, 0x0a000005]])
  t.same(kinds({ return: 'dsr-tunnel' }), [[3, 0x0a000005]])
  t.same(kinds({ return: 'dsr-tunnel' }, '192.0.2.1'), [[0, 0]])
  t.end()
})

t.test("with snat a backend sees this node's address towards it", (t) => {
  const web = service('n/a', { return: 'snat', backends: [backend('10.0.0.5')] })
  const planned = (sources?: [string, string][]) => {
    const outside = { ...OUTSIDE, ...(sources && { sources: new Map(sources) }) }
    const { backends, vips } = plan(web, network('n'), outside)
    return {
      via: backends.map(({ via: { kind, words } }) => [kind, words[3]]),
      rows: vips
        .filter(({ key }) => key['network'] === 0)
        .map(({ key, flags }) => [key['addr'], flags]),
    }
  }
  const unknown = { via: [[4, 0]], rows: [] }
  t.same(planned(), unknown, 'before the first look')
  t.same(planned([]), unknown, 'without a route')
  t.same(planned([['10.0.0.5', '192.0.2.7']]), {
    via: [[4, 0xc0000207]],
    rows: [[0xc0000207, 8]],
  })
  t.same(planned([['10.0.0.5', HERE]]), { via: [[0, 0]], rows: [] }, 'a backend of this node')
  t.end()
})
