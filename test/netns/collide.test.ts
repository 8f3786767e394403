/**
 * Connections from one port of a client that would be one at the backend: by two VIPs of it, and
 * beside one that dials the backend itself; and after one that has just ended.
 */
import t, { type Test } from 'tap'
import type { Agent } from '../lib/agent.js'
import { EdgeLan, LAN } from '../lib/edgeLan.js'
import { EDGE } from '../lib/edgeStage.js'
import type { Namespace } from '../lib/netns.js'
import { Way } from '../lib/ways.js'

t.setTimeout(240_000)

/** Dials all hosts from one port, then asks each three times, the last one first; prints who answered. */
const PROGRAM = `
import socket, sys
kind, port, *hosts = sys.argv[1:]
socks = []
for host in hosts:
    v6 = ':' in host
    s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET,
                      socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.settimeout(3)
    s.bind(('::' if v6 else '0.0.0.0', int(port)))
    s.connect((host, 7))
    socks.append(s)
answers = set()
for turn in range(3):
    for at, s in reversed(list(enumerate(socks))):
        s.sendall(b'%d of %d\\n' % (turn, at))
        answers.add((at, s.recv(100).decode().strip().replace('%d of %d' % (turn, at), 'asked')))
print(*sorted(answers), sep='\\n')
`

/** Each case is dialled in this order, by TCP and by UDP, from a port of its own. */
async function dial(
  t: Test,
  client: Namespace,
  id: string,
  cases: readonly (readonly string[])[],
): Promise<void> {
  let port = 41_000
  for (const hosts of cases)
    for (const kind of ['tcp', 'udp']) {
      const args = [kind, `${port++}`, ...hosts]
      const { stdout, stderr } = await client.run('python3', ['-c', PROGRAM, ...args], {
        mayFail: true,
      })
      const wanted = hosts.map((_, at) => `(${at}, '${id} asked')`)
      t.same(stdout.trim().split('\n'), wanted, `${args.join(' ')} ${stderr}`)
    }
}

async function collisions(t: Test, agent: Agent, expected: number): Promise<void> {
  const counted = await agent.metric('fairlead_events_total', 'event="collision"')
  t.equal(counted, expected, 'each is counted')
}

t.test('tc: two VIPs, and a direct connection', async (t) => {
  const way = await Way.build(t, 'tc', 1)
  await way.echo()
  const vip = ['10.1.0.9', '10.1.0.19', 'fd00:1::9', 'fd00:1::19']
  await way.start({ vip, ports: [7, '7/udp'] })
  const direct = { 4: '10.1.0.10', 6: 'fd00:1::a' }
  const cases = [
    ['10.1.0.9', '10.1.0.19', direct[4]],
    [direct[4], '10.1.0.9', '10.1.0.19'],
    ['fd00:1::9', 'fd00:1::19', direct[6]],
    [direct[6], 'fd00:1::9', 'fd00:1::19'],
  ]
  await dial(t, way.client, 'backend-0', cases)
  await collisions(t, way.agent, 2 * 2 * cases.length)
})

/**
 * From each of some ports, one host after the other: who answers closes first, and remembers for a while
 * (TIME_WAIT). Prints how many SYNs the client had to send again.
 */
const ENDED = `
import socket, sys
for port in range(43000, 43012):
    for host in sys.argv[1:]:
        v6 = ':' in host
        s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.settimeout(9)
        s.bind(('::' if v6 else '0.0.0.0', port))
        s.connect((host, 7))
        s.sendall(b'get 10\\n')
        while s.recv(100):
            pass
        s.close()
names, values = [line.split() for line in open('/proc/net/netstat') if line.startswith('TcpExt')]
print(values[names.index('TCPSynRetrans')])
`

t.test('tc: another VIP after a connection that the backend has closed', async (t) => {
  const way = await Way.build(t, 'tc', 1)
  await way.echo()
  await way.start({ vip: ['10.1.0.9', '10.1.0.19', 'fd00:1::9', 'fd00:1::19'], ports: [7] })
  for (const hosts of [
    ['10.1.0.9', '10.1.0.19'],
    ['fd00:1::9', 'fd00:1::19'],
  ])
    t.equal(
      (await way.client.run('python3', ['-c', ENDED, ...hosts])).stdout,
      '0\n',
      hosts.join(' '),
    )
})

t.test('the edge: two VIPs of a backend here', async (t) => {
  const way = await Way.build(t, 'xdp', 1)
  await way.echo()
  await way.start({ ports: [7, '7/udp'], publish: ['7:7', '7:7/udp'] })
  const cases = [
    [EDGE.near4, EDGE.far4, EDGE.node4],
    [EDGE.near6, EDGE.far6, EDGE.node6],
  ]
  await dial(t, way.client, 'backend-0', cases)
  await collisions(t, way.agent, 2 * 2 * cases.length)
})

t.test('the edge: two VIPs of a backend beyond', async (t) => {
  const lan = await EdgeLan.build(t, 'echo.js')
  await lan.startTaker('node', 'native')
  await lan.routeBeyond()
  const address = [LAN.backend4, LAN.backend6]
  const ports = [7, '7/udp']
  const pairs = (at: number) => [
    [`192.0.2.${at}`, `192.0.2.${at + 1}`],
    [`2001:db8::${at}`, `2001:db8::${at + 1}`],
  ]
  const [entry, snat] = [pairs(140), pairs(142)]
  const via = [LAN.node4, LAN.node6]
  await lan.startEntry('native', [
    { name: 'entry', vip: entry.flat(), ports, backends: [{ address, via }] },
    { name: 'snat', vip: snat.flat(), ports, return: 'snat', backends: [{ address }] },
  ])
  await dial(t, lan.client, 'beyond', entry)
  await collisions(t, lan.agents.entry, 2 * entry.length)
  await dial(t, lan.client, 'beyond', snat)
  // With snat each flow has a port of its own from the start.
  await collisions(t, lan.agents.entry, 2 * entry.length)
})
