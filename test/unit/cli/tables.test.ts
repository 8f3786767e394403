/** What the commands print, character by character where others read it. */
import t from 'tap'
import type { ApiServerOptions } from '../../../src/api/apiServer.js'
import { Journal } from '../../../src/api/journal.js'
import { shortNumber } from '../../../src/cli/list.js'
import { durationText } from '../../../src/cli/words.js'
import { network, report, service, stateOf } from '../metrics/fixture.js'
import { agentWith } from './stage.js'

const head = [
  'Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes',
  '  -> RemoteAddress:Port',
]

/** Without the line that names the version. */
const body = (text: string): string[] => text.trimEnd().split('\n').slice(1)

t.test('list has the columns of ipvsadm -Ln --stats', async (t) => {
  const { ask } = await agentWith(t)
  const { stdout } = await ask('list')
  t.match(stdout, /^fairlead version \d/)
  t.same(body(stdout), [
    ...head,
    'TCP  10.0.0.9:80                        20      100       80    10000    80000',
    '  -> 10.0.0.5:80                         6       30       24     3000    24000',
    '  -> 10.0.0.6:80                         6       30       24     3000    24000',
  ])
})

t.test('list --path counts one path', async (t) => {
  const { ask } = await agentWith(t)
  t.same(body((await ask('list', '--path', 'sock')).stdout).slice(2), [
    'TCP  10.0.0.9:80                         4       20       16     2000    16000',
    '  -> 10.0.0.5:80                         4       20       16     2000    16000',
    '  -> 10.0.0.6:80                         0        0        0        0        0',
  ])
})

t.test('list: several addresses and ports, the any-port VIP, IPv6, no VIP', async (t) => {
  const counters = report()
  counters.counters = []
  const backends = [
    { address: '10.0.0.5', weight: 1, state: 'active' as const },
    { address: 'fd00:a:1234:5678:9abc:def0:1234:5678', weight: 1, state: 'down' as const },
  ]
  const { ask } = await agentWith(
    t,
    stateOf([
      service({ name: 'any', vips: ['10.0.0.7'], ports: [], backends: [] }),
      service({
        vips: ['10.0.0.9', 'fd00:a::9'],
        ports: [
          { protocol: 'tcp', port: 80, targetPort: 8080 },
          { protocol: 'udp', port: 53, targetPort: 5353 },
        ],
        backends,
      }),
      service({ name: 'names', mode: 'dnsrr', vips: [] }),
    ]),
    counters,
  )
  const zero = '        0        0        0        0        0'
  const none = '        -        -        -        -        -'
  t.same(body((await ask('list')).stdout).slice(2), [
    `ANY  10.0.0.7:0                  ${zero}`,
    `TCP  10.0.0.9:80                 ${zero}`,
    `UDP  10.0.0.9:53                 ${none}`,
    `TCP  [fd00:a::9]:80              ${none}`,
    `UDP  [fd00:a::9]:53              ${none}`,
    `  -> 10.0.0.5:0                  ${zero}`,
    `  -> [fd00:a:1234:5678:9abc:def0:1234:5678]:0${zero}`,
  ])
})

t.test('list shortens large numbers as ipvsadm does, unless exact ones are wanted', async (t) => {
  const told = report()
  const [row] = told.counters
  if (row) told.counters = [{ ...row, bytesIn: 123_456_789, bytesOut: 9_876_543_210 }]
  const { ask } = await agentWith(t, undefined, told)
  t.equal(
    body((await ask('list')).stdout)[2],
    'TCP  10.0.0.9:80                         2       10        8  123456K    9876M',
  )
  t.equal(
    body((await ask('list', '--exact')).stdout)[2],
    'TCP  10.0.0.9:80                         2       10        8 123456789 9876543210',
  )
  const pairs: [number, string][] = [
    [0, '0'],
    [99_999_999, '99999999'],
    [100_000_000, '100000K'],
    [999_999_999, '999999K'],
    [1_000_000_000, '1000M'],
    [99_999_999_999, '99999M'],
    [100_000_000_000, '100G'],
    [1e14, '100T'],
  ]
  for (const [value, text] of pairs) t.equal(shortNumber(value), text)
})

t.test('list --json has the same figures, unshortened', async (t) => {
  const { ask } = await agentWith(t)
  const figures = (scale: number, active: number, inactive: number) => ({
    ...{ packetsIn: 10 * scale, bytesIn: 1000 * scale, packetsOut: 8 * scale },
    ...{ bytesOut: 8000 * scale, connections: 2 * scale },
    ...{ active, inactive },
  })
  t.same(JSON.parse((await ask('list', '--json')).stdout), {
    services: [
      {
        ...{ network: 'overlay1', service: 'vote', algorithm: 'rr', forward: 'Masq' },
        addresses: [{ protocol: 'tcp', address: '10.0.0.9', port: 80 }],
        totals: figures(10, 6, 4),
        backends: [
          { address: '10.0.0.5', port: 80, weight: 1, totals: figures(3, 3, 2) },
          { address: '10.0.0.6', port: 80, weight: 1, totals: figures(3, 3, 2) },
        ],
      },
    ],
  })
})

t.test('list --connections has the columns of ipvsadm -Ln', async (t) => {
  const longest = 'fd00:a:1234:5678:9abc:def0:1234:5678'
  const { ask } = await agentWith(
    t,
    stateOf([
      service({ affinity: { timeoutSeconds: 300, prefix4: 32, prefix6: 128 } }),
      service({
        ...{ name: 'direct', vips: ['10.0.0.7', 'fd00:a::7'], return: 'dsr-tunnel', ports: [] },
        ...{
          algorithm: 'maglev',
          backends: [{ address: longest, weight: 65535, state: 'active' }],
        },
      }),
    ]),
  )
  t.same(body((await ask('list', '--connections')).stdout), [
    'Prot LocalAddress:Port Scheduler Flags',
    '  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn',
    'TCP  10.0.0.9:80 rr persistent 300',
    '  -> 10.0.0.5:80                  Masq    1      3          2',
    '  -> 10.0.0.6:80                  Masq    1      3          2',
    'ANY  10.0.0.7:0 maglev',
    'ANY  [fd00:a::7]:0 maglev',
    `  -> [${longest}]:0 Tunnel  65535  0          0`,
  ])
  const socket = body((await ask('list', '--connections', '--path', 'sock')).stdout)
  t.equal(socket[3], '  -> 10.0.0.5:80                  Masq    1      2          0')
})

t.test('services: columns are as wide as what is in them', async (t) => {
  const long = 's'.repeat(63)
  const { ask } = await agentWith(
    t,
    stateOf([
      service({ name: long, ports: [], backends: [] }),
      service({ vips: ['10.0.0.9', 'fd00:a::9'] }),
      service({
        name: 'web',
        ports: [
          { protocol: 'tcp', port: 80, targetPort: 8080 },
          { protocol: 'udp', port: 443, targetPort: 443 },
        ],
      }),
    ]),
  )
  const pad = ' '.repeat(63 - 4)
  t.same((await ask('services')).stdout.split('\n'), [
    `NETWORK   NAME${pad}  MODE  ALGORITHM  VIPS                PORTS                 BACKENDS  CONNECTIONS`,
    `overlay1  ${long}  vip   rr         10.0.0.9            any                        0/0            0`,
    `overlay1  vote${pad}  vip   rr         10.0.0.9,fd00:a::9  80/tcp                     2/2           20`,
    `overlay1  web${pad}   vip   rr         10.0.0.9            80->8080/tcp,443/udp       2/2            0`,
    '',
  ])
})

t.test('show', async (t) => {
  const { ask } = await agentWith(
    t,
    stateOf(
      [
        service({ aliases: ['poll'] }),
        service({ name: 'web', network: 'a' }),
        service({ name: 'web', network: 'b' }),
      ],
      [],
      [network('a', []), network('b', []), network('overlay1', [])],
    ),
  )
  const { stdout, code } = await ask('show', 'vote')
  t.equal(code, 0)
  t.same(stdout.split('\n'), [
    'name       overlay1/vote',
    'mode       vip',
    'algorithm  rr',
    'VIPs       10.0.0.9',
    'ports      80/tcp',
    'aliases    poll',
    'TTL        5 s',
    '',
    'ADDRESS   WEIGHT  STATE   SLOT  HOSTNAME  PATH  CONNECTIONS  ACTIVE  INPKTS  OUTPKTS  INBYTES  OUTBYTES',
    '10.0.0.5  1       active  1     c0ffee    sock            4       2      20       16     2000     16000',
    '10.0.0.5  1       active  1     c0ffee    tc              2       1      10        8     1000      8000',
    '10.0.0.6  1       active  2     -         tc              6       3      30       24     3000     24000',
    'all                                       sock            4       2      20       16     2000     16000',
    'all                                       tc             16       4      80       64     8000     64000',
    '',
  ])
  t.equal((await ask('show', 'overlay1/vote')).stdout, stdout)
  t.equal((await ask('show', 'Overlay1/VOTE')).stdout, stdout, 'names have no case')
  t.match(await ask('show', 'b/web', '--json'), { code: 0, stdout: '"network": "b"' })
  t.same(await ask('show', 'web'), {
    code: 2,
    stdout: '',
    stderr: 'fairlead: web is on several networks; name one of a/web, b/web\n',
  })
  for (const name of ['nothing', 'overlay1/nothing', 'overlay1/vote/x', '/', '../status']) {
    const { code, stderr } = await ask('show', name)
    t.equal(code, 4, name)
    t.match(stderr, /^fairlead: there is no service .*\n$/)
  }
})

t.test('status', async (t) => {
  const { ask } = await agentWith(t)
  const lines = (await ask('status')).stdout.split('\n')
  t.match(lines.join('\n'), /^uptime +\d+s$/m)
  t.same(
    lines.filter((line) => !line.startsWith('uptime')),
    [
      'version      1.2.3',
      'node         node1',
      'kernel       6.18.0',
      'networks     1',
      'services     1',
      'problems     0',
      'source file  /etc/fairlead.yaml',
      'revision     7; kernel 6, DNS 6',
      'reconcile    40 cycles, 1 failure, 2 rows repaired, last took 12.5 ms',
      'last error   map vips4 is full',
      '',
      'NETWORK   HOOK  MODE  TARGET  PROGRAM         NAMESPACE',
      'overlay1  tcx   -     veth0   from_container  -',
      'overlay1  tcx   -     veth1   from_container  -',
      '',
    ],
  )
})

t.test("status says what of an engine's services is taken over", async (t) => {
  const line = async (takeover: ApiServerOptions['takeover']) => {
    const { ask } = await agentWith(t, undefined, undefined, {
      ...{ ipvs: 'loadable' as const },
      ...(takeover && { takeover }),
    })
    return /^takes over .*$/m.exec((await ask('status')).stdout)?.[0]
  }
  t.equal(await line(undefined), undefined)
  t.equal(await line({ mode: 'all', names: [] }), 'takes over   all; IPVS is loadable')
  t.equal(
    await line({ mode: 'labelled', names: ['vote'] }),
    'takes over   labelled services and vote; IPVS is loadable',
  )
})

t.test('problems, drops, maps and networks', async (t) => {
  const problem = {
    ...{ source: 'file', item: 'service a/b', place: 'f.yaml:3:7 vip' },
    ...{ code: 'VALUE', reason: 'not an address' },
  }
  const { ask } = await agentWith(t, stateOf([], [problem]))
  t.same((await ask('problems')).stdout.split('\n'), [
    'SOURCE  ITEM         CODE   PLACE           REASON',
    'file    service a/b  VALUE  f.yaml:3:7 vip  not an address',
    '',
  ])
  t.equal((await (await agentWith(t)).ask('problems')).stdout, 'no problems\n')
  t.same((await ask('drops')).stdout.split('\n'), [
    'DROP        PATH  COUNT',
    'no_backend  tc        3',
    '',
    'EVENT  PATH  COUNT',
    'arp    tc        5',
    '',
  ])
  t.match((await ask('drops', '--all')).stdout, /^fragment +tc +0$/m)
  t.same((await ask('maps')).stdout.split('\n'), [
    'MAP     ENTRIES  CAPACITY   USED',
    'flows4       12    262144   0.0%',
    'vips4     31000     32768  94.6%',
    '',
  ])
  t.same((await ask('networks')).stdout.split('\n'), [
    'NAME      SUBNETS                  POOLS        DNS          SERVICES',
    'overlay1  10.0.0.0/24,fd00:a::/64  10.0.0.0/24  10.0.0.2:53         0',
    '',
  ])
})

t.test('changes, the newest first, each with its revision', async (t) => {
  const active = { address: '10.0.0.5', weight: 1, state: 'active' } as const
  const [before, after] = (['active', 'down'] as const).map((state) =>
    service({ backends: [active, { ...active, address: '10.0.0.6', state }] }),
  )
  if (before === undefined || after === undefined) throw new Error('there are two')
  const times = ['2026-01-02T03:04:05.000Z', '2026-01-02T03:04:06.000Z'].map((at) => new Date(at))
  const journal = new Journal({ clock: () => times.shift() ?? new Date(0) })
  journal.note({ ...stateOf([before]), revision: 1 })
  journal.note({ ...stateOf([after]), revision: 2 })
  const { ask } = await agentWith(t, stateOf([after]), report(), { journal })
  t.same((await ask('changes')).stdout.split('\n'), [
    'TIME                      REVISION  CHANGE         OF                      BACKEND   FROM    TO    REASON',
    '2026-01-02T03:04:06.000Z         2  backend-state  overlay1/vote           10.0.0.6  active  down  -',
    '2026-01-02T03:04:05.000Z         1  started        1 service on 1 network  -         -       -     -',
    '',
  ])
  const { changes } = JSON.parse((await ask('changes', '--limit', '1', '--json')).stdout) as {
    changes: object[]
  }
  t.match(changes, [{ revision: 2, from: 'active', to: 'down' }])
  t.equal(changes.length, 1)
  t.equal((await (await agentWith(t)).ask('changes')).stdout, 'no changes\n')
})

t.test('reload', async (t) => {
  const { ask } = await agentWith(t, undefined, undefined, { reload: () => Promise.resolve() })
  t.match(await ask('reload'), { code: 0, stdout: 'revision 7' })
})

t.test('durations', (t) => {
  const pairs: [number, string][] = [
    [0.4, '0s'],
    [59.9, '59s'],
    [60, '1m 0s'],
    [3661, '1h 1m'],
    [90_000, '1d 1h'],
  ]
  for (const [seconds, text] of pairs) t.equal(durationText(seconds), text)
  t.end()
})
