/** From outside through a NIC to a backend on this node: real sockets, every mode, both families. */
import { createHash } from 'node:crypto'
import t from 'tap'
import { bulk } from '../lib/peer.js'
import { EDGE, EdgeStage } from '../lib/edgeStage.js'

const megabytes = 12

t.setTimeout(300_000)

const ways = [
  { title: "a VIP in the NIC's subnet", host4: EDGE.near4, host6: EDGE.near6, tcp: 80, udp: 53 },
  { title: 'a VIP behind the node', host4: EDGE.far4, host6: EDGE.far6, tcp: 80, udp: 53 },
  { title: 'published ports', host4: EDGE.node4, host6: EDGE.node6, tcp: 8080, udp: 5353 },
] as const

const udpClient = `
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
for _ in range(4):
    s.sendto(b'x', (host, port))
    data, peer = s.recvfrom(100)
    print(data.decode(), peer[0], peer[1])
`

function digest(total: number): string {
  const hash = createHash('sha256')
  for (const chunk of bulk(total)) hash.update(chunk)
  return hash.digest('hex')
}

for (const mode of ['native', 'generic', 'tc'] as const) {
  t.test(`mode ${mode}`, async (t) => {
    const stage = await EdgeStage.build(t)
    await stage.start(stage.definition(mode))

    for (const { title, host4, host6, tcp, udp } of ways) {
      for (const host of [host4, host6]) {
        const url = host.includes(':') ? `http://[${host}]:${tcp}` : `http://${host}:${tcp}`
        const client = host.includes(':') ? EDGE.client6 : EDGE.client4

        t.test(`${title}, ${host}: TCP, the client's address kept`, async (t) => {
          const answers = new Set<string>()
          for (let request = 0; request < 4; request++) {
            const { stdout, stderr } = await stage.curl(url)
            answers.add(stdout.trim() || stderr)
          }
          t.same([...answers].sort(), ['backend-0', 'backend-1'])
          const seen = await stage.curl(`${url}/client`)
          t.equal(seen.stdout.split(' ')[0], client, seen.stderr)
        })

        t.test(`${title}, ${host}: UDP, the client's address kept`, async (t) => {
          const { stdout, stderr } = await stage.client.run(
            'python3',
            ['-c', udpClient, host, `${udp}`],
            { mayFail: true },
          )
          const lines = stdout.trim().split('\n')
          t.equal(lines.length, 4, stderr)
          for (const line of lines) {
            t.match(line, new RegExp(`^backend-\\d ${client} \\d+ ${host} ${udp}$`))
          }
        })
      }
    }

    for (const host of [EDGE.near4, `[${EDGE.near6}]`]) {
      t.test(`${host}: ${megabytes} MB arrive intact, both ways`, async (t) => {
        const total = megabytes * 1_000_000
        const get = await stage.client.run('bash', [
          ...['-c', 'curl -sS --max-time 60 "$0" | sha256sum', `http://${host}/bulk?${total}`],
        ])
        t.equal(get.stdout.split(' ')[0], digest(total), get.stderr)
        const post = await stage.client.run('bash', [
          '-c',
          'curl -sS --max-time 60 "$0" | curl -sS --max-time 60 --data-binary @- "$1"',
          ...[`http://${host}/bulk?${total}`, `http://${host}/`],
        ])
        t.equal(post.stdout.trim(), digest(total), post.stderr)
      })
    }

    t.test('a VIP answers ping; a port it has not is refused, as is none of a node', async (t) => {
      for (const host of [EDGE.near4, EDGE.near6]) {
        const ping = await stage.client.run('ping', ['-c1', '-W2', host], { mayFail: true })
        t.equal(ping.code, 0, ping.stdout + ping.stderr)
      }
      t.equal((await stage.curl(`http://${EDGE.near4}:81`)).code, 7)
      t.equal((await stage.curl(`http://[${EDGE.near6}]:81`)).code, 7)
      t.equal((await stage.curl(`http://${EDGE.node4}:81`)).code, 7)
      const node = await stage.client.run('ping', ['-c1', '-W2', EDGE.node4], { mayFail: true })
      t.equal(node.code, 0, 'the node itself answers as ever')
    })

    t.test('the path and the mode are told', async (t) => {
      const metrics = await stage.agent.metrics()
      t.match(metrics, /fairlead_connections_total\{.*path="xdp"\} [1-9]/)
      const program = mode === 'tc' ? 'from_edge' : 'from_wire'
      const [line = ''] = metrics
        .split('\n')
        .filter((text) => text.startsWith('fairlead_attachments') && text.includes(program))
      t.match(line, mode === 'tc' ? /hook="tcx"/ : new RegExp(`hook="xdp",.*mode="${mode}"`))
    })
  })
}
