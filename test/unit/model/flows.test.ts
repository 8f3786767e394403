/** Which flows a filter wants. */
import t from 'tap'
import { type Flow, type FlowFilter, flowMatches, parseEnd } from '../../../src/model/flows.js'

const flow: Flow = {
  ...{ path: 'tc', protocol: 'tcp', state: 'ESTABLISHED' },
  client: { address: '10.0.0.8', port: 40_000 },
  vip: { address: 'fd00:a::9', port: 80 },
  backend: { address: '10.0.0.5', port: 8080 },
  service: 'net1/web',
}

t.test('ends are addresses, ranges and ports', (t) => {
  const wanted: [string, boolean][] = [
    ['10.0.0.8', true],
    ['10.0.0.9', false],
    ['10.0.0.0/24', true],
    ['10.0.1.0/24', false],
    ['10.0.0.8:40000', true],
    ['10.0.0.8:40001', false],
    [':40000', true],
    [':80', false],
    ['fd00::/8', false],
    ['::ffff:10.0.0.8', true],
  ]
  for (const [text, matches] of wanted)
    t.equal(flowMatches(flow, { client: parseEnd(text) }), matches, text)
  const vips: [string, boolean][] = [
    ['fd00:a::9', true],
    ['FD00:A:0::9', true],
    ['[fd00:a::9]:80', true],
    ['[fd00:a::9]:81', false],
    ['fd00:a::/64', true],
    ['0.0.0.0/0', false],
  ]
  for (const [text, matches] of vips)
    t.equal(flowMatches(flow, { vip: parseEnd(text) }), matches, text)
  t.end()
})

t.test('what is no end is refused', (t) => {
  const wrong = [
    ...['', 'web', '10.0.0', '10.0.0.8:', '10.0.0.8:x', '10.0.0.8:70000', ':70000', ':'],
    ...['10.0.0.8/33', '10.0.0.8/24', 'fd00:a::9:80:', '[10.0.0.8]:80', '[fd00:a::9]', '/24'],
  ]
  for (const text of wrong) t.throws(() => parseEnd(text), { code: 'VALUE' }, text)
  t.end()
})

t.test('everything that is given holds', (t) => {
  const matching: FlowFilter[] = [
    {},
    { network: 'net1' },
    { service: 'web' },
    { service: 'net1/web' },
    { path: 'tc', protocol: 'tcp', state: 'ESTABLISHED', network: 'net1', service: 'web' },
    { backend: parseEnd(':8080'), client: parseEnd('10.0.0.8') },
  ]
  const others: FlowFilter[] = [
    ...[{ network: 'net' }, { service: 'we' }, { service: 'net2/web' }, { network: 'web' }],
    ...[{ path: 'xdp' as const }, { protocol: 'udp' as const }, { state: 'CLOSE' as const }],
    { path: 'tc', state: 'UDP' },
    { client: parseEnd('10.0.0.8'), backend: parseEnd(':80') },
  ]
  for (const filter of matching) t.ok(flowMatches(flow, filter), Object.keys(filter).join())
  for (const filter of others) t.notOk(flowMatches(flow, filter), Object.keys(filter).join())
  const { path, protocol, state, client, vip } = flow
  const orphan = { path, protocol, state, client, vip }
  t.notOk(flowMatches(orphan, { backend: parseEnd('0.0.0.0/0') }), 'no backend is in no range')
  t.notOk(flowMatches(orphan, { network: '' }))
  t.end()
})
