/** `fairlead flows` tells what is in the kernel's tables, as bpftool reads them. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { FlowView } from '../../src/api/schema.js'
import type { Agent } from '../lib/agent.js'
import { EdgeLan, LAN } from '../lib/edgeLan.js'
import { EDGE, EdgeStage } from '../lib/edgeStage.js'
import { run, until } from '../lib/netns.js'
import { CLIENT4, CLIENT6, Stage, VIP4, VIP6 } from '../lib/stage.js'

interface Dumped {
  readonly formatted: {
    readonly key: { readonly protocol: number; readonly client_port: number }
    readonly value: {
      readonly flow: {
        readonly vip_port: number
        readonly flags: number
        readonly last_seen: number
      }
    }
  }
}

/** Rows of a pinned map, by a program that we did not write. */
async function dumped(pins: string, name: string): Promise<Dumped['formatted'][]> {
  const { stdout } = await run('bpftool', ['-j', 'map', 'dump', 'pinned', join(pins, 'maps', name)])
  return (JSON.parse(stdout) as Dumped[]).map(({ formatted }) => formatted)
}

/** bpftool tells __be16 as it lies in memory. */
const swapped = (port: number): number => ((port & 255) << 8) | (port >> 8)

async function flowsOf(of: { agent: Agent }, ...args: string[]): Promise<FlowView[]> {
  const text = await of.agent.command('flows', '--json', ...args)
  return (JSON.parse(text) as { flows: FlowView[] }).flows
}

/** Connects, says one line and keeps the connections; from ports of its own. */
const holding = `
import socket, sys, time
held = []
for at, host in enumerate(sys.argv[1:]):
    s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
    s.bind(('', 41000 + at))
    s.connect((host, 80))
    s.send(b'GET /client HTTP/1.1\\r\\n')
    held.append(s)
    d = socket.socket(s.family, socket.SOCK_DGRAM)
    d.bind(('', 42000 + at))
    d.connect((host, 53))
    d.send(b'x')
    d.recv(99)
print('held', flush=True)
sys.stdin.readline()
held[0].send(b'host: x\\r\\n\\r\\n')
while held[0].recv(4096):
    pass
held[0].close()
print('closed', flush=True)
time.sleep(60)
`

/** A backend that dials its own VIP is the client of itself; and what `top` says of all that. */
async function dialItself(t: Test, stage: Stage): Promise<void> {
  const [one] = stage.backends
  const ports = ['44000', '44001']
  for (const port of ports)
    await one?.space.run('curl', ['-sS', '-m', '5', '--local-port', port, `http://${VIP4}/`])
  const flows = await flowsOf(stage, '--client', one?.v4 ?? '')
  t.same(flows.map(({ client }) => String(client.port)).sort(), ports)
  const own = flows.filter(({ backend }) => backend?.address === one?.v4)
  t.equal(own.length, 1, 'one went to itself, the other one next door')
  t.match(own[0], { seenAs: { address: VIP4 }, client: { address: one?.v4 } })

  const args = ['--once', '--json', '--interval', '1']
  const top = { asked: true }
  const asked = stage.agent.command('top', ...args).finally(() => (top.asked = false))
  while (top.asked) await stage.curl(`http://${VIP4}/`)
  const { rates } = JSON.parse(await asked) as { rates: { service: string; packetsIn: number }[] }
  t.equal(rates.length, 1)
  t.ok((rates[0]?.packetsIn ?? 0) > 0, 'top sees what the kernel counts')
}

t.test('flows of containers are those of the tables, in state, ends and expiry', async (t) => {
  const stage = await Stage.build(t, 2)
  const timeouts = { established: 500, udp: 200 }
  await stage.start(stage.definition(false, stage.service({ timeouts })))
  const client = stage.client.spawn('python3', ['-c', holding, VIP4, VIP6])
  await client.printed(/held/)
  const flows = await until('the first sweep', async () => {
    const found = await flowsOf(stage, '--service', 'net1/web')
    return found.every(({ expiresSeconds }) => expiresSeconds !== undefined) && found
  })

  const rows = (
    await Promise.all(
      ['flows4', 'flows6', 'embryonic4', 'embryonic6'].map((name) =>
        dumped(stage.agent.pins, name),
      ),
    )
  ).flat()
  const told = flows.map(({ client, vip, protocol }) => [client.port, vip.port, protocol].join(' '))
  const there = rows.map(({ key, value }) =>
    [
      swapped(key.client_port),
      swapped(value.flow.vip_port),
      key.protocol === 6 ? 'tcp' : 'udp',
    ].join(' '),
  )
  t.same(told.sort(), there.sort(), 'each row once, and no other')
  t.equal(flows.length, 4)

  const backends = new Set(stage.backends.flatMap(({ v4, v6 }) => [v4, v6]))
  for (const flow of flows) {
    const v6 = flow.vip.address.includes(':')
    t.equal(flow.vip.address, v6 ? VIP6 : VIP4)
    t.equal(flow.client.address, v6 ? CLIENT6 : CLIENT4)
    t.ok(backends.has(flow.backend?.address ?? ''), flow.backend?.address ?? 'none')
    t.equal(flow.backend?.port, flow.vip.port)
    t.match(flow, { path: 'tc', service: 'net1/web' })
    t.equal(flow.seenAs, undefined)
    const [state, seconds] = flow.protocol === 'tcp' ? ['ESTABLISHED', 500] : ['UDP', 200]
    t.equal(flow.state, state)
    const expires = flow.expiresSeconds ?? 0
    t.ok(expires <= seconds + 1 && expires > seconds - 60, `${state} expires in ${expires} s`)
  }

  t.equal((await flowsOf(stage, '--protocol', 'udp', '--vip', `[${VIP6}]:53`)).length, 1)
  t.equal((await flowsOf(stage, '--network', 'net2')).length, 0)
  t.equal((await flowsOf(stage, '--path', 'xdp')).length, 0)
  const before = flows.find(({ client }) => client.port === 41000)?.expiresSeconds ?? 0
  client.child.stdin?.write('\n')
  await client.printed(/closed/)
  const closed = await until('the end of a connection', async () => {
    const [flow] = await flowsOf(stage, '--client', ':41000')
    return flow?.state === 'TIME_WAIT' && flow
  })
  t.ok((closed.expiresSeconds ?? Infinity) <= 31, 'a closed connection goes soon')
  t.ok(before > 31)
  await dialItself(t, stage)

  await stage.agent.apply(stage.definition(false, stage.service({ backends: [] })))
  const left = await flowsOf(stage, '--protocol', 'udp')
  for (const flow of left) t.equal(flow.backend, undefined, 'a backend that is gone is not told')
})

t.test('flows at the edge are those of path xdp', async (t) => {
  const stage = await EdgeStage.build(t, 1)
  await stage.start(stage.definition('generic'))
  const got = await stage.curl(`http://${EDGE.near4}/`, '--local-port', '43000')
  t.equal(got.stdout.trim(), 'backend-0', got.stderr)
  const [flow, ...others] = await flowsOf(stage, '--client', EDGE.client4)
  t.same(others, [])
  t.match(flow, {
    ...{ path: 'xdp', protocol: 'tcp', service: 'net1/web' },
    client: { address: EDGE.client4, port: 43000 },
    vip: { address: EDGE.near4, port: 80 },
    backend: { address: stage.backends[0]?.v4, port: 80 },
  })
})

t.test('with snat the flow tells whom the backend sees', async (t) => {
  const lan = await EdgeLan.build(t)
  await lan.answerPlainly()
  await lan.startEntry('tc', { return: 'snat', backends: [{ address: [LAN.host4, LAN.host6] }] })
  for (const [host, client] of [
    [LAN.vip4, LAN.client4],
    [`[${LAN.vip6}]`, LAN.client6],
  ] as const) {
    const url = `http://${host}/client`
    const { stdout } = await lan.client.run('curl', ['-sS', '-m', '10', url])
    const [address, port] = stdout.trim().split(' ')
    const [flow, ...others] = await flowsOf({ agent: lan.agents.entry }, '--client', client)
    t.same(others, [])
    t.same(flow?.seenAs, { address, port: Number(port) }, 'as the backend itself says')
    t.match(flow, { path: 'xdp', service: 'net1/web', client: { address: client } })
  }
})
