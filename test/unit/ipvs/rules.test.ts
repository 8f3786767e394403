import { readFileSync } from 'node:fs'
import t from 'tap'
import { parseRules, type VirtualService } from '../../../src/ipvs/rules.js'

const SAVED = new URL('../../../../test/vectors/ipvs/saved', import.meta.url)

function services(...lines: string[]): readonly VirtualService[] {
  const rules = parseRules(lines.join('\n'))
  if (!rules.ok) throw new Error(JSON.stringify(rules.bad))
  return rules.services
}

function bad(...lines: string[]): string {
  const rules = parseRules(lines.join('\n'))
  return rules.ok ? '' : rules.bad.map(({ line, reason }) => `${line}: ${reason}`).join('\n')
}

/** The rule as ipvsadm writes it, of all that was read: what is missing was not understood. */
function written(service: VirtualService): string[] {
  const { taken, flags, persistence, prefix, mask, engine, onePacket, scheduler } = service
  const host = (address: string, port: number): string =>
    address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
  const name =
    'mark' in taken
      ? `-f ${taken.mark}${taken.family === 6 ? ' -6' : ''}`
      : `${{ tcp: '-t', udp: '-u', sctp: '--sctp-service' }[taken.protocol]} ` +
        host(taken.address, taken.port)
  const dotted = (bits: number): string =>
    [0, 8, 16, 24].map((at) => 256 - 2 ** (8 - Math.min(8, Math.max(0, bits - at)))).join('.')
  const six = 'mark' in taken ? taken.family === 6 : taken.address.includes(':')
  const granularity = mask ?? (prefix === undefined || six ? prefix : dotted(prefix))
  return [
    [
      ...[`-A ${name} -s ${scheduler}`],
      ...(persistence === undefined ? [] : [`-p ${persistence}`]),
      ...(granularity === undefined ? [] : [`-M ${granularity}`]),
      ...(engine === undefined ? [] : [`--pe ${engine}`]),
      ...(onePacket ? ['-o'] : []),
      ...(flags.length === 0 ? [] : [`-b ${flags.join()}`]),
    ].join(' '),
    ...service.servers.map(({ address, port, forwarding, weight, encapsulation }) => {
      const way = { nat: '-m', direct: '-g', tunnel: '-i' }[forwarding]
      const tunnel = forwarding === 'tunnel' ? ` --tun-type ${encapsulation}` : ''
      return `-a ${name} -r ${host(address, port)} ${way} -w ${weight}${tunnel}`
    }),
  ]
}

t.test('what ipvsadm saves is read, and is the same when it is written again', (t) => {
  const saved = readFileSync(SAVED, 'utf8')
  // How a tunnel is set up further is not kept: those that need it are not carried over.
  const expected = saved.trim().replaceAll(/ --tun-(?:port \d+|nocsum|csum|remcsum)/g, '')
  t.same(services(saved).flatMap(written), expected.split('\n'))
  t.end()
})

t.test('as ipvsadm-restore takes them: long names, comments, defaults', (t) => {
  const [service] = services(
    '# by hand',
    '',
    '\tipvsadm --add-service --tcp-service=192.0.2.1:80 -p   # '.replace(/#.*/, ''),
    'ipvsadm -a -t192.0.2.1:80 --real-server 10.0.0.1 -w=3 --u-threshold 9 -y 4\r',
    '  # the last one',
    '-a -t 192.0.2.1:80 -r 10.0.0.2:8080 --masquerading',
    '-a -t 192.0.2.1:80 -r [fd00::1]:80 --ipip --tun-type gue --tun-port 6080',
  )
  t.match(service, { line: 3, scheduler: 'wlc', persistence: 300, flags: [], onePacket: false })
  t.match(service?.servers, [
    { line: 4, address: '10.0.0.1', port: 80, forwarding: 'direct', weight: 3, upper: 9, lower: 4 },
    { line: 6, address: '10.0.0.2', port: 8080, forwarding: 'nat', weight: 1, upper: 0 },
    { line: 7, address: 'fd00::1', forwarding: 'tunnel', encapsulation: 'gue' },
  ])
  const [direct] = services('-A -t 192.0.2.1:80', '-a -t 192.0.2.1:80 -r 10.0.0.1:8080 -g')
  t.equal(direct?.servers[0]?.port, 80, 'what is not translated keeps its port')
  t.same(services(''), [])
  t.end()
})

t.test('a bad line is named with what is wrong', (t) => {
  const service = '-A -t 192.0.2.1:80 -s rr'
  const cases: readonly (readonly [readonly string[], string])[] = [
    [['nonsense'], '1: "nonsense" is not known'],
    [['-C'], '1: "-C" is not known'],
    [['-A -t www:http'], '1: "www:http" is no address and port in numbers (save with -n)'],
    [['-A -t 192.0.2.1:http'], '1: "192.0.2.1:http" is no address'],
    [['-A -t 192.0.2.1:65536'], '1: port: "65536" is no integer 0..65535'],
    [['-A -t 2001:db8::1:80:1:2:3:4:5'], '1: "2001:db8::1:80:1:2:3:4:5" is no address'],
    [['-A -t [192.0.2.1:80'], '1: "[192.0.2.1:80" is no address'],
    [['-A -t 192.0.2.1:0 -s rr'], '1: port 0, every port, needs persistence (-p)'],
    [['-A'], '1: must name one service: by -t, -u, --sctp-service or -f'],
    [['-A -t 192.0.2.1:80 -f 1'], '1: must name one service'],
    [['-A -f 0'], '1: -f: "0" is no integer 1..4294967295'],
    [['-A -t'], '1: --tcp-service has no value'],
    [['-A -t 192.0.2.1:80 -s'], '1: --scheduler has no value'],
    [['-A -t 192.0.2.1:80 -o=1'], '1: "-o=1": --ops has no value'],
    [['-A -t 192.0.2.1:80 -s rr -s wrr'], '1: --scheduler stands twice'],
    [['-A -t 192.0.2.1:80 -p 0'], '1: -p: "0" is no integer 1..2678400'],
    [['-A -t 192.0.2.1:80 -p 60 -M 24'], '1: -M: "24" is no netmask'],
    [['-A -t [2001:db8::1]:80 -p 60 -M 129'], '1: -M: "129" is no integer 1..128'],
    [['-A -t 192.0.2.1:80 -r 10.0.0.1'], '1: --real-server belongs to -a'],
    [['-A -a -t 192.0.2.1:80'], '1: "-A" is neither'],
    [['-t 192.0.2.1:80 -s rr'], '1: "-t" is neither -A (a service) nor -a (a server of one)'],
    [[service, service], '2: the service is there already, since line 1'],
    [['-a -t 192.0.2.1:80 -r 10.0.0.1'], '1: no line above adds the service of this server'],
    [[service, '', '-a -t 192.0.2.1:80'], '3: must name the server (-r)'],
    [[service, '-a -t 192.0.2.1:80 -r 10.0.0.1 -m -g'], '2: must have one forwarding method'],
    [[service, '-a -t 192.0.2.1:80 -r 10.0.0.1 -s rr'], '2: --scheduler belongs to -A'],
    [[service, '-a -t 192.0.2.1:80 -r 10.0.0.1 -w -1'], '2: --weight has no value'],
    [[service, '-a -t 192.0.2.1:80 -r 10.0.0.1 -w 2147483648'], '2: -w: "2147483648" is no'],
    [[service, '-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type vxlan'], '2: --tun-type: "vxlan"'],
    [
      [service, '-a -t 192.0.2.1:80 -r 10.0.0.1', '-a -t 192.0.2.1:80 -r 10.0.0.1:80'],
      '3: the server is there already, since line 2',
    ],
  ]
  for (const [lines, expected] of cases) {
    const told = bad(...lines)
    t.ok(told.startsWith(expected), `${lines.join(' | ')}: ${told}`)
  }
  t.equal(bad(service, 'x', service, 'y').split('\n').length, 3, 'all of them')
  t.ok(bad(`-A -t ${'9'.repeat(1000)}`).length < 200, 'a long one is told in short')
  t.end()
})
