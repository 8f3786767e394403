/**
 * A firewall in front of containers, as Docker sets one up: what comes from other interfaces is
 * dropped in raw/PREROUTING, and forwarding has a policy of drop. What came in by a NIC for a VIP is
 * delivered all the same, and answered: neither direction passes netfilter.
 */
import t from 'tap'
import { EDGE, EdgeStage } from '../lib/edgeStage.js'

t.setTimeout(240_000)

const RULES = `
table inet firewall {
  chain raw {
    type filter hook prerouting priority raw;
    iifname "eth0" ip daddr 10.1.0.0/24 counter drop
    iifname "eth0" ip6 daddr fd00:1::/64 counter drop
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    counter comment "forwarded"
  }
}
`
const udpClient = `
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
for _ in range(4):
    s.sendto(b'x', (sys.argv[1], 53))
    print(s.recv(100).decode().split()[0])
`

/** Packets that reached the hook of forwarding. */
async function forwarded(stage: EdgeStage): Promise<number> {
  const { stdout } = await stage.node.run('nft', ['list', 'chain', 'inet', 'firewall', 'forward'])
  return Number(/packets (\d+)/.exec(stdout)?.[1] ?? NaN)
}

t.test('a firewall in front of containers', async (t) => {
  const stage = await EdgeStage.build(t, 1)
  await stage.node.run('nft', ['-f', '-'], { input: RULES })
  const [backend] = stage.backends
  if (!backend) throw new Error('no backend')
  for (const mode of ['native', 'generic', 'tc'] as const) {
    stage.agent.write(stage.definition(mode))
    stage.agent.start('--detach-on-exit')
    await stage.agent.ready(60_000)
    const before = await forwarded(stage)
    for (const host of [EDGE.near4, EDGE.near6, EDGE.far4, EDGE.far6]) {
      const url = host.includes(':') ? `http://[${host}]` : `http://${host}`
      const { stdout, stderr } = await stage.curl(`${url}/bulk?300000`)
      t.ok(stdout.length > 200_000, `${mode}: ${host}, TCP ${stderr}`)
      const udp = await stage.client.run('python3', ['-c', udpClient, host], { mayFail: true })
      t.equal(udp.stdout, 'backend-0\n'.repeat(4), `${mode}: ${host}, UDP ${udp.stderr}`)
    }
    t.equal(await forwarded(stage), before, `${mode}: the firewall saw none of it`)
    for (const url of [`http://${backend.v4}`, `http://[${backend.v6}]`]) {
      const past = await stage.curl(url, '--connect-timeout', '1')
      t.equal(past.code, 28, `${mode}: the backend's own address is kept from outside`)
    }
    await stage.agent.stop()
  }
})
