import t from 'tap'
import { hasRows, mergeVips, servicePlan } from '../../../src/dataplane/rows.js'
import type { Service } from '../../../src/model/types.js'
import { backend, network, service, WORDS } from './fixtures.js'

function plan(of: Service) {
  const addresses = of.backends.map(({ address }) => address)
  const ids = { network: 3, service: 7, backend: (a: string) => addresses.indexOf(a) + 100 }
  return servicePlan(of, network('n'), ids, WORDS)
}

t.test('an any-port VIP names its service, and backends are marked', (t) => {
  const { vips, ports, ring4, backends } = plan(
    service('n/a', { backends: [backend('10.0.0.5'), backend('192.0.2.1')] }),
  )
  t.same(vips, [
    { family: 4, key: { network: 3, addr: 0x0a000009 }, flags: 3, service: 7 },
    { family: 4, key: { network: 3, addr: 0x0a000005 }, flags: 4, service: 0 },
    { family: 4, key: { network: 3, addr: 0xc0000201 }, flags: 4, service: 0 },
  ])
  t.same(ports, [])
  t.same(ring4, [100, 101])
  t.match(backends, [
    {
      id: 100,
      address: '10.0.0.5',
      words: [0, 0, 0xffff, 0x0a000005],
      flags: 1,
      weight: 1,
      down: false,
    },
    {
      id: 101,
      address: '192.0.2.1',
      words: [0, 0, 0xffff, 0xc0000201],
      flags: 0,
      weight: 1,
      down: false,
    },
  ])
  t.end()
})

t.test('ports are rows of their own for every VIP of either family', (t) => {
  const { vips, ports } = plan(
    service('n/a', {
      vips: ['10.0.0.9', 'fd00::9'],
      ports: [
        { protocol: 'tcp', port: 80, targetPort: 8080 },
        { protocol: 'udp', port: 53, targetPort: 53 },
      ],
    }),
  )
  t.same(
    vips.map(({ flags, service }) => [flags, service]),
    [
      [1, 0],
      [1, 0],
    ],
  )
  t.same(ports[0], {
    family: 4,
    key: { network: 3, addr: 0x0a000009, port: 80, protocol: 6, pad: 0 },
    value: { service: 7, target_port: 8080, pad: 0 },
  })
  t.same(ports[3], {
    family: 6,
    key: { network: 3, addr: [0xfd000000, 0, 0, 9], port: 53, protocol: 17, pad: 0 },
    value: { service: 7, target_port: 53, pad: 0 },
  })
  t.equal(ports.length, 4)
  t.end()
})

t.test('rings hold active backends; draining ones only when nothing else is left', (t) => {
  const mixed = [
    backend('10.0.0.1', { state: 'draining' }),
    backend('10.0.0.2'),
    backend('10.0.0.3', { state: 'down' }),
  ]
  t.same(plan(service('n/a', { backends: mixed })).ring4, [101])
  const rest = mixed.filter(({ state }) => state !== 'active')
  t.same(plan(service('n/a', { backends: rest })).ring4, [100])
  const down = mixed.filter(({ state }) => state === 'down')
  t.same(plan(service('n/a', { backends: down })).ring4, [])
  t.equal(plan(service('n/a', { backends: down })).backends[0]?.down, true)
  t.end()
})

t.test('wrr and families', (t) => {
  const { ring4, ring6 } = plan(
    service('n/a', {
      vips: ['10.0.0.9', 'fd00::9'],
      algorithm: 'wrr',
      backends: [backend('10.0.0.1', { weight: 2 }), backend('10.0.0.2'), backend('fd00::1')],
    }),
  )
  t.same(ring4, [100, 101, 100])
  t.same(ring6, [102])
  t.end()
})

t.test('what has no VIP of a family has no rows in it', (t) => {
  t.equal(hasRows(service('n/a', { mode: 'dnsrr', vips: [] })), false)
  const { backends, ring6 } = plan(
    service('n/a', { backends: [backend('10.0.0.1'), backend('fd00::1')] }),
  )
  t.same(
    backends.map(({ address }) => address),
    ['10.0.0.1'],
  )
  t.same(ring6, [])
  t.end()
})

t.test('claims on one address merge, in any order alike', (t) => {
  const parts = [
    { flags: 4, service: 0 },
    { flags: 3, service: 9 },
    { flags: 3, service: 7 },
  ]
  t.same(mergeVips(parts), { flags: 7, service: 7 })
  t.same(mergeVips([...parts].reverse()), { flags: 7, service: 7 })
  t.end()
})
