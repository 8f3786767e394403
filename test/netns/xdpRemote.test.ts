/** From outside through one node to a backend beyond it: tunnelled there and back, or DSR. */
import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { bulk } from '../lib/peer.js'
import { EdgeLan, LAN, setAlias } from '../lib/edgeLan.js'

const megabytes = 12

t.setTimeout(300_000)
const hosts = [
  { url: `http://${LAN.vip4}`, host: LAN.vip4, client: LAN.client4 },
  { url: `http://[${LAN.vip6}]`, host: LAN.vip6, client: LAN.client6 },
] as const

const udpClient = `
import socket, sys
host, size = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
for _ in range(4):
    s.sendto(b'x' * size, (host, 53))
    data, peer = s.recvfrom(100)
    print(data.decode(), peer[0], peer[1])
`

function digest(total: number): string {
  const hash = createHash('sha256')
  for (const chunk of bulk(total)) hash.update(chunk)
  return hash.digest('hex')
}

function check(t: Test, lan: EdgeLan, id: string): void {
  for (const { url, host, client } of hosts) {
    t.test(`${host}: TCP and UDP, the client's address kept`, async (t) => {
      for (let request = 0; request < 3; request++) {
        const answer = await lan.curl(url)
        t.equal(answer.stdout.trim(), id, answer.stderr)
      }
      const seen = await lan.curl(`${url}/client`)
      t.equal(seen.stdout.split(' ')[0], client, seen.stderr)
      const udp = await lan.client.run('python3', ['-c', udpClient, host, '100'], {
        mayFail: true,
      })
      t.equal(udp.stdout.trim().split('\n').length, 4, udp.stderr)
      for (const line of udp.stdout.trim().split('\n'))
        t.match(line, new RegExp(`^${id} ${client} \\d+ ${host} 53$`))
    })

    t.test(`${host}: ${megabytes} MB arrive intact, both ways`, async (t) => {
      const total = megabytes * 1_000_000
      const get = await lan.client.run('bash', [
        ...['-c', 'curl -sS --max-time 30 "$0" | sha256sum', `${url}/bulk?${total}`],
      ])
      t.equal(get.stdout.split(' ')[0], digest(total), get.stderr)
      const post = await lan.client.run('bash', [
        '-c',
        'curl -sS --max-time 30 "$0" | curl -sS --max-time 30 --data-binary @- "$1"',
        ...[`${url}/bulk?${total}`, url],
      ])
      t.equal(post.stdout.trim(), digest(total), post.stderr)
    })
  }
}

for (const mode of ['native', 'generic'] as const) {
  t.test(`mode ${mode}: by the entry node, there and back`, async (t) => {
    const lan = await EdgeLan.build(t)
    await lan.startTaker('node', mode)
    await lan.startEntry(mode, {
      backends: [{ address: [LAN.backend4, LAN.backend6], via: [LAN.node4, LAN.node6] }],
    })
    check(t, lan, 'beyond')
  })
}

t.test('by the entry node, which calls the backend by an alias', async (t) => {
  const lan = await EdgeLan.build(t)
  await lan.startTaker('node', 'native')
  setAlias(lan.agents.node, '10.99.0.10', LAN.backend4)
  setAlias(lan.agents.node, 'fd00:99::a', LAN.backend6)
  await lan.startEntry('native', {
    backends: [{ address: ['10.99.0.10', 'fd00:99::a'], via: [LAN.node4, LAN.node6] }],
  })
  check(t, lan, 'beyond')
})

// In the generic mode these are cells of the matrix.
t.test('DSR by MAC', async (t) => {
  const lan = await EdgeLan.build(t)
  await lan.answerAsVip()
  await lan.startEntry('native', {
    return: 'dsr-mac',
    backends: [{ address: [LAN.host4, LAN.host6] }],
  })
  check(t, lan, 'direct')
})

t.test('DSR by tunnel', async (t) => {
  const lan = await EdgeLan.build(t)
  await lan.answerAsVip()
  // It takes the packets out of the tunnel; this kernel has no IPIP device that would.
  await lan.startTaker('host', 'native')
  await lan.startEntry('native', {
    return: 'dsr-tunnel',
    backends: [{ address: [LAN.host4, LAN.host6] }],
  })
  check(t, lan, 'direct')
})
