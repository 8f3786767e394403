/** What the file says of the edge: published ports, the way back, nodes of backends. */
import t from 'tap'
import { parseFile } from '../../../../src/sources/file/parse.js'

function parse(...services: string[]) {
  const text = [
    'version: 1',
    'networks: [{name: n, subnets: [10.0.0.0/24], edge: true}]',
    'services:',
  ]
  const outcome = parseFile('f', [...text, ...services.map((one) => ` - ${one}`)].join('\n'))
  if (!outcome.ok) throw new Error(JSON.stringify(outcome.mistakes))
  return outcome.file
}

t.test('a network is exposed, ports are published, a backend is on another node', (t) => {
  const { networks, services } = parse(
    '{name: a, network: n, publish: ["8080:80", 53/udp], backends: [{address: 10.0.0.5, via: 192.0.2.2}]}',
  )
  t.equal(networks[0]?.items[0]?.edge, true)
  const [spec] = services[0]?.items ?? []
  t.same(spec?.publish, [
    { protocol: 'tcp', port: 8080, targetPort: 80 },
    { protocol: 'udp', port: 53, targetPort: 53 },
  ])
  t.equal(spec?.return, undefined)
  t.equal(spec?.backends[0]?.via, '192.0.2.2')
  t.end()
})

t.test('a port of the node is published once', (t) => {
  const { services } = parse(
    '{name: a, network: n, publish: ["8080:80"], backends: [10.0.0.5]}',
    '{name: b, network: n, publish: [8080], backends: [10.0.0.6]}',
    '{name: c, network: n, publish: [8080/udp], backends: [10.0.0.6]}',
  )
  t.same(
    services.map(({ mistakes }) => mistakes.map(({ code, reason }) => [code, reason])),
    [[], [['DUPLICATE', 'port tcp/8080 is already published by n/a']], []],
  )
  t.end()
})

t.test('with DSR no port is changed and none is published', (t) => {
  const { services } = parse(
    '{name: d, network: n, return: dsr-mac, ports: ["80:81"], publish: [1], backends: [10.0.0.6]}',
    '{name: e, network: n, return: dsr-tunnel, ports: [80], backends: [10.0.0.6]}',
  )
  t.same(
    services.map(({ mistakes }) => mistakes.map(({ reason }) => reason)),
    [['changes the port, which DSR cannot', 'cannot stand with DSR'], []],
  )
  t.equal(services[1]?.items[0]?.return, 'dsr-tunnel')
  t.end()
})

t.test('with snat ports may change and be published', (t) => {
  const { services } = parse(
    '{name: s, network: n, return: snat, ports: ["80:81"], publish: [1], backends: [10.0.0.6]}',
  )
  t.same(services[0]?.mistakes, [])
  t.equal(services[0]?.items[0]?.return, 'snat')
  t.end()
})
