/** How many hops a packet through a VIP seems to have made: none on its network, one through the node. */
import t from 'tap'
import { Way } from '../lib/ways.js'

t.setTimeout(240_000)

/** Answers every datagram (Python 3.11 has no name for IP_RECVTTL) with the TTL or hop limit that it came with. */
const server = `
import socket
IP_RECVTTL = 12
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(('::', 5400))
s.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
print('ready', flush=True)
while True:
    data, ancillary, _, peer = s.recvmsg(100, 256)
    hops = [int.from_bytes(value[:4], 'little') for _, _, value in ancillary]
    s.sendto(' '.join(map(str, hops)).encode(), peer)
`

/** Prints the hops that the backend saw, and those that the answer came with. */
const client = `
import socket, sys
IP_RECVTTL = 12
host = sys.argv[1]
v6 = ':' in host
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
if v6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
else: s.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
s.settimeout(5)
for _ in range(4):
    s.sendto(b'x', (host, 54))
    data, ancillary, _, _ = s.recvmsg(100, 256)
    print(data.decode(), *[int.from_bytes(value[:4], 'little') for _, _, value in ancillary])
`

for (const [name, hops] of [
  ['tc', 64],
  ['xdp', 63],
] as const) {
  t.test(`${name}: a TTL of 64 arrives as ${hops}, there and back`, async (t) => {
    const way = await Way.build(t, name, 1)
    await way.backends[0]?.space.spawn('python3', ['-u', '-c', server]).printed(/ready/)
    await way.start({ ports: ['54:5400/udp'], publish: [] })
    for (const host of way.hosts) {
      const { stdout, stderr } = await way.client.run('python3', ['-c', client, host], {
        mayFail: true,
      })
      const lines = stdout.trim().split('\n')
      t.same(lines, Array(4).fill(`${hops} ${hops}`), `${host} ${stderr}`)
    }
  })
}
