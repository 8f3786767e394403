/**
 * The socket path's counters against what the test's own sockets sent and received: payload bytes
 * and connections, exactly, whoever ends the connection and however.
 */
import t from 'tap'
import { until } from '../lib/netns.js'
import { address4, address6, type Exchange, type Failure, SockScene } from '../lib/sockScene.js'
import type { Counts } from '../lib/sockPath.js'

const NETWORK = 7
const WEB = 1
const VIP4 = '10.60.0.1'
const VIP6 = 'fd60::1'
const HUNDRED_MB = 100 * 1024 * 1024

const scene = await SockScene.build(t, 1)
const path = await scene.balance(t, () => WEB)
path.scope(scene.client, NETWORK)
path.service({
  id: WEB,
  network: NETWORK,
  vips: [VIP4, VIP6],
  ports: [
    ['tcp', 80, 8080],
    ['tcp', 81, 8081],
  ],
  backends: [1, 101],
})

const FAMILIES = [
  { title: 'IPv4', family: 'AF_INET', vip: VIP4, row: 1 },
  { title: 'IPv6', family: 'AF_INET6', vip: VIP6, row: 101 },
  { title: 'v4-mapped', family: 'AF_INET6', vip: `::ffff:${VIP4}`, row: 1 },
]

/** Waits for the connections to close in the kernel; gives up silently, the caller compares. */
async function grown(row: number, before: Counts, settled: (now: Counts) => boolean) {
  const difference = (): Counts => {
    const now = path.counts(row)
    return {
      connections: now.connections - before.connections,
      bytesIn: now.bytesIn - before.bytesIn,
      bytesOut: now.bytesOut - before.bytesOut,
      packetsIn: now.packetsIn - before.packetsIn,
      packetsOut: now.packetsOut - before.packetsOut,
    }
  }
  await until('the counters', () => settled(difference()), 5_000).catch(() => undefined)
  return difference()
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)

for (const { title, family, vip, row } of FAMILIES) {
  for (const end of ['client', 'server', 'client-reset', 'server-reset']) {
    await t.test(`${title}: exact, ended by ${end}`, async (t) => {
      const before = path.counts(row)
      const done = await scene.python<Exchange[]>(`
out([exchange(${family}, '${vip}', up=up, down=down, end='${end}')
     for up, down in [(0, 0), (1, 1), (1, 70000), (70000, 1), (123456, 654321)]])`)
      t.ok(done.every(({ intact }) => intact))
      const sent = sum(done.map((one) => one.sent))
      const received = sum(done.map((one) => one.received))
      const counts = await grown(row, before, (now) => now.bytesIn >= sent)
      t.strictSame(
        { connections: counts.connections, in: counts.bytesIn, out: counts.bytesOut },
        { connections: 5, in: sent, out: received },
      )
      t.ok(counts.packetsIn >= 5 * 3 && counts.packetsIn < 2000, `${counts.packetsIn} in`)
      t.ok(counts.packetsOut >= 5 * 2 && counts.packetsOut < 2000, `${counts.packetsOut} out`)
    })
  }

  await t.test(`${title}: closed with unread data, half-closed, and not spoken on`, async (t) => {
    const before = path.counts(row)
    const [sent, received] = await scene.python<[number, number]>(`
import fcntl, termios
def opened():
    conn = socket.socket(${family}, SOCK_STREAM)
    conn.settimeout(10)
    conn.connect(('${vip}', 80))
    return conn

line = b'{"up": 0, "down": 5000, "end": "client"}\\n'
unread = opened()
unread.sendall(line)
waiting = 0
deadline = time.monotonic() + 5
while time.monotonic() < deadline:
    before, waiting = waiting, struct.unpack('i', fcntl.ioctl(unread, termios.FIONREAD, b'....'))[0]
    if waiting > 5000 and waiting == before:
        break
    time.sleep(0.05)
unread.close()

half = opened()
half.sendall(line)
half.shutdown(socket.SHUT_WR)
got = 0
while data := half.recv(65536):
    got += len(data)
half.close()

silent = opened()
silent.close()
out([2 * len(line), waiting + got])`)
    t.ok(received > 10_000)
    const counts = await grown(row, before, (now) => now.bytesOut >= received)
    t.strictSame(
      { connections: counts.connections, in: counts.bytesIn, out: counts.bytesOut },
      { connections: 3, in: sent, out: received },
    )
  })

  await t.test(`${title}: refused by the backend itself`, async (t) => {
    const before = path.counts(row)
    const [name] = await scene.python<Failure>(
      `out(failure(socket.socket(${family}, SOCK_STREAM).connect, ('${vip}', 81)))`,
    )
    t.equal(name, 'ECONNREFUSED')
    const counts = await grown(row, before, (now) => now.packetsOut > 0)
    t.strictSame(counts, {
      connections: 1,
      bytesIn: 0,
      bytesOut: 0,
      packetsIn: 1,
      packetsOut: counts.packetsOut,
    })
  })

  await t.test(`${title}: one socket, connected twice, counts each connection`, async (t) => {
    const before = path.counts(row)
    const sent = await scene.python<number>(`
line = b'{"up": 0, "down": 0, "end": "client"}\\n'
conn = socket.socket(${family}, SOCK_STREAM)
for _ in range(2):
    conn.connect(('${vip}', 80))
    conn.sendall(line)
    read_line(conn)
    disconnect(conn)
out(2 * len(line))`)
    const counts = await grown(row, before, (now) => now.bytesIn >= sent)
    t.strictSame([counts.connections, counts.bytesIn], [2, sent])
  })
}

for (const { title, family, vip, row } of FAMILIES.slice(0, 2)) {
  await t.test(`${title}: 100 MB both ways, whole and counted`, async (t) => {
    const before = path.counts(row)
    const done = await scene.python<Exchange>(
      `out(exchange(${family}, '${vip}', up=${HUNDRED_MB}, down=${HUNDRED_MB}))`,
    )
    t.equal(done.intact, true, 'sha256 at both ends')
    const counts = await grown(row, before, (now) => now.bytesIn >= done.sent)
    t.strictSame(
      [counts.connections, counts.bytesIn, counts.bytesOut],
      [1, done.sent, done.received],
    )
  })
}

await t.test('a connection dialled directly is not counted', async (t) => {
  const before = path.counts(1)
  const done = await scene.python<Exchange>(`out(exchange(AF_INET, '10.50.0.1', 8080, up=1000))`)
  t.equal(done.intact, true)
  await scene.python(`out(exchange(AF_INET, '${VIP4}'))`)
  const counts = await grown(1, before, (now) => now.bytesIn > 0)
  t.equal(counts.connections, 1)
  t.ok(counts.bytesIn < 1000)
})

for (const { title, family, vip, row } of FAMILIES.slice(0, 2)) {
  await t.test(`${title}: a reused id does not inherit the bytes of its former user`, async (t) => {
    const running = scene.start(`
conn = socket.socket(${family})
conn.connect(('${vip}', 80))
print('connected', flush=True)
sys.stdin.readline()
out(converse(conn, up=1000, down=1000))`)
    await running.printed(/connected/)
    const before = path.counts(row)
    path.backend(row, family === 'AF_INET' ? address4(1) : address6(1), WEB)
    running.child.stdin?.write('\n')
    await running.printed(/"intact": true/)
    await running.exited
    await scene.python(`out(exchange(${family}, '${vip}'))`)
    const counts = await grown(row, before, (now) => now.bytesIn > 0)
    t.equal(counts.connections, 1)
    t.ok(counts.bytesIn < 1000, `${counts.bytesIn} bytes`)
  })
}
