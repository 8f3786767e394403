import t from 'tap'
import { parseFile, type Outcome, type ParsedFile } from '../../../../src/sources/file/parse.js'
import type { Network, ServiceSpec } from '../../../../src/model/types.js'

const HEAD = `version: 1
networks:
  - name: Net
    subnets: [10.0.0.0/24, "FD00:A::/64"]
`

function parsed(outcome: Outcome): ParsedFile {
  if (outcome.ok) return outcome.file
  throw new Error(outcome.mistakes.map(({ place, reason }) => `${place}: ${reason}`).join('\n'))
}

function good(services: string): ServiceSpec[] {
  const file = parsed(parseFile('f', `${HEAD}services:\n${services}`))
  const mistakes = file.services.flatMap((entry) => entry.mistakes)
  if (mistakes.length > 0) throw new Error(JSON.stringify(mistakes))
  return file.services.flatMap(({ items }) => items)
}

/** `place: reason` of every mistake, wherever it was found. */
function mistakes(text: string): string[] {
  const outcome = parseFile('f', text)
  const found = outcome.ok
    ? [...outcome.file.networks, ...outcome.file.services].flatMap((entry) => entry.mistakes)
    : outcome.mistakes
  return found.map(({ place, reason }) => `${place}: ${reason}`)
}

/** Mistakes of one service, written as a YAML flow mapping after `name: x, network: net`. */
function mistakesOf(fields: string): string[] {
  return mistakes(`${HEAD}services:\n  - {name: x, network: net, ${fields}}\n`)
}

t.test('a whole network', (t) => {
  const text = `version: 1
networks:
  - name: Overlay1
    subnets: [10.0.0.0/24, "FD00:A::/64"]
    pool: [10.0.0.128/25, fd00:a::8000/113]
    reserved: [10.0.0.1, "FD00:A::1"]
    attach:
      namespace: /run/netns/x
      bridge: br0
      interfaces: ["veth*", "veth*"]
      sockets: ["/run/netns/c-*", host]
    dns:
      listen: [10.0.0.2, "[fd00:a::2]:5353", "fd00:a::3"]
`
  const wanted: Network = {
    name: 'overlay1',
    subnets: ['10.0.0.0/24', 'fd00:a::/64'],
    pools: ['10.0.0.128/25', 'fd00:a::8000/113'],
    reserved: ['10.0.0.1', 'fd00:a::1', '10.0.0.2', 'fd00:a::2', 'fd00:a::3'],
    attachment: {
      namespace: '/run/netns/x',
      bridge: 'br0',
      interfaces: ['veth*'],
      sockets: ['/run/netns/c-*', 'host'],
    },
    dns: { listen: ['10.0.0.2:53', '[fd00:a::2]:5353', '[fd00:a::3]:53'] },
  }
  t.strictSame(parsed(parseFile('f', text)).networks[0]?.items, [wanted])
  t.end()
})

t.test('timeouts and drain', (t) => {
  const [one, two, none] = good(`  - name: one
    network: net
    drain: 1m
    timeouts: {syn: 1500ms, established: 30, closing: 2s, udp: 2h}
  - {name: two, network: net, drain: 0, timeouts: {udp: 1s, reset: true}}
  - {name: none, network: net}
`)
  t.same(one?.timeouts, {
    synSeconds: 1.5,
    establishedSeconds: 30,
    closingSeconds: 2,
    udpSeconds: 7200,
  })
  t.equal(one?.drainSeconds, 60)
  t.same(two?.timeouts, { udpSeconds: 1, reset: true })
  t.equal(two?.drainSeconds, 0)
  t.notOk(none && ('timeouts' in none || 'drainSeconds' in none))
  for (const [fields, reason] of [
    ['timeouts: {udp: 0s}', /timeouts\.udp: must be a duration 1s\.\.2592000s/],
    ['timeouts: {syn: 31d}', /timeouts\.syn: must be a duration/],
    ['timeouts: {idle: 5s}', /timeouts\.idle: is an unknown field/],
    ['drain: soon', /drain: must be a duration/],
    ['drain: -1', /drain: must be a duration/],
    ['drain: 721h', /drain: must be a duration/],
  ] as const) {
    const found = mistakesOf(fields)
    t.equal(found.length, 1, fields)
    t.match(found[0]?.replace(/^\S+ services\[0\]\./, ''), reason)
  }
  t.end()
})

t.test('a service with everything, and one with nothing', (t) => {
  const [full, bare] = good(`
  - name: Vote
    network: NET
    mode: vip
    vip: [10.0.0.9, "FD00:A:0::9"]
    ports: [80, "8080:81/TCP", 53/udp, {port: 90, targetPort: 91, protocol: udp, name: Metrics}]
    algorithm: wrr
    ttl: 1m
    aliases: [V, v, w]
    backends:
      - 10.0.0.10
      - {address: [10.0.0.11, "FD00:A::11"], weight: 2, slot: vote-1, hostname: Abc.lan, state: draining}
  - {name: bare, network: net}
`)
  t.strictSame(full, {
    network: 'net',
    name: 'vote',
    mode: 'vip',
    vips: ['10.0.0.9', 'fd00:a::9'],
    autoVips: [],
    ports: [
      { protocol: 'tcp', port: 80, targetPort: 80 },
      { protocol: 'tcp', port: 8080, targetPort: 81 },
      { protocol: 'udp', port: 53, targetPort: 53 },
      { protocol: 'udp', port: 90, targetPort: 91, name: 'metrics' },
    ],
    algorithm: 'wrr',
    ttlSeconds: 60,
    aliases: ['v', 'w'],
    backends: [
      { address: '10.0.0.10', weight: 1, state: 'active' },
      ...['10.0.0.11', 'fd00:a::11'].map((address) => ({
        ...{ address, weight: 2, state: 'draining' as const },
        ...{ slot: 'vote-1', hostname: 'abc.lan' },
      })),
    ],
  })
  t.strictSame(bare, {
    ...{ network: 'net', name: 'bare', mode: 'vip', vips: [], autoVips: [4, 6], ports: [] },
    ...{ algorithm: 'rr', ttlSeconds: 5, aliases: [], backends: [] },
  })
  t.end()
})

t.test('variants of fields', (t) => {
  const one = (fields: string): ServiceSpec | undefined =>
    good(`  - {name: x, network: net, ${fields}}\n`)[0]
  t.same(one('mode: dnsrr')?.autoVips, [])
  t.same(one('vip: auto')?.autoVips, [4, 6])
  t.same(one('vip: 10.0.0.7')?.vips, ['10.0.0.7'])
  t.same(one('vip: 203.0.113.7')?.vips, ['203.0.113.7'], 'a VIP may lie outside the subnets')
  t.equal(one('ttl: 0')?.ttlSeconds, 0)
  t.equal(one('ttl: 2.0s')?.ttlSeconds, 2)
  t.equal(one('ttl: 86400')?.ttlSeconds, 86400)
  t.equal(one('ports: [8080:80]')?.ports[0]?.targetPort, 80, 'no sexagesimal numbers')
  t.same(one('backends: [{address: 10.0.0.1, slot: "1"}]')?.backends[0]?.slot, '1')
  const text = `version: 1
networks: [{name: a, subnets: [10.0.0.0/24]}, {name: b, subnets: ["fd00::/64"]}]
services: [{name: x, networks: [a, B]}]
`
  const both = parsed(parseFile('f', text)).services.flatMap(({ items }) => items)
  t.same(
    both.map(({ network, autoVips }) => [network, autoVips]),
    [
      ['a', [4]],
      ['b', [6]],
    ],
  )
  t.ok(parseFile('f', 'version: 1\nnetworks:\nservices:\n').ok, 'empty sections')
  t.end()
})

t.test('mistakes name file, line, column and field', (t) => {
  t.same(
    mistakes(`${HEAD}services:
  - name: vote
    network: net
    ports:
      - 80
      - port: 99999
`),
    ['f:10:15 services[0].ports[1].port: must be an integer 1..65535, got 99999'],
  )
  t.same(mistakes(`${HEAD}services:\n  - name: vote\n    network: net\n    prots: [80]\n`), [
    'f:8:5 services[0].prots: is an unknown field; did you mean ports?',
  ])
  t.same(mistakes('version: 2\n'), ['f:1:10 version: must be 1, got 2'])
  t.same(mistakes(''), ['f:1:1: must be a mapping, got null'])
  t.same(mistakes('version: 1\nservice: []\n'), [
    'f:2:1 service: is an unknown field; did you mean services?',
  ])
  t.end()
})

t.test('who gets which backend', (t) => {
  const one = (fields: string) => {
    const outcome = parseFile(
      'f.yaml',
      `version: 1
networks: [{ name: n, subnets: [10.0.0.0/24] }]
services: [{ name: a, network: n, ${fields} }]`,
    )
    return outcome.ok ? outcome.file.services[0] : outcome
  }
  t.match(one('algorithm: maglev, tableSize: 251, locality: prefer-local'), {
    items: [{ algorithm: 'maglev', tableSize: 251, locality: 'prefer-local' }],
  })
  t.match(one('affinity: { timeout: 3h }'), {
    items: [{ affinity: { timeoutSeconds: 10_800, prefix4: 32, prefix6: 128 } }],
  })
  t.match(one('thresholds: { upper: 10 }'), { items: [{ thresholds: { upper: 10, lower: 8 } }] })
  t.match(one('thresholds: { upper: 1 }'), { items: [{ thresholds: { upper: 1, lower: 1 } }] })
  t.match(one('sourceRanges: { allow: [10.0.0.0/8, FD00:0::/16] }'), {
    items: [{ sourceRanges: { allow: ['10.0.0.0/8', 'fd00::/16'], deny: [] } }],
  })
  t.match(one('backends: [{ address: 10.0.0.1, node: Node-1, priority: 2 }]'), {
    items: [{ backends: [{ node: 'node-1', priority: 2 }] }],
  })
  t.end()
})

t.test('each field refuses what makes no sense', (t) => {
  const cases: [string, RegExp][] = [
    ['mode: both', /mode: must be one of vip, dnsrr, got "both"/],
    ['tableSize: 251', /is only for algorithm maglev and sh/],
    ['algorithm: maglev, tableSize: 65536', /must be a prime number, got 65536/],
    [
      'algorithm: sh, tableSize: 3, backends: [10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4]',
      /fewer slots/,
    ],
    ['locality: local', /must be one of any, prefer-local/],
    ['affinity: {}', /affinity\.timeout: is missing/],
    ['affinity: { timeout: 1500ms }', /must be whole seconds/],
    ['affinity: { timeout: 1s, prefix4: 33 }', /must be an integer 1\.\.32/],
    ['thresholds: { upper: 4, lower: 5 }', /must be at most the upper \(4\), got 5/],
    ['thresholds: { lower: 5 }', /thresholds\.upper: is missing/],
    ['sourceRanges: { allow: [10.0.0.1/8] }', /has host bits set/],
    ['sourceRanges: { allow: [10.0.0.0/8], deny: [10.0.0.0/8] }', /which is allowed as well/],
    ['algorithm: leastconn', /must be one of rr, wrr, random, lc, wlc, sh, maglev/],
    ['vip: 10.0.0.300', /vip: must be an IPv4 or IPv6 address, got "10\.0\.0\.300"/],
    ['vip: 7', /vip: must be auto, or an IPv4 or IPv6 address, or a list, got 7/],
    ['vip: []', /at least one address/],
    ['vip: [10.0.0.9, 10.0.0.9]', /twice/],
    ['vip: 10.0.0.9, mode: dnsrr', /cannot stand with mode dnsrr/],
    ['ports: 80', /ports: must be a list, got 80/],
    ['ports: [0]', /must be an integer 1\.\.65535, got 0/],
    ['ports: [1.5]', /must be an integer 1\.\.65535, got 1\.5/],
    ['ports: [1e400]', /got Infinity/],
    ['ports: ["80/sctp"]', /must be \[port:\]targetPort/],
    ['ports: ["99999:80"]', /ports 1\.\.65535, got "99999:80"/],
    ['ports: [80, "80:81"]', /ports\[1\]: defines tcp\/80 again/],
    ['ports: [{targetPort: 80}]', /port: is missing; must be an integer/],
    ['ttl: -1', /must be a duration 0ms\.\.86400s/],
    ['ttl: 86401', /must be a duration/],
    ['ttl: 5 minutes', /must be a duration/],
    ['ttl: 500ms', /must be whole seconds/],
    ['ttl: .nan', /must be a duration/],
    ['aliases: [a.b]', /must be a DNS label/],
    ['aliases: [tasks]', /reserved name/],
    ['backends: [vote]', /must be an IPv4 or IPv6 address/],
    ['backends: [10.0.0.1, 10.0.0.1]', /has 10\.0\.0\.1 again/],
    ['backends: [{address: [10.0.0.1, 10.0.0.2]}]', /one per family/],
    ['backends: [{address: []}]', /one per family/],
    ['backends: [{adress: 10.0.0.1}]', /adress: is an unknown field; did you mean address/],
    ['backends: [{address: 10.0.0.1, weight: 65536}]', /must be an integer 0\.\.65535/],
    ['backends: [{address: 10.0.0.1, state: up}]', /must be one of active, draining, down/],
    ['backends: [{address: 10.0.0.1, slot: Tasks}]', /reserved name/],
    ['networks: [net]', /cannot stand beside network/],
  ]
  for (const [fields, wanted] of cases) {
    const found = mistakesOf(fields)
    t.equal(found.length, 1, fields)
    t.match(found[0], wanted, fields)
    t.match(found[0], /^f:6:\d+ services\[0\]\./, fields)
  }
  t.end()
})

t.test('names are DNS labels', (t) => {
  const name = (text: string): string[] =>
    mistakes(`${HEAD}services: [{name: ${JSON.stringify(text)}, network: net}]\n`)
  for (const ok of ['a', '1', 'my_stack_vote', 'x-1', 'x'.repeat(63)]) t.same(name(ok), [], ok)
  for (const bad of ['', '-a', 'a-', '_a', 'a.b', 'a b', 'é', 'x'.repeat(64), 'a/b', 'TASKS']) {
    t.equal(name(bad).length, 1, bad)
  }
  t.end()
})

t.test('networks are checked too', (t) => {
  const of = (fields: string): string[] =>
    mistakes(`version: 1\nnetworks:\n  - {name: n, ${fields}}\n`)
  const cases: [string, RegExp][] = [
    ['subnets: []', /at least one/],
    ['subnets: [10.0.0.7/24]', /has host bits set; did you mean 10\.0\.0\.0\/24\?/],
    ['subnets: [10.0.0.0/24, 10.1.0.0/24]', /subnets\[1\]: is a second IPv4 range/],
    ['subnets: [10.0.0.0]', /not address\/prefix/],
    ['subnets: [10.0.0.0/24], pool: ["fd00::/64"]', /the network has no such subnet/],
    ['subnets: [10.0.0.0/24], reserved: [x]', /IPv4 or IPv6 address/],
    ['subnets: [10.0.0.0/24], attach: {namespace: run}', /absolute path/],
    ['subnets: [10.0.0.0/24], attach: {bridge: a/b}', /interface name/],
    ['subnets: [10.0.0.0/24], attach: {interfaces: veth}', /must be a list/],
    ['subnets: [10.0.0.0/24], dns: {listen: ["10.0.0.2:0"]}', /port must be 1\.\.65535, got 0/],
  ]
  for (const [fields, wanted] of cases) {
    const found = of(fields)
    t.equal(found.length, 1, fields)
    t.match(found[0], wanted)
  }
  t.end()
})

t.test('one bad entry leaves the others alone', (t) => {
  const file = parsed(
    parseFile(
      'f',
      `${HEAD}  - {name: bad, subnets: 1}
services:
  - {name: a, network: net}
  - 5
  - {name: b, network: net, ports: x}
  - {name: c, network: bad}
  - {name: a, network: net}
  - {name: d, network: net, vip: 10.0.0.9}
  - {name: e, network: net, vip: 10.0.0.9}
  - {name: f, network: net, backends: ["fd00:a::1", 10.0.0.1]}
`,
    ),
  )
  t.same(
    file.services.map(({ items }) => items.map(({ name }) => name)),
    [['a'], [], [], [], [], ['d'], [], ['f']],
  )
  const found = file.services.flatMap((entry) => entry.mistakes)
  t.match(found, [
    { code: 'SCHEMA', place: 'f:8:5 services[1]' },
    { code: 'SCHEMA', place: /^f:9:/ },
    { code: 'REFERENCE', reason: /there is no network "bad", or it has a mistake/ },
    { code: 'DUPLICATE', reason: 'net/a is already defined at f:7:12 services[0].name' },
    { code: 'DUPLICATE', place: /^f:13:/, reason: /10\.0\.0\.9 is taken by service d/ },
  ])
  t.end()
})

t.test('entries with mistakes keep their last good definition', (t) => {
  const body = (a: string, b: string): string =>
    `${HEAD}services:\n  - {${a}}\n  - {${b}}\n  - {name: c, network: net, ttl: 9}\n`
  const first = parsed(parseFile('f', body('name: a, network: net', 'name: b, network: net')))
  const last = {
    networks: first.networks.flatMap(({ items }) => items),
    services: first.services.flatMap(({ items }) => items),
  }
  const names = (text: string): string[] =>
    parsed(parseFile('f', text, last))
      .services.flatMap(({ items }) => items)
      .map(({ name }) => name)
  t.same(names(body('name: A, network: net, ttl: x', 'name: b, network: net')), ['a', 'b', 'c'])
  t.same(names(body('name: a, network: nte', 'name: b, network: net')), ['a', 'b', 'c'])
  t.same(names(body('nam: a, network: net', 'name: b, network: net')), ['a', 'b', 'c'], 'unnamed')
  t.same(
    names(body('name: new, network: n', 'name: b, network: net')),
    ['b', 'c'],
    'never was good',
  )
  t.same(names(`${HEAD}services:\n  - {name: c, network: net}\n`), ['c'], 'removed is removed')
  const badNetwork = body('name: a, network: net', 'name: d, network: net').replace('/24', '/99')
  t.same(names(badNetwork), ['a', 'd', 'c'], "a network's last good definition serves new services")
  t.end()
})

t.test('YAML itself', (t) => {
  t.match(mistakes('version: 1\na: [1\nb: 2\n'), [/^f:\d+:\d+: is not valid YAML: /])
  t.match(mistakes('version: 1\nversion: 1\n'), [/^f:2:1: has the key "version" twice/])
  t.match(mistakes(`${HEAD}services:\n  - {name: a, name: b}\n`), [
    /^f:6:15: has the key "name" twice/,
  ])
  t.match(mistakes('version: 1\n---\nversion: 1\n'), [/multiple documents/])
  t.match(mistakes('version: !!binary x\n'), [/Unresolved tag/])
  t.match(mistakes('version: *nothing\n'), [/alias/i])
  t.match(mistakes('? [1]\n: 2\n'), [/keys must be strings/])
  const aliased = parsed(
    parseFile(
      'f',
      `${HEAD}services:
  - {name: a, network: net, ports: &p [80, 443]}
  - {name: b, network: net, ports: *p}
  - {name: c, network: net, backends: &q [{address: x}]}
  - {name: d, network: net, backends: *q}
`,
    ),
  )
  t.same(aliased.services[1]?.items[0]?.ports.length, 2)
  t.match(aliased.services[3]?.mistakes[0]?.place, /^f:8:53 services\[3\]\.backends\[0\]\.address/)
  t.end()
})

t.test('hostile files end in mistakes, soon', (t) => {
  // Of this process alone: others may keep the machine busy.
  const started = process.cpuUsage()
  const laughs = Array.from({ length: 12 }, (_, i) =>
    i === 0 ? 'a0: &a0 [1,1,1,1,1,1,1,1,1,1]' : `a${i}: &a${i} [${`*a${i - 1},`.repeat(10)}]`,
  ).join('\n')
  const cases: [string, string, RegExp][] = [
    ['laughs', laughs, /aliases expand to too much/],
    ['loop', 'version: &x [*x]\n', /nested deeper|alias/i],
    ['deep', '['.repeat(100_000), /is not valid YAML/],
    ['nested', `version: ${'['.repeat(200)}${']'.repeat(200)}`, /nested deeper than 32/],
    [
      'deep block',
      Array.from({ length: 500 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'),
      /nested/,
    ],
    ['control', 'version: "\0"\n', /./],
    ['number', 'version: 123456789012345678901234567890\n', /must be 1/],
    [
      'keys',
      `{${Array.from({ length: 50_000 }, (_, i) => `k${i}: 1`).join(', ')}}`,
      /unknown field/,
    ],
    ['long', `version: "${'x'.repeat(1_000_000)}"\n`, /must be 1, got "x{56}\.\.\.$/],
  ]
  for (const [name, text, wanted] of cases) {
    const found = mistakes(text)
    t.ok(found.length > 0 && found.some((line) => wanted.test(line)), name)
    if (!found.some((line) => wanted.test(line))) t.comment(found[0]?.slice(0, 300))
  }
  const tookMs = process.cpuUsage(started).user / 1000
  t.comment(`${tookMs} ms`)
  t.end()
})

t.test('keys of Object.prototype are unknown fields like others', (t) => {
  for (const key of ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'prototype']) {
    t.match(mistakes(`version: 1\n${key}: {polluted: 1}\n`), [/is an unknown field/], key)
    t.match(mistakesOf(`${key}: {polluted: 1}`), [/is an unknown field/], key)
    t.match(mistakesOf(`backends: [{address: 10.0.0.1, ${key}: 1}]`), [/is an unknown field/], key)
  }
  t.notOk('polluted' in {})
  t.end()
})

t.test('a wrong type anywhere is a mistake, never an exception', (t) => {
  const wrong = [
    'null',
    'true',
    '7',
    '-1.5',
    '.inf',
    'text',
    '[]',
    '{}',
    '[[]]',
    '[{}]',
    '{a: 1}',
    '""',
  ]
  const fields = {
    service: [
      'name',
      'network',
      'networks',
      'mode',
      'vip',
      'ports',
      'algorithm',
      'ttl',
      'aliases',
      'backends',
    ],
    network: ['name', 'subnets', 'pool', 'reserved', 'attach', 'dns'],
  }
  let tried = 0
  for (const value of wrong) {
    for (const field of fields.service) {
      const base = Object.entries({ name: 'x', network: 'net' }).filter(([key]) => key !== field)
      const entry = [...base.map(([key, v]) => `${key}: ${v}`), `${field}: ${value}`].join(', ')
      t.ok(parseFile('f', `${HEAD}services: [{${entry}}]\n`).ok, entry)
      tried++
    }
    for (const field of fields.network) {
      const base = Object.entries({ name: 'n', subnets: '[10.0.0.0/24]' })
      const rest = base.filter(([key]) => key !== field).map(([key, v]) => `${key}: ${v}`)
      const entry = [...rest, `${field}: ${value}`].join(', ')
      t.ok(parseFile('f', `version: 1\nnetworks: [{${entry}}]\n`).ok, entry)
      tried++
    }
    for (const field of ['version', 'networks', 'services', 'agent']) {
      parseFile('f', `${field === 'version' ? '' : 'version: 1\n'}${field}: ${value}\n`)
      tried++
    }
    parseFile('f', `${value}\n`)
  }
  t.ok(tried > 200)
  t.end()
})

t.test('10,000 services parse in seconds', (t) => {
  const services = Array.from(
    { length: 10_000 },
    (_, i) =>
      `  - name: s${i}\n    network: net\n    ports: [80, "443:8443"]\n    backends:\n` +
      [1, 2, 3].map((j) => `      - 10.${j}.${i >> 8}.${i & 255}\n`).join(''),
  )
  const text = `${HEAD}services:\n${services.join('')}`
  const started = process.cpuUsage()
  const file = parsed(parseFile('f', text))
  const ms = process.cpuUsage(started).user / 1000
  t.equal(file.services.flatMap(({ items }) => items).length, 10_000)
  t.comment(`${(text.length / 1e6).toFixed(1)} MB in ${ms.toFixed(0)} ms`)
  t.end()
})
