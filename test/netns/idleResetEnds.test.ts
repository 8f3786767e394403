/**
 * `timeouts.reset`: both ends of an idle connection are blocked in a read when the sweep ends its flow,
 * and both of them hear of a reset, by each way on which both directions pass a node of ours.
 */
import { BpfMap } from 'libbpf-ts'
import t, { type Test } from 'tap'
import type { Agent } from '../lib/agent.js'
import { EdgeLan, LAN, setAlias } from '../lib/edgeLan.js'
import { EDGE, EdgeStage } from '../lib/edgeStage.js'
import { HeldServer } from '../lib/heldServer.js'
import { HeldSockets } from '../lib/heldSockets.js'
import { until, type Namespace } from '../lib/netns.js'
import { CLIENT4, CLIENT6, Stage, VIP4, VIP6 } from '../lib/stage.js'

t.setTimeout(400_000)

/** The sweep runs every five seconds, and more seldom on a busy machine. */
const SWEPT_SECONDS = 40
const IDLE = { timeouts: { established: '3s', reset: true } }
const SERVICE = { ports: ['7/tcp'], publish: ['8080:7/tcp'], ...IDLE }
const BEYOND = [{ address: [LAN.backend4, LAN.backend6], via: [LAN.node4, LAN.node6] }]

// They mostly wait for the same seconds to pass.
t.jobs = 2

interface Dial {
  readonly host: string
  readonly port?: number
  /** The client's address as the backend sees it. */
  readonly seen: string
}

/** How many rows of flows a node has. */
function flowRows({ pins }: Agent): number {
  const counts = ['flows4', 'flows6', 'snats'].map((name) => {
    using map = BpfMap.openPinned(`${pins}/maps/${name}`)
    return map.count()
  })
  return counts.reduce((sum, count) => sum + count, 0)
}

/** Opens a connection by each of them, and is silent. */
async function check(
  t: Test,
  client: Namespace,
  server: HeldServer,
  agent: Agent,
  dials: readonly Dial[],
): Promise<void> {
  const held = new HeldSockets(client)
  t.teardown(async () => held.stop())
  for (const { host, port = 7 } of dials)
    t.equal(await held.open(`${host} ${port}`, 'tcp', host, port), 'backend', `${host}:${port}`)
  for (const { host, port = 7 } of dials)
    t.equal(
      await held.wait(`${host} ${port}`, SWEPT_SECONDS),
      'ECONNRESET',
      `${host}:${port}: the client`,
    )
  for (const { seen } of dials) {
    const those = dials.filter((dial) => dial.seen === seen)
    t.same(
      await server.ended(seen, those.length),
      those.map(() => 'ECONNRESET'),
      `${seen}: the backend`,
    )
  }
  const idle = () => agent.metric('fairlead_connections_ended_total', 'reason="idle"')
  await until('the ends to be counted', async () => (await idle()) >= dials.length)
  await until('the rows to go', () => flowRows(agent) === 0, SWEPT_SECONDS * 1000)
  t.equal(await idle(), dials.length, 'none is counted twice')
}

const near = [
  { host: EDGE.near4, seen: EDGE.client4 },
  { host: EDGE.near6, seen: EDGE.client6 },
]
const published = [
  { host: EDGE.node4, port: 8080, seen: EDGE.client4 },
  { host: EDGE.node6, port: 8080, seen: EDGE.client6 },
]
const lan = [
  { host: LAN.vip4, seen: LAN.client4 },
  { host: LAN.vip6, seen: LAN.client6 },
]

/** A network with one backend that serves. */
async function inside(t: Test) {
  const stage = await Stage.build(t, 1)
  const [backend] = stage.backends
  if (!backend) throw new Error('no backend')
  const server = await HeldServer.start(backend.space, 'backend')
  await stage.start(stage.definition(false, stage.service({ ...SERVICE, publish: [] })))
  return { client: stage.client, agent: stage.agent, backend: backend.space, server }
}

t.test('containers of a network', { buffered: true }, async (t) => {
  const { client, server, agent } = await inside(t)
  await check(t, client, server, agent, [
    { host: VIP4, seen: CLIENT4 },
    { host: VIP6, seen: CLIENT6 },
  ])
})

t.test('a container that dials itself', { buffered: true }, async (t) => {
  const { backend, server, agent } = await inside(t)
  await check(t, backend, server, agent, [
    { host: VIP4, seen: VIP4 },
    { host: VIP6, seen: VIP6 },
  ])
})

for (const mode of ['native', 'tc'])
  t.test(`mode ${mode}: from outside to a backend of the node`, { buffered: true }, async (t) => {
    const stage = await EdgeStage.build(t, 1)
    const [backend] = stage.backends
    if (!backend) throw new Error('no backend')
    const server = await HeldServer.start(backend.space, 'backend')
    await stage.start(stage.definition(mode, SERVICE))
    await check(t, stage.client, server, stage.agent, [...near, ...published])
  })

t.test('from outside to the node itself', { buffered: true }, async (t) => {
  const stage = await EdgeStage.build(t, 0)
  const server = await HeldServer.start(stage.node, 'backend')
  const backends = [{ address: [EDGE.node4, EDGE.node6] }]
  await stage.start(stage.definition('native', { ...SERVICE, publish: [], backends }))
  await check(t, stage.client, server, stage.agent, near)
})

for (const mode of ['native', 'generic'])
  t.test(`mode ${mode}: through a tunnel`, { buffered: true }, async (t) => {
    const stage = await EdgeLan.build(t)
    const server = await HeldServer.start(stage.backend, 'backend')
    await stage.startTaker('node', mode)
    await stage.startEntry(mode, { ...SERVICE, publish: [], backends: BEYOND })
    await check(t, stage.client, server, stage.agents.entry, lan)
  })

t.test('through a tunnel, to a backend that the entry node calls by an alias', async (t) => {
  const stage = await EdgeLan.build(t)
  const server = await HeldServer.start(stage.backend, 'backend')
  await stage.startTaker('node', 'native')
  setAlias(stage.agents.node, '10.99.0.10', LAN.backend4)
  setAlias(stage.agents.node, 'fd00:99::a', LAN.backend6)
  const backends = [{ address: ['10.99.0.10', 'fd00:99::a'], via: [LAN.node4, LAN.node6] }]
  await stage.startEntry('native', { ...SERVICE, publish: [], backends })
  await check(t, stage.client, server, stage.agents.entry, lan)
})

/** The client's host takes and says nothing from when its connections are open. */
async function checkAlone(
  t: Test,
  client: Namespace,
  server: HeldServer,
  dials: readonly Dial[],
): Promise<void> {
  const held = new HeldSockets(client)
  t.teardown(async () => held.stop())
  for (const { host } of dials) t.equal(await held.open(host, 'tcp', host), 'backend', host)
  for (const command of ['iptables', 'ip6tables'])
    for (const chain of ['INPUT', 'OUTPUT'])
      await client.run(command, ['-I', chain, '-p', 'tcp', '-j', 'DROP'])
  for (const { seen } of dials)
    t.same(await server.ended(seen, 1, SWEPT_SECONDS * 1000), ['ECONNRESET'], seen)
  for (const { host } of dials) t.equal(await held.wait(host, 0.1), 'timeout', host)
}

t.test('a client that is gone without a word, of a backend of the node', async (t) => {
  const stage = await EdgeStage.build(t, 1)
  const [backend] = stage.backends
  if (!backend) throw new Error('no backend')
  const server = await HeldServer.start(backend.space, 'backend')
  await stage.start(stage.definition('native', SERVICE))
  await checkAlone(t, stage.client, server, near)
})

t.test('a client that is gone without a word, of a backend beyond the node', async (t) => {
  const stage = await EdgeLan.build(t)
  const server = await HeldServer.start(stage.backend, 'backend')
  await stage.startTaker('node', 'native')
  await stage.startEntry('native', { ...SERVICE, publish: [], backends: BEYOND })
  await checkAlone(t, stage.client, server, lan)
})

t.test('return: dsr-mac, by which answers pass us by: the client alone', async (t) => {
  const stage = await EdgeLan.build(t)
  await stage.answerAsVip()
  const server = await HeldServer.start(stage.host, 'backend')
  const backends = [{ address: [LAN.host4, LAN.host6] }]
  const service = { ...SERVICE, publish: [], return: 'dsr-mac', backends }
  await stage.startEntry('native', service)
  const held = new HeldSockets(stage.client)
  t.teardown(async () => held.stop())
  for (const { host } of lan) t.equal(await held.open(host, 'tcp', host), 'backend', host)
  for (const { host } of lan)
    t.equal(await held.wait(host, SWEPT_SECONDS), 'ECONNRESET', `${host}: the client`)
  await until('the rows to go', () => flowRows(stage.agents.entry) === 0, SWEPT_SECONDS * 1000)
  for (const { seen } of lan) t.same(server.ends(seen), [], `${seen}: the backend`)
})

for (const mode of ['native', 'tc'])
  t.test(`mode ${mode}: return: snat`, { buffered: true }, async (t) => {
    const stage = await EdgeLan.build(t)
    const server = await HeldServer.start(stage.host, 'backend')
    const backends = [{ address: [LAN.host4, LAN.host6] }]
    await stage.startEntry(mode, { ...SERVICE, publish: [], return: 'snat', backends })
    await check(t, stage.client, server, stage.agents.entry, [
      { host: LAN.vip4, seen: LAN.entry4 },
      { host: LAN.vip6, seen: LAN.entry6 },
    ])
  })
