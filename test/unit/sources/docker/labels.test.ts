import t from 'tap'
import type { Network } from '../../../../src/model/types.js'
import { describe } from '../../../../src/sources/docker/labels.js'

const net: Network = {
  name: 'net1',
  subnets: ['10.1.0.0/24'],
  pools: ['10.1.0.0/24'],
  reserved: [],
  attachment: { interfaces: [], sockets: [] },
  dns: { listen: [] },
}

const of = (labels: Record<string, string>) => describe('web', [net], labels, 'container w')

t.test('every kind of field', (t) => {
  const { specs, mistakes } = of({
    maintainer: 'somebody',
    'fairlead.enable': 'true',
    'fairlead.weight': '3',
    'fairlead.mode': 'vip',
    'fairlead.vip': '10.1.0.50, 10.1.0.51',
    'fairlead.ports': '80, 8443:443, 53/udp',
    'fairlead.algorithm': 'maglev',
    'fairlead.tableSize': '251',
    'fairlead.affinity.timeout': '10m',
    'fairlead.affinity.prefix4': '24',
    'fairlead.thresholds.upper': '100',
    'fairlead.sourceRanges.allow': '10.1.0.0/24',
    'fairlead.ttl': '30s',
    'fairlead.aliases': 'www, shop',
    'fairlead.health.type': 'http',
    'fairlead.health.path': '/well',
    'fairlead.health.status': '200-299, 304',
    'fairlead.timeouts.reset': 'true',
    'fairlead.drain': '15s',
  })
  t.same(mistakes, [])
  t.match(specs, [
    {
      ...{ name: 'web', network: 'net1', mode: 'vip', vips: ['10.1.0.50', '10.1.0.51'] },
      autoVips: [],
      ports: [
        { protocol: 'tcp', port: 80, targetPort: 80 },
        { protocol: 'tcp', port: 8443, targetPort: 443 },
        { protocol: 'udp', port: 53, targetPort: 53 },
      ],
      ...{ algorithm: 'maglev', tableSize: 251 },
      affinity: { timeoutSeconds: 600, prefix4: 24 },
      thresholds: { upper: 100 },
      sourceRanges: { allow: ['10.1.0.0/24'] },
      ...{ ttlSeconds: 30, aliases: ['www', 'shop'], drainSeconds: 15 },
      health: { type: 'http', path: '/well', port: 80 },
      timeouts: { reset: true },
    },
  ])
  t.end()
})

t.test('mistakes name the label', (t) => {
  const cases: [string, string, RegExp][] = [
    ['fairlead.algoritm', 'rr', /unknown field; did you mean algorithm\?/],
    ['fairlead.ports', '99999', /must be/],
    ['fairlead.ttl', 'soon', /must be/],
    ['fairlead.tableSize', 'big', /must be an integer/],
    ['fairlead.name', 'other', /not for a label/],
    ['fairlead.backends', '10.1.0.9', /not for a label/],
    ['fairlead.health', 'http', /must be/],
    ['fairlead.__proto__', 'x', /unknown field/],
  ]
  for (const [label, text, reason] of cases) {
    const { specs, mistakes } = of({ [label]: text })
    t.same(specs, [], label)
    t.match(mistakes[0]?.reason, reason, label)
    t.match(mistakes[0]?.place, `container w label ${label}`)
  }
  t.end()
})

t.test('a field cannot be a value and have fields of its own', (t) => {
  const { mistakes } = of({ 'fairlead.affinity': '10m', 'fairlead.affinity.timeout': '10m' })
  t.match(mistakes[0]?.reason, /says the same otherwise/)
  t.end()
})

t.test('no label makes the host run a program', (t) => {
  for (const label of ['fairlead.health.type', 'fairlead.health.command'])
    t.match(of({ [label]: 'exec' }).mistakes[0]?.reason, /only the file may say so/, label)
  t.match(of({ 'fairlead.health.type': ' exec ' }).mistakes[0]?.reason, /only the file/)
  t.end()
})
