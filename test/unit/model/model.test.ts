import t from 'tap'
import { diff, sameData } from '../../../src/model/diff.js'
import { Model } from '../../../src/model/model.js'
import { replacements } from '../../../src/model/sharedMap.js'
import type { ServiceSpec, State } from '../../../src/model/types.js'
import { backend, network, service, snapshot } from './fixtures.js'

t.test('the revision grows only when the content differs', (t) => {
  const model = new Model({ sources: ['a'] })
  t.equal(model.current.revision, 0)
  const give = (name: string) => snapshot([service(name, { vips: ['10.0.0.9'] })])
  t.equal(model.publish('a', give('vote')).revision, 1)
  t.equal(model.publish('a', give('vote')).revision, 1, 'equal, not identical')
  t.equal(model.publish('a', give('veto')).revision, 2)
  const reordered = { ...give('veto'), networks: [network('x'), network()] }
  t.equal(model.publish('a', reordered).revision, 3)
  reordered.networks.reverse()
  t.equal(model.publish('a', { ...reordered }).revision, 3, 'order alone is no difference')
  t.throws(() => model.publish('b', give('x')), RangeError)
  t.end()
})

t.test('what does not change keeps its identity', (t) => {
  const model = new Model({ sources: ['a'] })
  const give = (weight: number) =>
    snapshot([
      service('same', { backends: [backend('10.0.0.2')] }),
      service('other', { backends: [backend('10.0.0.3', { weight })] }),
    ])
  const one = model.publish('a', give(1))
  const two = model.publish('a', give(2))
  t.equal(one.services.get('net/same'), two.services.get('net/same'))
  t.not(one.services.get('net/other'), two.services.get('net/other'))
  t.equal(one.networks, two.networks)
  const changes = diff(one, two)
  t.same(
    changes.services.changed.map(({ after }) => after.name),
    ['other'],
  )
  t.same([changes.services.added, changes.services.removed, changes.networks.changed], [[], [], []])
  t.end()
})

t.test('diff tells added, removed and changed', (t) => {
  const model = new Model({ sources: ['a'] })
  const one = model.publish('a', snapshot([service('x'), service('y')]))
  const two = model.publish('a', snapshot([service('y', { ttlSeconds: 9 }), service('z')]))
  t.equal(diff(undefined, one).services.added.length, 2)
  t.equal(diff(undefined, one).networks.added.length, 1)
  const { services } = diff(one, two)
  t.same([services.added[0]?.name, services.removed[0]?.name], ['z', 'x'])
  t.same([services.changed[0]?.before.ttlSeconds, services.changed[0]?.after.ttlSeconds], [5, 9])
  t.end()
})

t.test('sameData', (t) => {
  t.ok(sameData({ a: [1, { b: null }] }, { a: [1, { b: null }] }))
  for (const [a, b] of [
    ...([
      [{ a: 1 }, { a: 1, b: undefined }],
      [{ a: undefined }, { b: undefined }],
      [[1], { 0: 1 }],
      [
        [1, 2],
        [2, 1],
      ],
      [null, {}],
      [1, '1'],
      [[], [undefined]],
    ] as const),
  ])
    t.notOk(sameData(a, b))
  t.end()
})

t.test('the first registered source wins; the other one hears of it', (t) => {
  const model = new Model({ sources: ['first', 'second'] })
  model.publish('second', snapshot([service('vote', { ttlSeconds: 2 })]))
  t.notOk(model.ready())
  t.same(model.spoken, ['second'])
  const state = model.publish(
    'first',
    snapshot([service('vote', { ttlSeconds: 1 })], [network('net', { reserved: ['10.0.0.1'] })]),
  )
  t.ok(model.ready())
  t.equal(state.services.get('net/vote')?.ttlSeconds, 1)
  t.same(state.networks.get('net')?.reserved, ['10.0.0.1'])
  t.match(state.problems, [
    { source: 'second', item: 'network net', code: 'DUPLICATE' },
    { source: 'second', item: 'service net/vote', code: 'DUPLICATE' },
  ])
  const same = model.publish('second', snapshot([], [network('net', { reserved: ['10.0.0.1'] })]))
  t.same(same.problems, [], 'two sources may agree on a network')
  t.end()
})

t.test('a VIP and port belong to one service of a network', (t) => {
  const port = (n: number, protocol: 'tcp' | 'udp' = 'tcp') => ({
    protocol,
    port: n,
    targetPort: n,
  })
  const vips = ['10.0.0.9']
  const model = new Model({ sources: ['a'] })
  const state = model.publish(
    'a',
    snapshot(
      [
        service('web', { vips, ports: [port(80), port(443)] }),
        service('other', { vips, ports: [port(81), port(80, 'udp')] }),
        service('clash', { vips: ['10.0.0.10', ...vips], ports: [port(443)] }),
        service('after', { vips: ['10.0.0.10'], ports: [port(443)] }),
        service('any', { vips }),
        service('dns', { mode: 'dnsrr', vips: [] }),
        service('elsewhere', { network: 'net2', vips }),
        service('port', { network: 'net2', vips, ports: [port(80)] }),
      ],
      [network(), network('net2')],
    ),
  )
  t.same(
    [...state.services.keys()],
    ['net/after', 'net/dns', 'net/other', 'net/web', 'net2/elsewhere'],
    'one that is refused claims nothing',
  )
  t.match(state.problems, [
    { item: 'service net/clash', code: 'DUPLICATE', reason: /10\.0\.0\.9 tcp\/443 .* web/ },
    { item: 'service net/any', code: 'DUPLICATE', reason: /web/ },
    { item: 'service net2/port', code: 'DUPLICATE', reason: /elsewhere/ },
  ])
  t.equal(state.problems.length, 3)
  t.end()
})

t.test('a service that does not fit is left out alone', (t) => {
  const model = new Model({ sources: ['a'] })
  const four = network('four', { subnets: ['10.1.0.0/24'] })
  const state = model.publish(
    'a',
    snapshot(
      [
        service('lost', { network: 'nowhere' }),
        service('six', { network: 'four', vips: ['fd00::1'] }),
        service('back', { network: 'four', backends: [backend('fd00::1')] }),
        service('twice', { backends: [backend('10.0.0.2'), backend('10.0.0.2')] }),
        service('auto6', { network: 'four', autoVips: [4, 6] }),
        service('good'),
      ],
      [network(), four],
    ),
  )
  t.same([...state.services.keys()], ['four/auto6', 'net/good'])
  t.equal(state.services.get('four/auto6')?.vips.length, 1, 'it has what can be had')
  t.same(
    state.problems.map(({ item, code }) => [item, code]),
    [
      ['service nowhere/lost', 'REFERENCE'],
      ['service four/six', 'REFERENCE'],
      ['service four/back', 'REFERENCE'],
      ['service net/twice', 'DUPLICATE'],
      ['service four/auto6', 'REFERENCE'],
    ],
  )
  t.end()
})

t.test('a VIP that could not be carried is left out', (t) => {
  const listen = ['10.0.0.2:53']
  const of = (...services: Parameters<typeof snapshot>[0]) =>
    new Model({ sources: ['a'] })
      .publish('a', { ...snapshot(services), networks: [network('net', { dns: { listen } })] })
      .problems.map(({ code, reason }) => `${code} ${reason}`)
  const backends = [backend('10.0.0.3')]
  t.same(of(service('x', { vips: ['224.0.0.1'] })), [
    'VALUE 224.0.0.1 is not the address of one host',
  ])
  t.same(of(service('x', { vips: ['10.0.0.9'], backends: [backend('0.0.0.0')] })), [
    'VALUE 0.0.0.0 is not the address of one host',
  ])
  t.same(of(service('x', { vips: ['10.0.0.3'], backends })), [
    'DUPLICATE VIP 10.0.0.3 is a backend of the service too',
  ])
  t.same(of(service('x', { vips: ['10.0.0.2'], backends })), [
    'DUPLICATE VIP 10.0.0.2 port 53 is where the network has DNS',
  ])
  const ports = [{ protocol: 'tcp' as const, port: 80, targetPort: 80 }]
  t.same(of(service('x', { vips: ['10.0.0.2'], ports, backends })), [], 'another port is free')
  t.end()
})

t.test('a VIP is no host: of the two the earlier one stays', (t) => {
  const vip = service('vip', { vips: ['10.0.0.9'] })
  const host = service('host', { vips: ['10.0.0.8'], backends: [backend('10.0.0.9')] })
  const of = (...services: ServiceSpec[]) => {
    const model = new Model({ sources: ['a'] })
    const { problems, services: kept } = model.publish('a', snapshot(services))
    return [...kept.keys(), ...problems.map(({ item, reason }) => `${item}: ${reason}`)]
  }
  t.same(of(vip, host), ['net/vip', 'service net/host: backend 10.0.0.9 is a VIP of service vip'])
  t.same(of(host, vip), ['net/host', 'service net/vip: VIP 10.0.0.9 is a backend of service host'])
  const named = service('host', { mode: 'dnsrr', backends: [backend('10.0.0.9')] })
  t.equal(of(named, vip).length, 2, 'a host that is only named is a host as well')

  const model = new Model({ sources: ['a'] })
  const before = service('host', { vips: ['10.0.0.8'], backends: [backend('10.0.0.7')] })
  model.publish('a', snapshot([vip, before]))
  const state = model.publish('a', snapshot([vip, host]))
  t.match(
    state.problems,
    [{ item: 'service net/host', code: 'DUPLICATE' }],
    'also when it is added',
  )
  t.end()
})

t.test('what only the model finds has the place that the source knows', (t) => {
  const model = new Model({ sources: ['a'] })
  const services = [service('x', { vips: ['10.0.0.9'] }), service('y', { vips: ['10.0.0.9'] })]
  const places = new Map([['net/y', 'file:7:3 services[1]']])
  const { problems } = model.publish('a', {
    ...snapshot(services),
    placeOf: (key) => places.get(key),
  })
  t.match(problems, [{ item: 'service net/y', place: 'file:7:3 services[1]' }])
  t.end()
})

t.test('an exhausted pool costs the VIP of the one that is too many', (t) => {
  const model = new Model({ sources: ['a'] })
  const tiny = network('net', { subnets: ['10.0.0.0/30'] })
  const services = ['a', 'b', 'c'].map((name) => service(name))
  const state = model.publish('a', snapshot(services, [tiny]))
  t.match(state.problems, [{ source: 'a', item: 'service net/c', code: 'POOL_EXHAUSTED' }])
  t.same(
    [...state.services.values()].map(({ vips }) => vips.length),
    [1, 1, 0],
  )
  t.end()
})

t.test('assignments survive a restart and wait for silent sources', (t) => {
  const one = new Model({ sources: ['a', 'b'] })
  one.publish('a', snapshot([service('x')]))
  one.publish('b', snapshot([service('y')], []))
  const kept = one.assignments
  t.equal(kept.size, 2)
  const two = new Model({ sources: ['a', 'b'], reporters: ['kernel'], assignments: kept })
  two.publish('a', snapshot([service('x')]))
  t.same([...two.assignments], [...kept], 'b has not spoken')
  const { assignments } = two
  two.publish('b', snapshot([service('y')], []))
  t.equal(two.assignments, assignments, 'the same map while nothing differs')
  two.publish('b', snapshot([], []))
  t.same([...two.assignments.keys()], ['net/x/4'])
  t.end()
})

t.test('reporters bring problems and nothing else', (t) => {
  const model = new Model({ sources: ['a'], reporters: ['kernel'] })
  const states: State[] = []
  model.onState((state) => states.push(state))
  const problem = { source: 'kernel', item: 'map', code: 'MAP_FULL', reason: 'full' }
  model.publish('kernel', { networks: [], services: [], problems: [problem] })
  t.equal(model.current.revision, 0, 'no empty state before a source has spoken')
  t.equal(states.length, 0)
  const first = model.publish('a', snapshot([service('x')]))
  t.same(first.problems, [problem])
  const healed = model.publish('kernel', { networks: [], services: [], problems: [] })
  t.same(healed.problems, [])
  t.equal(healed.services, first.services)
  t.equal(states.length, 2)
  t.ok(model.ready())
  t.end()
})

t.test('listeners hear every state in order, though one of them publishes or throws', (t) => {
  const model = new Model({ sources: ['a', 'health'] })
  const heard: string[] = []
  const silence = model.onState(() => {
    throw new Error('broken sink')
  })
  model.onState((state, previous) => {
    heard.push(`1:${previous.revision}>${state.revision}`)
    if (state.revision === 1) model.publish('health', snapshot([service('h')], []))
  })
  const stop = model.onState((state) => heard.push(`2:${state.revision}`))
  t.throws(() => model.publish('a', snapshot([service('x')])), AggregateError)
  t.same(heard, ['1:0>1', '2:1', '1:1>2', '2:2'])
  t.equal(model.current.revision, 2)
  silence()
  stop()
  stop()
  model.publish('a', snapshot([]))
  t.equal(heard.at(-1), '1:2>3')
  t.end()
})

t.test('a state of 10,000 services is merged', (t) => {
  const wide = network('net', { subnets: ['10.0.0.0/8'] })
  const make = (weight: number) =>
    snapshot(
      Array.from({ length: 10_000 }, (_, i) =>
        service(`s${i}`, {
          backends: Array.from({ length: 10 }, (_, j) =>
            backend(`10.${j}.${i >> 8}.${i & 255}`, { weight: i === 0 ? weight : 1 }),
          ),
        }),
      ),
      [wide],
    )
  const model = new Model({ sources: ['a'] })
  const [one, two] = [make(1), make(2)]
  model.publish('a', one)
  const state = model.publish('a', two)
  t.equal(state.revision, 2)
  t.end()
})

t.test('a service that is replaced takes no port that another one publishes', (t) => {
  const model = new Model({ sources: ['a'] })
  const publish = [{ protocol: 'tcp', port: 8080, targetPort: 80 }] as const
  const first = service('first', { vips: ['10.0.0.9'], publish })
  const second = service('second', { vips: ['10.0.0.10'] })
  model.publish('a', snapshot([first, second]))
  const state = model.publish('a', snapshot([first, { ...second, publish }]))
  t.match(state.problems, [{ code: 'DUPLICATE', reason: /8080 is already published by net.first/ }])
  t.same([...state.services.keys()], ['net/first'])
  t.end()
})

t.test('what is only replaced copies no map of all services', (t) => {
  const model = new Model({ sources: ['a'] })
  const give = (weight: number) => [
    service('a', { vips: ['10.0.0.9'], backends: [backend('10.0.0.2', { weight })] }),
    service('b', { vips: ['10.0.0.10'] }),
  ]
  const [a1, b] = give(1)
  const [a2] = give(2)
  if (!a1 || !a2 || !b) throw new Error('no services')
  const one = model.publish('a', snapshot([a1, b]))
  const two = model.publish('a', snapshot([a2, b]))
  const changed = (from: State, to: State) =>
    replacements(from.services, to.services)?.map(({ key }) => key)
  t.same(changed(one, two), ['net/a'])
  const three = model.setStates(new Map([['net/a', new Map([['10.0.0.2', 'down' as const]])]]))
  t.same(changed(two, three), ['net/a'])
  t.same(changed(one, model.publish('a', snapshot([a1, b]))), ['net/a'], 'still laid over')
  const four = model.publish('a', snapshot([a1, { ...b, ports: [] }, service('c')]))
  t.equal(changed(three, four), undefined, 'one came')
  const five = model.publish('a', snapshot([a1, { ...b, vips: ['10.0.0.11'] }, service('c')]))
  t.same(changed(four, five), ['net/b'], 'merged as a whole, and yet the same ones')
  t.end()
})

t.test('the same services are judged anew by another network', (t) => {
  const model = new Model({ sources: ['a'] })
  const services = [service('a', { vips: ['10.0.0.9'] }), service('b', { vips: ['fd00:a::9'] })]
  const give = (subnets: string[]) =>
    model.publish('a', snapshot(services, [network('net', { subnets })])).problems
  const both = ['10.0.0.0/24', 'fd00:a::/64']
  t.same(give(both), [])
  t.match(give(both.slice(0, 1)), [{ code: 'REFERENCE', item: 'service net/b' }])
  t.match(give(both.slice(1)), [{ code: 'REFERENCE', item: 'service net/a' }])
  t.same(give(both), [])
  t.end()
})
