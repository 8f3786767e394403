/** Connections through a VIP with real sockets, on both paths and in both families. */
import { createHash } from 'node:crypto'
import t from 'tap'
import { capture } from '../lib/capture.js'
import { bulk } from '../lib/peer.js'
import { CLIENT4, CLIENT6, Stage, VIP4, VIP6 } from '../lib/stage.js'

const megabytes = 100
const hosts = [
  { family: 4, host: VIP4, client: CLIENT4 },
  { family: 6, host: `[${VIP6}]`, client: CLIENT6 },
] as const

/** Sends `rounds` datagrams to HOST from one unconnected socket; prints the answers. */
const udpClient = `
import socket, sys
host, rounds = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
for _ in range(rounds):
    s.sendto(b'x', (host, 53))
    data, peer = s.recvfrom(100)
    print(data.decode(), peer[0], peer[1])
`

/** The peer's address as the client's own socket tells it. */
const peerName = `
import socket, sys
s = socket.create_connection((sys.argv[1], 80), 5)
print(s.getpeername()[0], s.getpeername()[1])
`

function digest(total: number): string {
  const hash = createHash('sha256')
  for (const chunk of bulk(total)) hash.update(chunk)
  return hash.digest('hex')
}

for (const path of ['sock', 'tc'] as const) {
  t.test(`the ${path} path`, async (t) => {
    const stage = await Stage.build(t)
    await stage.start(stage.definition(path === 'sock'))

    for (const { family, host, client } of hosts) {
      t.test(`IPv${family}: balanced in turn, the client's address kept`, async (t) => {
        const answers: string[] = []
        for (let request = 0; request < 10; request++)
          answers.push((await stage.curl(`http://${host}/`)).stdout.trim())
        for (const { id } of stage.backends)
          t.equal(answers.filter((answer) => answer === id).length, 5, `${id}: ${answers.join()}`)
        const seen = (await stage.curl(`http://${host}/client`)).stdout.split(' ')[0]
        t.equal(seen, client)
        const named = await stage.python(peerName, host.replace(/[[\]]/g, ''))
        t.equal(named.stdout.trim(), `${host.replace(/[[\]]/g, '')} 80`, named.stderr)
      })

      t.test(`IPv${family}: ${megabytes} MB arrive intact, both ways`, async (t) => {
        const total = megabytes * 1_000_000
        const get = await stage.client.run('bash', [
          ...['-c', 'curl -sS --max-time 60 "$0" | sha256sum', `http://${host}/bulk?${total}`],
        ])
        t.equal(get.stdout.split(' ')[0], digest(total))
        const post = await stage.client.run(
          'bash',
          [
            ...['-c', 'head -c "$1" /dev/zero | curl -sS --max-time 60 -T - -X POST "$0"'],
            ...[`http://${host}/`, String(total)],
          ],
          { timeoutMs: 70_000 },
        )
        t.equal(
          post.stdout.trim(),
          createHash('sha256').update(Buffer.alloc(total)).digest('hex'),
          post.stderr,
        )
      })

      t.test(`IPv${family}: UDP keeps its backend and hears from the VIP`, async (t) => {
        const vip = host.replace(/[[\]]/g, '')
        const { stdout, stderr } = await stage.python(udpClient, vip, '20')
        const lines = stdout.trim().split('\n')
        t.equal(lines.length, 20, stderr)
        t.equal(new Set(lines).size, 1, 'one backend, one source')
        const [id, seen, , from, port] = lines[0]?.split(' ') ?? []
        t.ok(stage.backends.some((backend) => backend.id === id))
        t.same([seen, from, port], [client, vip, '53'])
      })
    }
  })
}

t.test('what is counted is what was seen', async (t) => {
  const stage = await Stage.build(t)
  // Without segmentation offload every packet is one on the wire, for tcpdump as for us.
  const offloads = ['-K', 'eth0', 'tso', 'off', 'gso', 'off', 'gro', 'off']
  for (const space of [stage.client, ...stage.backends.map(({ space }) => space)])
    await space.run('ethtool', offloads)
  await stage.start(stage.definition(false))
  const vips = `( host ${VIP4} or host ${VIP6} ) and ( tcp or udp )`
  const seen = await capture(stage.lab, stage.client, 'eth0', [
    `dst port 80 and ${vips}`,
    `src port 80 and ${vips}`,
  ])
  for (const { host } of hosts) {
    for (let request = 0; request < 4; request++) await stage.curl(`http://${host}/`)
    await stage.curl(`http://${host}/bulk?200000`)
  }
  const [sent, received] = await seen.stop()
  const of = ['service="web"', 'path="tc"']
  const exposition = (name: string, direction: 'in' | 'out') =>
    stage.agent.metric(`fairlead_${name}`, `direction="${direction}"`, ...of)
  t.equal(await stage.agent.metric('fairlead_connections_total', ...of), 10)
  t.equal(await exposition('packets_total', 'in'), sent?.packets, 'packets in')
  t.equal(await exposition('bytes_total', 'in'), sent?.bytes, 'bytes in')
  t.equal(await exposition('packets_total', 'out'), received?.packets, 'packets out')
  t.equal(await exposition('bytes_total', 'out'), received?.bytes, 'bytes out')
  const { services } = JSON.parse(await stage.agent.command('services', '--json')) as {
    services: { name: string; counters: { path: string; packetsIn: number; bytesOut: number }[] }[]
  }
  const row = services
    .find(({ name }) => name === 'web')
    ?.counters.find(({ path }) => path === 'tc')
  t.equal(row?.packetsIn, sent?.packets, 'the command says the same packets')
  t.equal(row?.bytesOut, received?.bytes, 'and bytes')
})

t.test('the socket path counts connections and payload exactly', async (t) => {
  const stage = await Stage.build(t)
  await stage.start(stage.definition(true))
  // Raw sockets of known sizes: 1,000 bytes sent and none of HTTP's headers guessed.
  const program = `
import socket, sys
sent = received = 0
for host in sys.argv[1:]:
    for _ in range(5):
        s = socket.create_connection((host, 80), 5)
        request = b'GET /bulk?50000 HTTP/1.0\\r\\nx: ' + b'y' * 900 + b'\\r\\n\\r\\n'
        s.sendall(request)
        sent += len(request)
        while True:
            part = s.recv(65536)
            if not part: break
            received += len(part)
        s.close()
print(sent, received)
`
  const { stdout, stderr } = await stage.python(program, VIP4, VIP6)
  const [sent, received] = stdout.trim().split(' ').map(Number)
  t.ok(sent && received, stderr)
  const of = ['service="web"', 'path="sock"']
  t.equal(await stage.agent.metric('fairlead_connections_total', ...of), 10)
  t.equal(await stage.agent.metric('fairlead_bytes_total', 'direction="in"', ...of), sent)
  t.equal(await stage.agent.metric('fairlead_bytes_total', 'direction="out"', ...of), received)
})
