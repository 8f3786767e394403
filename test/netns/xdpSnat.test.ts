/** From outside through one node to a backend beyond it that knows nothing of us: `return: snat`. */
import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { EdgeLan, LAN } from '../lib/edgeLan.js'
import { until } from '../lib/netns.js'
import { bulk } from '../lib/peer.js'

t.setTimeout(400_000)

const MEGABYTES = 20
const FLOWS = 3000
const PORTS = { first: 20_000, last: 30_000 }
const HOSTS = [
  { url: `http://${LAN.vip4}`, host: LAN.vip4, client: LAN.client4, entry: LAN.entry4 },
  { url: `http://[${LAN.vip6}]`, host: LAN.vip6, client: LAN.client6, entry: LAN.entry6 },
] as const
const SERVICE = { return: 'snat', ports: [80, '53/udp', '7/udp', '9/udp'] }
const PLAIN = { ...SERVICE, backends: [{ address: [LAN.host4, LAN.host6] }] }

/** Connections that are all open before the first asks who it is. */
const MANY_TCP = `
import resource, socket, sys
host, count = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, count + 100))
all = []
for _ in range(count):
    s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
    s.settimeout(30)
    s.connect((host, 80))
    all.append(s)
for s in all:
    s.sendall(b'GET /client HTTP/1.0\\r\\n\\r\\n')
for s in all:
    text = b''
    while True:
        part = s.recv(4096)
        if not part:
            break
        text += part
    print(text.decode().strip().split('\\n')[-1])
`

/** Sockets that are all open at once; each has to hear its own words. */
/** What a loaded machine loses is sent again; more than a few is no accident. */
const MANY_UDP = `
import resource, socket, sys
host, count = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, count + 100))
lost = 0
def ask(s, text):
    global lost
    for _ in range(2):
        s.send(text)
        try:
            if s.recv(100) == text: return
            raise Exception('somebody else was answered')
        except TimeoutError:
            lost += 1
            if lost > 3: raise
    raise Exception('no answer to either')
all = []
for at in range(count):
    s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.connect((host, 7))
    ask(s, b'hello %d' % at)
    all.append(s)
for at, s in enumerate(all): ask(s, b'again %d' % at)
print('own words', count)
`

const UDP_SIZES = `
import socket, sys
host = sys.argv[1]
s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect((host, 7))
for size in (0, 1, 1000, 1472, 1452, 4000, 9000, 30000):
    data = bytes(i * 7 % 256 for i in range(size))
    for _ in range(3):
        s.send(data)
        if s.recv(65535) != data:
            raise Exception('%d bytes came back otherwise' % size)
print('intact')
`

const REFUSED = `
import socket, sys
host = sys.argv[1]
s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect((host, 9))
s.send(b'anybody?')
try:
    s.recv(100)
    print('answered')
except ConnectionRefusedError:
    print('refused')
`

/** Who says that the datagram's hops were spent, by how many it had; at last who answers. */
const TRACE = `
import select, socket, struct, sys
host, hops = sys.argv[1], int(sys.argv[2])
six = ':' in host
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
level, ttl, err = (41, 16, 25) if six else (0, 2, 11)
s.setsockopt(level, err, 1)
s.connect((host, 53))
for hop in range(1, hops + 1):
    s.setsockopt(level, ttl, hop)
    s.send(b'x')
    poll = select.poll()
    poll.register(s, select.POLLIN | select.POLLERR)
    if not poll.poll(3000):
        print('nobody')
        continue
    try:
        data, control, flags, peer = s.recvmsg(100, 512, socket.MSG_ERRQUEUE)
        of = next(d for l, t, d in control if l == level and t == err)
        print(socket.inet_ntop(s.family, of[24:40] if six else of[20:24]))
    except BlockingIOError:
        print(s.recv(100).decode().split()[0])
`

/** A connection whose request is sent in parts, each when it is told. */
const HELD_TCP = `
import socket, sys
s = socket.create_connection((sys.argv[1], 80), 10)
s.sendall(b'GET / HTTP/1.1\\r\\nhost: x\\r\\n')
print('begun', flush=True)
for part in range(2):
    sys.stdin.readline()
    s.sendall(b'x-part: %d\\r\\n' % part)
    print('sent', flush=True)
s.sendall(b'\\r\\n')
print(s.recv(1000).decode(), flush=True)
`

const BIG_UDP = `
import socket, sys
host = sys.argv[1]
s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
s.connect((host, 53))
for attempt in range(5):
    try:
        s.send(b'x' * 1430)
        print(s.recv(100).decode().split()[0], attempt > 0)
        break
    except (OSError, TimeoutError):
        pass
`

function digest(total: number): string {
  const hash = createHash('sha256')
  for (const chunk of bulk(total)) hash.update(chunk)
  return hash.digest('hex')
}

async function python(lan: EdgeLan, script: string, ...args: string[]) {
  return lan.client.run('python3', ['-c', script, ...args], { mayFail: true, timeoutMs: 120_000 })
}

function checkTransfers(t: Test, lan: EdgeLan, { url, host }: (typeof HOSTS)[number]): void {
  t.test(`${host}: ${MEGABYTES} MB arrive intact, both ways`, async (t) => {
    const total = MEGABYTES * 1_000_000
    const get = await lan.client.run(
      'bash',
      ['-c', 'curl -sS --max-time 60 "$0" | sha256sum', `${url}/bulk?${total}`],
      { timeoutMs: 90_000 },
    )
    t.equal(get.stdout.split(' ')[0], digest(total), get.stderr)
    const post = await lan.client.run(
      'bash',
      [
        '-c',
        'curl -sS --max-time 60 "$0" | curl -sS --max-time 60 --data-binary @- "$1"',
        ...[`${url}/bulk?${total}`, url],
      ],
      { timeoutMs: 90_000 },
    )
    t.equal(post.stdout.trim(), digest(total), post.stderr)
  })
}

// The generic mode is in the matrix.
for (const mode of ['native', 'tc'] as const) {
  t.test(`mode ${mode}: a host on the wire`, async (t) => {
    const lan = await EdgeLan.build(t)
    await lan.answerPlainly()
    await lan.startEntry(mode, PLAIN, { snatPorts: `${PORTS.first}-${PORTS.last}` })
    for (const at of HOSTS) {
      const { url, host, entry } = at
      t.test(
        `${host}: the backend sees the node, each connection by a port of its own`,
        async (t) => {
          const answer = await lan.curl(url)
          t.equal(answer.stdout.trim(), 'plain', answer.stderr)
          const { stdout, stderr } = await python(lan, MANY_TCP, host, String(FLOWS))
          const seen = stdout.trim().split('\n')
          t.equal(seen.length, FLOWS, stderr)
          t.equal(new Set(seen).size, FLOWS, 'no two alike')
          t.same([...new Set(seen.map((line) => line.split(' ')[0]))], [entry])
          const ports = seen.map((line) => Number(line.split(' ')[1]))
          t.ok(
            ports.every((port) => port >= PORTS.first && port <= PORTS.last),
            'of the range',
          )
        },
      )
      t.test(`${host}: as many UDP sockets`, async (t) => {
        const { stdout, stderr } = await python(lan, MANY_UDP, host, String(FLOWS))
        t.equal(stdout.trim(), `own words ${FLOWS}`, stderr)
      })
      t.test(`${host}: datagrams of all sizes, in fragments too`, async (t) => {
        const { stdout, stderr } = await python(lan, UDP_SIZES, host)
        t.equal(stdout.trim(), 'intact', stderr)
      })
      t.test(`${host}: a closed port says so`, async (t) => {
        t.equal((await python(lan, REFUSED, host)).stdout.trim(), 'refused')
      })
      checkTransfers(t, lan, at)
    }
    t.test('counted by path, and nothing dropped', async (t) => {
      const shown = JSON.parse(await lan.agents.entry.command('show', 'web', '--json')) as {
        return: string
        counters: { path: string; connections: number; packetsIn: number; packetsOut: number }[]
      }
      t.equal(shown.return, 'snat')
      t.same(
        shown.counters.map((row) => row.path),
        ['xdp'],
      )
      t.ok((shown.counters[0]?.connections ?? 0) >= 4 * FLOWS)
      t.ok((shown.counters[0]?.packetsOut ?? 0) > 8 * FLOWS)
      const { drops } = JSON.parse(await lan.agents.entry.command('drops', '--json')) as {
        drops: { reason: string; count: number }[]
      }
      t.same(
        drops.filter(({ count }) => count > 0),
        [],
      )
    })
  })
}

t.test('mode native: a backend behind a router, by a path of a smaller MTU', async (t) => {
  const lan = await EdgeLan.build(t)
  await lan.routeBeyond()
  for (const link of ['br0', 'v-backend']) await lan.node.ip('link', 'set', link, 'mtu', '1400')
  await lan.startEntry('native', {
    ...SERVICE,
    backends: [{ address: [LAN.backend4, LAN.backend6] }],
  })
  for (const { url, host, entry } of HOSTS) {
    t.test(`${host}: errors of the router reach the client`, async (t) => {
      const seen = await lan.curl(`${url}/client`)
      t.equal(seen.stdout.split(' ')[0], entry, seen.stderr)
      const router = entry === LAN.entry4 ? LAN.node4 : LAN.node6
      const trace = await python(lan, TRACE, host, '3')
      t.same(trace.stdout.trim().split('\n'), [entry, router, 'beyond'], trace.stderr)
      const big = await python(lan, BIG_UDP, host)
      t.equal(big.stdout.trim(), 'beyond True', 'a datagram, once its sender knows')
      t.match(await lan.client.ip('route', 'get', host), /mtu 1400/)
    })
  }
  t.test('the agent is killed, and the next one goes on', async (t) => {
    const held = lan.client.spawn('python3', ['-c', HELD_TCP, LAN.vip4])
    await held.printed(/begun/)
    lan.agents.entry.process?.child.kill('SIGKILL')
    await lan.agents.entry.process?.exited
    held.child.stdin?.write('go\n')
    await held.printed(/sent/)
    lan.agents.entry.start('--detach-on-exit')
    await lan.agents.entry.ready()
    held.child.stdin?.write('go\n')
    await held.printed(/ 200 OK[^]*beyond/)
    t.equal((await lan.curl(`http://${LAN.vip4}`)).stdout.trim(), 'beyond')
  })
})

t.test(
  'ports that sockets are given, and replies that would not be seen, are problems',
  async (t) => {
    const lan = await EdgeLan.build(t)
    await lan.routeBeyond()
    await lan.startEntry(
      'native',
      { ...SERVICE, backends: [{ address: [LAN.backend4] }] },
      { snatPorts: '40000-41000' },
    )
    const reasons = async () => {
      const text = await lan.agents.entry.command('problems', '--json')
      const { problems } = JSON.parse(text) as { problems: { item: string; reason: string }[] }
      return problems.map(({ item, reason }) => `${item}: ${reason}`).join('\n')
    }
    t.match(await reasons(), /return: snat: 1001 of agent.edge.snatPorts 40000-41000 are in net/)
    await lan.entry.ip('route', 'del', '10.1.0.0/24')
    await until('the problem', async () =>
      (await reasons()).includes(`no route to ${LAN.backend4}`),
    )
    await lan.entry.ip('route', 'add', '10.1.0.0/24', 'dev', 'lo')
    await until('the problem', async () => /reached by lo, which agent.edge/.test(await reasons()))
  },
)
