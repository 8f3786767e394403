/** A packet that does not fit the tunnel to its backend: the sender is told what would. */
import t from 'tap'
import { EdgeLan, LAN } from '../lib/edgeLan.js'

t.setTimeout(240_000)

/** Sends whole frames that may not be cut; prints the path's MTU as the kernel learns it, then an answer. */
const client = `
import errno, socket, sys, time
IP_MTU_DISCOVER, IP_MTU, PMTUDISC_DO = 10, 14, 2
IPV6_MTU_DISCOVER, IPV6_MTU = 23, 24
host = sys.argv[1]
v6 = ':' in host
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
if v6: s.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DO)
else: s.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
s.connect((host, 53))
mtu = lambda: s.getsockopt(*((socket.IPPROTO_IPV6, IPV6_MTU) if v6 else (socket.IPPROTO_IP, IP_MTU)))
# What begins a flow is not answered, so two exchanges go ahead.
for _ in range(2):
    s.send(b'x')
    s.recv(100)
first = mtu()
headers = 48 if v6 else 28
s.send(b'x' * (first - headers))
deadline = time.monotonic() + 5
while mtu() == first and time.monotonic() < deadline: time.sleep(0.01)
try: s.recv(100)
except OSError as error: said = errno.errorcode[error.errno]
else: said = 'answered'
s.send(b'x' * (mtu() - headers))
print(first, mtu(), said, s.recv(100).decode().split()[0])
`

for (const mode of ['native', 'generic'] as const) {
  t.test(`mode ${mode}: the client learns the tunnel's MTU, and what fits arrives`, async (t) => {
    const lan = await EdgeLan.build(t)
    await lan.startTaker('node', mode)
    await lan.startEntry(mode, {
      backends: [{ address: [LAN.backend4, LAN.backend6], via: [LAN.node4, LAN.node6] }],
    })
    for (const host of [LAN.vip4, LAN.vip6]) {
      const { stdout, stderr } = await lan.client.run('python3', ['-c', client, host], {
        mayFail: true,
      })
      const header = host.includes(':') ? 40 : 20
      t.equal(stdout.trim(), `1500 ${1500 - header} EMSGSIZE beyond`, `${host} ${stderr}`)
    }
    const drops = await lan.agents.entry.metric('fairlead_drops_total', 'reason="too_big"')
    t.ok(drops >= 2, `${drops} are counted`)
  })
}
