/** Backends that dial their own VIP, with real sockets, on every path and in both families. */
import t, { type Test } from 'tap'
import { EdgeLan, LAN } from '../lib/edgeLan.js'
import { EDGE, EdgeStage } from '../lib/edgeStage.js'
import type { Namespace } from '../lib/netns.js'
import { Stage, VIP4, VIP6 } from '../lib/stage.js'

const rounds = 1_000

/** Dials HOST over and over by TCP and UDP; prints how many answers each backend gave. */
const program = `
import collections, socket, sys
host, rounds = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ':' in host else socket.AF_INET
for kind in ('tcp', 'udp'):
    seen = collections.Counter()
    for _ in range(rounds):
        s = socket.socket(family, socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
        s.settimeout(5)
        try:
            s.connect((host, 80 if kind == 'tcp' else 53))
            s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
            data = s.recv(4096)
            while kind == 'tcp':
                part = s.recv(4096)
                if not part: break
                data += part
            seen[data.decode().split()[-1 if kind == 'tcp' else 0]] += 1
        except OSError as error:
            seen[type(error).__name__] += 1
            if seen[type(error).__name__] > 3: break
        s.close()
    print(kind, *sorted(f'{name}={count}' for name, count in seen.items()))
`

/** Dials, and compares who answered with what each of `ids` should have. */
async function dials(
  t: Test,
  space: Namespace,
  host: string,
  ids: readonly string[],
  each: number,
) {
  const rounds = each * ids.length
  const { stdout, stderr } = await space.run('python3', ['-c', program, host, String(rounds)], {
    timeoutMs: 60_000,
    mayFail: true,
  })
  const [tcp = '', udp = ''] = stdout.split('\n')
  const share = [...ids].sort().map((id) => `${id}=${each}`)
  t.equal(tcp, `tcp ${share.join(' ')}`, `${host} ${stderr}`)
  // A datagram socket that draws a port of an earlier one goes on with that one's flow.
  const got = [...udp.matchAll(/=(\d+)/g)].map(([, number]) => Number(number))
  t.equal(
    got.reduce((sum, number) => sum + number, 0),
    rounds,
    `${host} ${udp}`,
  )
  t.equal(got.length, ids.length, udp)
  for (const number of got) t.ok(Math.abs(number - each) <= rounds / 50, udp)
}

for (const path of ['sock', 'tc'] as const) {
  for (const count of [1, 2]) {
    t.test(`the ${path} path, ${count} backends`, async (t) => {
      const stage = await Stage.build(t, count)
      const [backend] = stage.backends
      if (!backend) throw new Error('no backend')
      const network = {
        ...stage.network(false),
        attach: { bridge: 'br0', sockets: path === 'sock' ? [backend.space.path] : [] },
      }
      await stage.start({ networks: [network], services: [stage.service()] })
      for (const host of [VIP4, VIP6]) {
        const ids = stage.backends.map(({ id }) => id)
        await dials(t, backend.space, host, ids, rounds / count)
      }
    })
  }
}

t.test('a node of the edge, by VIPs elsewhere and by its published ports', async (t) => {
  const stage = await EdgeStage.build(t, 2)
  const [backend] = stage.backends
  if (!backend) throw new Error('no backend')
  await stage.start(stage.definition('native', { publish: ['80:80', '53:53/udp'] }))
  const ids = stage.backends.map(({ id }) => id)
  const hosts = [EDGE.near4, EDGE.near6, EDGE.node4, EDGE.node6]
  for (const host of hosts) await dials(t, backend.space, host, ids, BEYOND_ROUNDS / 2)
  t.equal(await stage.agent.metric('fairlead_drops_total'), 0, 'nothing was dropped')
  const counted = await stage.agent.metric('fairlead_connections_total', 'path="tc"')
  const total = hosts.length * 2 * BEYOND_ROUNDS
  t.ok(counted > total / 2 && counted <= total, `${counted} connections`)
})

/**
 * Beyond the entry node: the backend dials a VIP or a published port there, and the entry node chooses
 * it. With `return: dsr` that cannot be: the backend holds the VIP itself, so what it dials stays
 * within its own stack.
 */
const BEYOND_ROUNDS = 100

async function entryWay(lan: EdgeLan, extra: object) {
  await Promise.all([lan.startTaker('node', 'native'), lan.startTaker('host', 'native')])
  await lan.answerPlainly()
  const backends = [
    { address: [LAN.backend4, LAN.backend6], via: [LAN.node4, LAN.node6] },
    { address: [LAN.host4, LAN.host6], via: [LAN.host4, LAN.host6] },
  ]
  // The other's replies go by the node that brought the question, which goes on from there.
  await lan.routeBeyond()
  await lan.host.ip('route', 'add', '10.1.0.0/24', 'via', LAN.entry4)
  await lan.host.ip('route', 'add', 'fd00:1::/64', 'via', LAN.entry6)
  const peers = [LAN.node4, LAN.node6, LAN.host4, LAN.host6]
  await lan.startEntry('native', { ...extra, backends }, { peers })
  return { dialler: lan.backend, ids: ['beyond', 'plain'] }
}

async function snatWay(lan: EdgeLan, extra: object) {
  await lan.answerPlainly()
  await lan.routeBeyond()
  const backends = [{ address: [LAN.host4, LAN.host6] }, { address: [LAN.backend4, LAN.backend6] }]
  await lan.startEntry('native', { ...extra, return: 'snat', backends })
  return { dialler: lan.host, ids: ['plain', 'beyond'] }
}

for (const [name, way] of [
  ['entry', entryWay],
  ['snat', snatWay],
] as const) {
  t.test(`the edge, return: ${name}`, async (t) => {
    const lan = await EdgeLan.build(t)
    const publish = ['80:80', '53:53/udp']
    const { dialler, ids } = await way(lan, { publish })
    for (const host of [LAN.vip4, LAN.vip6, LAN.entry4, LAN.entry6])
      await dials(t, dialler, host, ids, BEYOND_ROUNDS / 2)
    const { entry } = lan.agents
    t.equal(await entry.metric('fairlead_drops_total'), 0, 'nothing was dropped')
    const counted = await entry.metric('fairlead_connections_total', 'path="xdp"')
    const total = 4 * 2 * BEYOND_ROUNDS
    t.ok(counted > total / 2 && counted <= total, `${counted} connections`)
  })
}
