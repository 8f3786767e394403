import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { checkFile } from '../../../src/checkFile.js'
import type { MarkMeaning } from '../../../src/ipvs/convert.js'
import { importRules, type Imported, type ImportOptions } from '../../../src/ipvs/import.js'
import type { Service } from '../../../src/model/types.js'

const SAVED = readFileSync(new URL('../../../../test/vectors/ipvs/saved', import.meta.url), 'utf8')
const options: ImportOptions = { from: 'rules', network: 'ipvs', interfaces: [], marks: [] }
const marks: readonly MarkMeaning[] = [
  { mark: 256, address: '198.51.100.7', ports: [] },
  {
    mark: 256,
    address: '2001:db8::7',
    ports: [
      { port: 80, protocol: 'tcp' },
      { port: 53, protocol: 'udp' },
    ],
  },
]

interface Checked extends Imported {
  readonly of: (name: string) => Service
  readonly names: readonly string[]
}

/** What `fairlead check` makes of the file, which must not find anything wrong with it. */
function checked(t: Test, rules: string, more: Partial<ImportOptions> = {}): Checked {
  const imported = importRules(rules, { ...options, ...more })
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-import-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'fairlead.yaml')
  writeFileSync(path, imported.text)
  const { state, problems } = checkFile(path)
  t.same(problems, [], 'check finds nothing wrong')
  t.equal(state.services.size, imported.services)
  const of = (name: string): Service => {
    const found = state.services.get(`ipvs/${name}`)
    if (found === undefined) throw new Error(`no service ${name} in\n${imported.text}`)
    return found
  }
  return { ...imported, of, names: [...state.services.values()].map(({ name }) => name) }
}

const told = ({ notes }: Imported) =>
  notes.map(({ line, kind, text }) => `${line} ${kind}: ${text}`)

t.test('what ipvsadm saved means the same as a file', (t) => {
  const imported = checked(t, SAVED, { marks })
  /** Read once more, by other means: `-A` lines with their `-a` lines. */
  const rules = SAVED.trim()
    .split(/\n(?=-A)/)
    .map((block) => block.split('\n'))
  for (const [head = '', ...servers] of rules) {
    const [, flag = '', place = '', scheduler = ''] =
      /^-A (-t|-u|--sctp-service|-f) (\S+(?: -6)?) -s (\w+)/.exec(head) ?? []
    if (flag === '--sctp-service' || place === '300') continue
    const [, vip = '', port = ''] = /^\[?([^\]]*?)\]?:(\d+)$/.exec(place) ?? []
    const service = [...imported.names]
      .map((name) => imported.of(name))
      .find((each) =>
        flag === '-f'
          ? each.name === (place.endsWith('-6') ? 'fwmark-256-v6' : 'fwmark-256')
          : each.vips.includes(vip) &&
            (port === '0'
              ? each.ports.length === 0
              : each.ports.some(
                  (p) => `${p.port}` === port && p.protocol === (flag === '-u' ? 'udp' : 'tcp'),
                )),
      )
    if (service === undefined) {
      t.fail(`nothing came of ${head}`)
      continue
    }
    const [, timeout] = / -p (\d+)/.exec(head) ?? []
    t.equal(service.affinity?.timeoutSeconds, timeout && Number(timeout), head)
    const left = new Set(imported.notes.filter((n) => n.kind === 'left out').map((n) => n.line))
    const lines = SAVED.split('\n')
    const kept = servers.filter((line) => !left.has(lines.indexOf(line) + 1))
    t.equal(service.backends.length, kept.length, `${head}: servers`)
    for (const line of kept) {
      const [, address = '', to = '', way = '', weight = ''] =
        / -r \[?([^\]\s]*?)\]?:(\d+) (-\w) -w (\d+)/.exec(line) ?? []
      const backend = service.backends.find((each) => each.address === address)
      t.ok(backend, line)
      if (scheduler !== 'fo') t.equal(backend?.weight, Math.min(Number(weight), 65_535), line)
      t.equal(service.return, { '-g': 'dsr-mac', '-i': 'dsr-tunnel' }[way], line)
      if (way === '-m' && flag !== '-f' && to !== '0')
        t.equal(`${service.ports[0]?.targetPort}`, to, line)
    }
  }
  t.end()
})

t.test('schedulers', (t) => {
  const of = (scheduler: string): [string, boolean] => {
    const rules = [`-A -t 192.0.2.1:80 -s ${scheduler}`, '-a -t 192.0.2.1:80 -r 10.0.0.1:80 -m']
    const imported = checked(t, rules.join('\n'))
    return [imported.of('tcp-192-0-2-1-80').algorithm, imported.notes.length > 0]
  }
  const near = true
  for (const [scheduler, algorithm, isNear = false] of [
    ['rr', 'rr'],
    ['wrr', 'wrr'],
    ['lc', 'lc'],
    ['wlc', 'wlc'],
    ['fo', 'rr'],
    ['sed', 'wlc', near],
    ['nq', 'wlc', near],
    ['twos', 'wlc', near],
    ['ovf', 'wlc', near],
    ['lblc', 'wlc', near],
    ['lblcr', 'wlc', near],
    ['dh', 'maglev', near],
    ['sh', 'sh', near],
    ['sh -b sh-fallback', 'sh', near],
    ['sh -b sh-port', 'maglev', near],
    ['mh', 'sh', near],
    ['mh -b mh-fallback,mh-port', 'maglev', near],
    ['mh -b flag-2', 'maglev', near],
    ['rr -b flag-2', 'rr'],
    ['newest', 'wrr', near],
  ] as const)
    t.same(of(scheduler), [algorithm, isNear], scheduler)
  t.end()
})

t.test('fo: the heaviest alone, then the next', (t) => {
  const server = (last: number, weight: number): string =>
    `-a -t 192.0.2.1:80 -r 10.0.0.${last} -m -w ${weight}`
  const rules = ['-A -t 192.0.2.1:80 -s fo', server(1, 1), server(2, 9), server(3, 0), server(4, 1)]
  const imported = checked(t, rules.join('\n'))
  t.same(
    imported
      .of('tcp-192-0-2-1-80')
      .backends.map(({ address, weight, priority }) => [...[address.slice(-1), weight, priority]]),
    [
      ['1', 1, 1],
      ['2', 1, 0],
      ['3', 0, 3],
      ['4', 1, 2],
    ],
  )
  t.match(told(imported), [/^1 near: fo: of servers of equal weight/])
  t.end()
})

t.test('what cannot be carried over is told with its line', (t) => {
  const service = '-A -t 192.0.2.1:80 -s rr'
  const server = (last: number, rest: string): string =>
    `-a -t 192.0.2.1:80 -r 10.0.0.${last} ${rest}`
  const cases: readonly (readonly [string, readonly string[], readonly RegExp[]])[] = [
    [
      'ports',
      [service, server(1, '-m'), '-a -t 192.0.2.1:80 -r 10.0.0.2:81 -m'],
      [/^3 left out: .* 81/],
    ],
    ['ways', [service, server(1, '-m'), server(2, '-g')], [/^3 left out: .* in another way/]],
    ['families', [service, '-a -t 192.0.2.1:80 -r [fd00::1]:80 -i'], [/^2 left out: .* family/]],
    ['tunnels', [service, server(1, '-i --tun-type gre')], [/^2 left out: .* GRE/]],
    ['quiet', [service, server(1, '-m -w 0')], [/^1 near: all weights are 0/]],
    [
      'heavy',
      [service, server(1, '-m -w 131070'), server(2, '-m')],
      [/^1 near: weights are scaled/],
    ],
    [
      'thresholds',
      [service, server(1, '-m -x 9'), server(2, '-m')],
      [/^2 left out: thresholds 9 and 0/],
    ],
    ['equal thresholds', [service, server(1, '-m -x 9 -y 4'), server(2, '-m -x 9 -y 4')], []],
    ['long persistence', ['-A -t 192.0.2.1:80 -s rr -p 2678400'], [/^1 near: .* 30 days/]],
    ['no mask', ['-A -t 192.0.2.1:80 -s rr -p 60 -M 0.0.0.0'], [/^1 near: all clients are one/]],
    ['SCTP', ['', '--sctp-service 192.0.2.1:80 -A -s rr'], [/^2 left out: SCTP/]],
    [
      'a VIP that is a server',
      [service, server(1, '-m'), '-A -t 10.0.0.1:80 -s rr'],
      [/^3 left out: service tcp-10-0-0-1-80: .*backend/],
    ],
    [
      'every port beside one',
      [service, '-A -t 192.0.2.1:0 -s rr -p'],
      [/^2 near/, /^2 left out: .*taken/],
    ],
    ['no host', ['-A -t 0.0.0.0:80 -s rr'], [/^1 left out: .* not the address of one host/]],
  ]
  for (const [what, rules, expected] of cases) {
    const imported = checked(t, rules.join('\n'))
    t.match(told(imported), expected, what)
    t.equal(imported.notes.length, expected.length, `${what}: ${told(imported).join()}`)
    for (const { line, text } of imported.notes)
      t.ok(
        imported.text.includes(`# line ${line}, `) && imported.text.includes(text),
        `${what}: in the file`,
      )
  }
  t.end()
})

t.test('what holds for all servers of a service is carried over', (t) => {
  const { of } = checked(
    t,
    [
      '-A -u [2001:db8::1]:53 -s wrr -p 60 -M 64',
      '-a -u [2001:db8::1]:53 -r [fd00::1]:5353 -m -x 9 -y 4 -w 2',
      '-a -u [2001:db8::1]:53 -r [fd00::2]:5353 -m -x 9 -y 4 -w 0',
    ].join('\n'),
  )
  t.match(of('udp-2001-db8--1-53'), {
    vips: ['2001:db8::1'],
    ports: [{ protocol: 'udp', port: 53, targetPort: 5353 }],
    algorithm: 'wrr',
    affinity: { timeoutSeconds: 60, prefix6: 64 },
    thresholds: { upper: 9, lower: 4 },
    timeouts: { udpSeconds: 300 },
    backends: [
      { address: 'fd00::1', weight: 2 },
      { address: 'fd00::2', weight: 0 },
    ],
  })
  t.end()
})

t.test('marks mean what they are said to', (t) => {
  const rules = ['-A -f 256 -s rr', '-a -f 256 -r 10.0.0.1:8080 -m', '-A -f 256 -6 -s rr']
  const imported = checked(t, rules.join('\n'), { marks })
  t.match(imported.of('fwmark-256'), { vips: ['198.51.100.7'], ports: [] })
  t.match(told(imported), [/^1 near: every port .* not to 8080/])
  t.equal(imported.of('fwmark-256-v6').ports.length, 2)
  const without = checked(t, rules.join('\n'))
  t.match(told(without), [/^1 left out: mark 256:/, /^3 left out: mark 256 -6:/])
  t.match(without.text, /^networks: \[\]\nservices: \[\]$/m)
  t.end()
})

t.test('interfaces and the name of the network', (t) => {
  const rules = '-A -t 192.0.2.1:80 -s rr'
  const { text } = importRules(rules, { ...options, interfaces: ['eth0', 'e*'], network: 'on' })
  t.match(text, "edge: { interfaces: [eth0, 'e*'] }")
  t.match(text, "network: 'on'")
  t.throws(() => importRules(rules, { ...options, network: 'a b' }), { code: 'VALUE' })
  t.end()
})

t.test('bad lines are refused together, the first ten in words', (t) => {
  const rules = ['-A -t 192.0.2.1:80 -s rr', ...Array.from({ length: 12 }, () => 'x')]
  t.throws(() => importRules(rules.join('\n'), options), {
    code: 'VALUE',
    message: /^rules:2: "x" is not known\nrules:3: .*\n[^]*\nand 2 bad lines more$/,
  })
  t.end()
})

t.test('ten thousand services', (t) => {
  const rules = Array.from({ length: 10_000 }, (_, i) => {
    const service = `192.0.2.${i % 250}:${1000 + i}`
    return `-A -t ${service} -s rr\n-a -t ${service} -r 10.0.0.1:80 -m`
  })
  const { services, notes } = importRules(rules.join('\n'), options)
  t.equal(services + notes.length, 10_000)
  t.end()
})
