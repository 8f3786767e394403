/** Zone and answer, without a socket. */
import t from 'tap'
import { answer } from '../../../src/dns/answer.js'
import { parseReverse } from '../../../src/dns/name.js'
import { buildZone, type Asker, type Zone, type ZoneOptions } from '../../../src/dns/zone.js'
import { Model } from '../../../src/model/model.js'
import type { ServiceSpec, State } from '../../../src/model/types.js'
import { backend, network, scene, service, state } from './fixture.js'

const OPTIONS: ZoneOptions = { negativeTtlSeconds: 5, forwardSingleLabel: false }
const ON1: Asker = { networks: ['overlay1'] }

function ask(
  of: State,
  name: string,
  type: string,
  asker = ON1,
  options = OPTIONS,
): { rcode: string; data: unknown[] } | 'foreign' {
  const reply = answer(buildZone(of, undefined, options), { name, type }, asker)
  if (reply === undefined) return 'foreign'
  const data = reply.answers.map((record) => ('data' in record ? record.data : undefined))
  return { rcode: reply.rcode, data }
}

function found(...data: unknown[]): object {
  return { rcode: 'NOERROR', data }
}
const ABSENT = { rcode: 'NXDOMAIN', data: [] }

t.test('the first of the asker networks that knows a name answers', (t) => {
  const both: Asker = { networks: ['overlay2', 'overlay1'] }
  t.same(ask(scene(), 'vote', 'A', both), found('10.0.2.10'))
  t.same(ask(scene(), 'vote.overlay1', 'A', both), found('10.0.0.9'))
  t.same(ask(scene(), 'pool', 'A', both), found('10.0.0.5', '10.0.0.6'))
  t.same(ask(scene(), '9.2.0.10.in-addr.arpa', 'PTR', both), found('secret.overlay2'))
  t.same(ask(scene(), 'vote', 'A', { networks: [] }), ABSENT)
  t.end()
})

t.test('draining backends are named only when no others are left, down ones never', (t) => {
  const with_ = (...states: ('active' | 'draining' | 'down')[]): State =>
    state(
      [network('overlay1')],
      [
        service('s', {
          mode: 'dnsrr',
          backends: states.map((each, at) =>
            backend(`10.0.0.${at}`, { state: each, slot: `${at}` }),
          ),
        }),
      ],
    )
  t.same(ask(with_('active', 'draining', 'down'), 's', 'A'), found('10.0.0.0'))
  t.same(ask(with_('down', 'draining', 'down'), 'tasks.s', 'A'), found('10.0.0.1'))
  t.same(ask(with_('down'), 's', 'A'), found(), 'NODATA: the name is known')
  t.same(ask(with_('active', 'draining'), '1.s', 'A'), found('10.0.0.1'), 'a slot of its own')
  t.same(ask(with_('active', 'down'), '1.s', 'A'), found())
  t.same(ask(with_('down'), '0.0.0.10.in-addr.arpa', 'PTR'), 'foreign')
  t.end()
})

t.test('dnsrr leaves out weight 0 unless all have it', (t) => {
  const of = (...weights: number[]): State =>
    state(
      [network('overlay1')],
      [
        service('s', {
          mode: 'dnsrr',
          backends: weights.map((weight, at) => backend(`10.0.0.${at}`, { weight })),
        }),
      ],
    )
  t.same(ask(of(1, 0), 's', 'A'), found('10.0.0.0'))
  t.same(ask(of(1, 0), 'tasks.s', 'A'), found('10.0.0.0', '10.0.0.1'))
  t.same(ask(of(0, 0), 's', 'A'), found('10.0.0.0', '10.0.0.1'))
  t.end()
})

t.test(
  'a name wins over an alias, an alias over a host name; alias sharers answer together',
  (t) => {
    const of = state(
      [network('overlay1')],
      [
        service('a', { vips: ['10.0.0.1'], aliases: ['b', 'both'] }),
        service('b', { vips: ['10.0.0.2'], aliases: ['both'], ttlSeconds: 2 }),
        service('c', {
          backends: [
            backend('10.0.0.3', { hostname: 'both' }),
            backend('10.0.0.4', { hostname: 'box.example.org' }),
          ],
        }),
      ],
    )
    t.same(ask(of, 'b', 'A'), found('10.0.0.2'))
    t.same(ask(of, 'both', 'A'), found('10.0.0.1', '10.0.0.2'))
    t.same(ask(of, 'box.example.org', 'A'), found('10.0.0.4'))
    const shared = answer(buildZone(of, undefined, OPTIONS), { name: 'both', type: 'A' }, ON1)
    t.match(shared?.answers, [{ ttl: 2 }, { ttl: 2 }], 'with the shortest TTL')
    t.end()
  },
)

t.test('stacks: the asker’s own first, and service.stack', (t) => {
  const of = state(
    [network('overlay1')],
    [
      service('one_web', { vips: ['10.0.0.1'] }),
      service('two_web', { vips: ['10.0.0.2'] }),
      service('web', { vips: ['10.0.0.3'] }),
    ],
  )
  t.same(ask(of, 'web', 'A', { ...ON1, stack: 'two' }), found('10.0.0.2'))
  t.same(ask(of, 'web', 'A', { ...ON1, stack: 'none' }), found('10.0.0.3'))
  t.same(ask(of, 'web.one', 'A'), found('10.0.0.1'))
  t.end()
})

t.test('a domain is ours as a whole', (t) => {
  const options = { ...OPTIONS, domain: 'cluster.internal' }
  const inside = (name: string, type = 'A'): unknown => ask(scene(), name, type, ON1, options)
  t.same(inside('vote.cluster.internal'), found('10.0.0.9'))
  t.same(inside('tasks.vote.overlay1.cluster.internal'), found('10.0.0.10', '10.0.0.11'))
  t.same(inside('vote'), found('10.0.0.9'))
  t.same(inside('a.b.c.cluster.internal'), ABSENT)
  t.same(inside('overlay1.cluster.internal'), found())
  t.same(inside('9.0.0.10.in-addr.arpa', 'PTR'), found('vote.overlay1.cluster.internal'))
  t.match(inside('cluster.internal', 'SOA'), found({ mname: 'ns.overlay1.cluster.internal' }))
  t.same(inside('notcluster.internal'), 'foreign')
  t.end()
})

t.test('whose names are whose', (t) => {
  for (const name of ['example.com', 'tasks.example.com', '.', 'a.b.c']) {
    t.equal(ask(scene(), name, 'A'), 'foreign', name)
  }
  const open = { ...OPTIONS, forwardSingleLabel: true }
  t.equal(ask(scene(), 'nothere', 'A', ON1, open), 'foreign')
  t.same(ask(scene(), 'vote', 'A', ON1, open), found('10.0.0.9'))
  t.equal(ask(scene(), '10.in-addr.arpa', 'PTR'), 'foreign', 'wider than our subnet')
  t.equal(ask(scene(), '1.1.168.192.in-addr.arpa', 'PTR'), 'foreign')
  t.same(
    ask(scene(), `${'0.'.repeat(10)}0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa`, 'PTR'),
    found(),
    'within',
  )
  t.end()
})

t.test('reverse names', (t) => {
  t.match(parseReverse('9.0.0.10.in-addr.arpa'), { address: '10.0.0.9', bits: 32, whole: true })
  t.match(parseReverse('0.10.in-addr.arpa'), { address: '10.0.0.0', bits: 16, whole: false })
  const v6 = `9.${'0.'.repeat(23)}1.0.0.0.0.0.d.f.ip6.arpa`
  t.match(parseReverse(v6), { address: 'fd00:1::9', bits: 128, whole: true })
  for (const bad of ['256.0.0.10', '01.0.0.10', '1.2.3.4.5', 'x', '-1', '1e1', '']) {
    t.equal(parseReverse(`${bad}.in-addr.arpa`), undefined, bad)
  }
  t.equal(parseReverse('ff.ip6.arpa'), undefined)
  t.equal(parseReverse('arpa'), undefined)
  t.end()
})

t.test('names too long for the wire are left out, not written wrongly', (t) => {
  const of = state(
    [network('overlay1')],
    [
      service('s', {
        vips: ['10.0.0.1'],
        backends: [backend('10.0.0.2', { slot: 'x'.repeat(64) })],
      }),
    ],
  )
  t.same(ask(of, '2.0.0.10.in-addr.arpa', 'PTR'), found())
  t.same(ask(of, '1.0.0.10.in-addr.arpa', 'PTR'), found('s.overlay1'))
  t.end()
})

t.test('networks in which nothing changed keep their indexes', (t) => {
  const before = scene()
  const first = buildZone(before, undefined, OPTIONS)
  const services = new Map(before.services)
  services.set('overlay2/new', service('new', { network: 'overlay2', vips: ['10.0.2.77'] }))
  const after: State = { ...before, revision: 8, services }
  const second = buildZone(after, undefined, OPTIONS, first)
  t.equal(second.covered.get('overlay1'), first.covered.get('overlay1'))
  t.not(second.covered.get('overlay2'), first.covered.get('overlay2'))
  t.same(ask(after, 'new', 'A', { networks: ['overlay2'] }), found('10.0.2.77'))
  t.end()
})

t.test('a service that is replaced is answered anew, by its name and by its aliases', (t) => {
  const of = (vip: string, alias: string) =>
    state(
      [network('overlay1')],
      [
        service('a', { vips: ['10.0.0.1'], aliases: ['both'] }),
        service('b', { vips: [vip], aliases: ['both', alias] }),
      ],
    )
  const zones = [buildZone(of('10.0.0.2', 'old'), undefined, OPTIONS)]
  for (const [vip, alias] of [
    ['10.0.0.3', 'old'],
    ['10.0.0.3', 'new'],
  ] as const)
    zones.push(buildZone(of(vip, alias), undefined, OPTIONS, zones.at(-1)))
  const addresses = (zone: (typeof zones)[number], name: string) =>
    answer(zone, { name, type: 'A' }, ON1)?.answers.map((record) =>
      'data' in record ? record.data : '',
    )
  t.same(
    zones.map((zone) => addresses(zone, 'b')),
    [['10.0.0.2'], ['10.0.0.3'], ['10.0.0.3']],
  )
  t.same(
    zones.map((zone) => addresses(zone, 'both')),
    [
      ['10.0.0.1', '10.0.0.2'],
      ['10.0.0.1', '10.0.0.3'],
      ['10.0.0.1', '10.0.0.3'],
    ],
  )
  t.same(
    zones.map((zone) => addresses(zone, 'new')),
    [[], [], ['10.0.0.3']],
  )
  t.end()
})

t.test('a zone of which services were replaced answers as one that is made anew', (t) => {
  const networks = [network('overlay1', { subnets: ['10.0.0.0/16'] }), network('overlay2')]
  const model = new Model({ sources: ['a'] })
  const specOf = (at: number, turn: number): ServiceSpec => {
    const hosts = [0, 1, 2].map((i) =>
      backend(`10.0.${at % 7}.${((at + turn * 5 + i) % 200) + 1}`, {
        ...(i !== 1 && { hostname: `host${(at + turn + i) % 9}` }),
        ...((turn + i) % 3 === 0 && { state: 'down' as const }),
      }),
    )
    const aliases = at === 3 && turn > 4 ? ['late'] : at < 2 ? ['both'] : []
    const given = { backends: hosts, vips: [`10.0.200.${at + 1}`], ttlSeconds: turn + 1, aliases }
    return { ...service(`s${at}`, given), autoVips: [] }
  }
  const specs = Array.from({ length: 12 }, (_, at) => specOf(at, 0))
  const publish = () => model.publish('a', { networks, services: [...specs], problems: [] })
  let zone = buildZone(publish(), undefined, OPTIONS)
  for (let turn = 1; turn < 9; turn++) {
    const before = zone
    // The indexes are made by whoever asks first.
    const asked = turn % 3 === 0 ? everything(before) : undefined
    for (const at of [turn, 3]) specs[at] = specOf(at, turn)
    // One goes, and comes again otherwise.
    if (turn === 4) specs.splice(10, 1)
    if (turn === 6) specs.splice(10, 0, specOf(10, turn))
    const now = publish()
    zone = buildZone(now, undefined, OPTIONS, zone)
    t.equal(zone.covered.get('overlay2'), before.covered.get('overlay2'))
    if (turn % 2 === 0)
      t.same(everything(zone), everything(buildZone(now, undefined, OPTIONS)), `turn ${turn}`)
    if (asked !== undefined) t.same(everything(before), asked, 'the one before says what it said')
  }
  t.end()

  function everything(of: Zone): unknown[] {
    const addresses = Array.from({ length: 7 * 60 }, (_, i) => `10.0.${i % 7}.${(i % 60) + 1}`)
    const reverse = [...addresses, '10.0.200.1', '10.0.200.4'].map(
      (address) => `${address.split('.').reverse().join('.')}.in-addr.arpa`,
    )
    const hosts = Array.from({ length: 9 }, (_, at) => `host${at}`)
    const forward = ['s1', 's3', 'both', 'late', '10-0-1-3.s1', 'nobody', ...hosts]
    return [...reverse, ...forward].map((name) => of.resolve(name, ON1))
  }
})

t.test('a slot is named as Swarm names its tasks, too', (t) => {
  t.same(ask(scene(), 'vote.2', 'A'), found('10.0.0.11'))
  t.same(ask(scene(), 'ballot.1.overlay1', 'AAAA'), found('fd00:1::10'))
  t.same(ask(scene(), 'vote.c0ffee', 'A'), 'foreign', 'only slots')
  t.end()
})

t.test('beside another resolver only what is a service’s is ours', (t) => {
  const shared: Asker = { networks: ['overlay1', 'overlay2'], shared: true }
  const of = (name: string, type = 'A', options = OPTIONS) =>
    ask(scene(), name, type, shared, options)
  t.same(of('vote'), found('10.0.0.9'))
  t.same(of('vote', 'AAAA'), found('fd00:1::9'))
  t.same(of('secret', 'AAAA'), found(), 'NODATA: nobody else is asked for what it has not')
  t.same(of('secret', 'MX'), found())
  t.same(of('tasks.pool'), found('10.0.0.5', '10.0.0.6'))
  t.same(
    [of('2.vote'), of('vote.2'), of('ballot')],
    [found('10.0.0.11'), found('10.0.0.11'), found('10.0.0.9')],
  )
  t.same(of('vote.overlay2'), found('10.0.2.10'))
  t.match(of('_http._tcp.vote', 'SRV'), { rcode: 'NOERROR' })
  t.same(of('9.0.0.10.in-addr.arpa', 'PTR'), found('vote.overlay1'), 'a VIP')
  for (const [name, type] of [
    ['c0ffee', 'A'], // a container's name
    ['10.0.0.10.in-addr.arpa', 'PTR'], // and its address
    ['nobody', 'A'],
    ['nobody.overlay1', 'A'],
    ['3.vote', 'A'],
    ['tasks.nobody', 'A'],
    ['overlay1', 'SOA'],
    ['ns', 'A'],
    ['ns.overlay1', 'A'],
    ['1.0.0.10.in-addr.arpa', 'PTR'],
    ['example.com', 'A'],
  ] as const)
    t.equal(of(name, type), 'foreign', name)
  const domain = { ...OPTIONS, domain: 'cluster.internal' }
  t.same(of('vote.overlay1.cluster.internal', 'A', domain), found('10.0.0.9'))
  t.same(of('nobody.cluster.internal', 'A', domain), ABSENT, 'the domain is ours as a whole')
  t.end()
})

t.test('the own stack’s service goes before one of that very name', (t) => {
  const both = state(
    [network('net')],
    ['db', 'shop_db', 'blog_db', 'blog_web'].map((name, at) =>
      service(name, { network: 'net', vips: [`10.0.0.${at + 1}`] }),
    ),
  )
  const asker: Asker = { networks: ['net'], shared: true }
  const of = (name: string, stack?: string) =>
    ask(both, name, 'A', { ...asker, ...(stack !== undefined && { stack }) })
  t.same(of('db'), found('10.0.0.1'))
  t.same(of('db', 'shop'), found('10.0.0.2'))
  t.same(of('DB'.toLowerCase(), 'blog'), found('10.0.0.3'))
  t.same(of('db', 'other'), found('10.0.0.1'))
  t.same(of('db.blog', 'shop'), found('10.0.0.3'), 'the other one, by its full name')
  t.equal(of('web', 'shop'), 'foreign')
  t.same(of('web', 'blog'), found('10.0.0.4'))
  t.end()
})
