/** Datagrams beyond the MTU from outside: to a VIP, to a published port, and by the entry node. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { EdgeLan, LAN, setAlias } from '../lib/edgeLan.js'
import { EDGE, EdgeStage } from '../lib/edgeStage.js'
import type { Namespace } from '../lib/netns.js'

t.setTimeout(240_000)

/**
 * Sends datagrams of growing size and prints how many came back whole, from where they were sent to.
 * One that does not fit a tunnel is answered by an error instead; the next is cut to what fits.
 */
const client = `
import os, socket, sys
host, port = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)
s.connect((host, port))
s.settimeout(3)
good = again = 0
for size in range(1300, 8000, 100):
    data = os.urandom(size // 2).hex().encode()
    for turn in range(4):
        try:
            s.send(data)
            while len(back := s.recv(65536).split(b' ', 1)[1]) != len(data): pass
            good += back == data
            break
        except OSError as error:
            again += 1
            print(size, error, file=sys.stderr)
print(good, again)
`
const SIZES = 67

/** How many had to be sent again. */
async function exchange(t: Test, space: Namespace, host: string, port: number): Promise<number> {
  const { stdout, stderr } = await space.run('python3', ['-c', client, host, String(port)], {
    mayFail: true,
  })
  const [good, again] = stdout.trim().split(' ').map(Number)
  t.equal(good, SIZES, `${host} ${port}: ${stderr}`)
  return again ?? NaN
}

t.test('to a backend of the node, by VIP and by published port', async (t) => {
  const stage = await EdgeStage.build(t, 2)
  for (const { id, space } of stage.backends) {
    const server = space.spawn(process.execPath, [join(import.meta.dirname, '../lib/echo.js'), id])
    await server.printed(/ready/)
  }
  await stage.start(stage.definition('native', { ports: ['53:7/udp'], publish: ['5353:7/udp'] }))
  for (const [host, port] of [
    [EDGE.near4, 53],
    [EDGE.near6, 53],
    [EDGE.node4, 5353],
    [EDGE.node6, 5353],
  ] as const)
    t.equal(await exchange(t, stage.client, host, port), 0, `${host} ${port}: none sent again`)
  for (const host of [EDGE.node4, EDGE.node6]) {
    const ping = await stage.client.run('ping', ['-c', '2', '-i', '0.2', '-s', '4000', host], {
      mayFail: true,
    })
    t.match(ping.stdout, / 0% packet loss/, `the node's own fragments are left to it: ${host}`)
  }
  // What an engine has for what its containers begin. With it goes the tracking of connections, for
  // which a bridge makes one packet of all fragments.
  await stage.node.run('nft', ['add', 'table', 'ip', 'mask'])
  await stage.node.run('nft', [
    ...['add', 'chain', 'ip', 'mask', 'out'],
    '{ type nat hook postrouting priority 100; }',
  ])
  await stage.node.run('nft', [
    ...['add', 'rule', 'ip', 'mask', 'out'],
    ...['ip', 'saddr', '10.1.0.0/24', 'masquerade', 'random'],
  ])
  t.equal(await exchange(t, stage.client, EDGE.near4, 53), 0, 'replies are not masked')
})

const BACKENDS = {
  'there and back': [LAN.backend4, LAN.backend6],
  'which calls the backend by an alias': ['10.99.0.10', 'fd00:99::a'],
} as const

for (const [title, address] of Object.entries(BACKENDS))
  t.test(`by the entry node, ${title}`, async (t) => {
    const lan = await EdgeLan.build(t, 'echo.js')
    await lan.startTaker('node', 'native')
    if (address[0] !== LAN.backend4) {
      setAlias(lan.agents.node, address[0], LAN.backend4)
      setAlias(lan.agents.node, address[1], LAN.backend6)
    }
    await lan.startEntry('native', {
      ports: ['53:7/udp'],
      backends: [{ address, via: [LAN.node4, LAN.node6] }],
    })
    for (const host of [LAN.vip4, LAN.vip6])
      t.ok(
        (await exchange(t, lan.client, host, 53)) <= 3,
        `${host}: sent again until both ends know what fits`,
      )
  })
