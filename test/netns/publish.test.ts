/** Ports of a node for a service that has no VIP: how its names are answered has no part in it. */
import t from 'tap'
import { EDGE, EdgeStage } from '../lib/edgeStage.js'

t.setTimeout(240_000)

const datagram = `
import socket, sys
host = sys.argv[1]
s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.sendto(b'x', (host, 5353))
print(*s.recv(100).decode().split()[:2])
`

t.test('a service of mode dnsrr is reached by its published ports', async (t) => {
  const stage = await EdgeStage.build(t, 2)
  await stage.start(stage.definition('native', { mode: 'dnsrr', vip: undefined }))
  for (const [host, client] of [
    [EDGE.node4, EDGE.client4],
    [EDGE.node6, EDGE.client6],
  ] as const) {
    const url = `http://${host.includes(':') ? `[${host}]` : host}:8080`
    const ids: string[] = []
    for (let request = 0; request < 4; request++) ids.push((await stage.curl(url)).stdout.trim())
    t.same(ids.sort(), ['backend-0', 'backend-0', 'backend-1', 'backend-1'], host)
    t.equal((await stage.curl(`${url}/client`)).stdout.split(' ')[0], client)
    const { stdout, stderr } = await stage.client.run('python3', ['-c', datagram, host], {
      mayFail: true,
    })
    t.match(stdout.trim(), new RegExp(`^backend-\\d ${client}$`), stderr)
  }
})
