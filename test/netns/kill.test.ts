/** An agent that is killed, over and over: nothing of it is seen on the wire. */
import { readdirSync } from 'node:fs'
import t, { type Test } from 'tap'
import { EdgeLan, LAN } from '../lib/edgeLan.js'
import { Load, LoadScene } from '../lib/loadScene.js'
import { sleep } from '../lib/netns.js'
import { seeded } from '../lib/seeded.js'
import { serveEcho } from '../lib/ways.js'

const KILLS_READY = 30
const KILLS_STARTING = 4
const SEED = 20_260_101
const MAX_DELAY_MS = 700

t.setTimeout(400_000)

t.test('34 killed agents, and no request fails', async (t) => {
  const scene = await LoadScene.build(t, 3)
  const { agent } = scene.stage
  agent.write(scene.definition([0, 1, 2]))
  agent.start()
  await agent.ready(60_000)
  await scene.startLoads()
  await scene.loaded(({ ok, kept }) => ok > 0 && kept > 0)
  const pins = (directory: string) => readdirSync(`${agent.pins}/${directory}`).sort()
  const before = { links: pins('links'), maps: pins('maps') }
  const next = seeded(SEED)
  let kills = 0
  const kill = async (): Promise<void> => {
    await agent.stop('SIGKILL')
    kills++
    agent.start()
  }
  for (let round = 0; round < KILLS_READY; round++) {
    await sleep(next() * MAX_DELAY_MS)
    await kill()
    await agent.ready(60_000)
  }
  for (let round = 0; round < KILLS_STARTING; round++) {
    await kill()
    await sleep(next() * 1_200)
  }
  await kill()
  await agent.ready(60_000)
  t.equal(kills, KILLS_READY + KILLS_STARTING + 1)
  for (const load of scene.loads) {
    const { failed, errors, ok, kept, slowest, ids } = await load.tally()
    t.equal(failed, 0, `${load.path}: no request failed, no connection ended`)
    t.same(errors, [])
    t.ok(ok > 1000, `${load.path}: ${ok} requests`)
    t.ok(kept > 1000, `${load.path}: ${kept} answers on kept connections`)
    t.equal(Object.keys(ids).length, 3, 'every backend was used')
    t.comment(`${load.path}: ${ok} requests, ${kept} kept, slowest ${slowest} ms`)
  }
  t.same({ links: pins('links'), maps: pins('maps') }, before, 'nothing was left behind or lost')
  await agent.stop()
})

/** Services whose backends are on other nodes, by how their replies come back. */
const WAYS = ['entry', 'dsr-mac', 'dsr-tunnel', 'snat'] as const
const vipsOf = (way: (typeof WAYS)[number]): [string, string] => {
  const at = 140 + WAYS.indexOf(way)
  return [`192.0.2.${at}`, `2001:db8::${at}`]
}

/** An entry node, a node with a backend behind it, and a host that answers as VIPs: an agent on each. */
async function buildNodes(t: Test): Promise<EdgeLan> {
  const lan = await EdgeLan.build(t, 'echo.js')
  const held = [...vipsOf('dsr-mac'), ...vipsOf('dsr-tunnel')]
  await lan.holdVips(...held)
  await serveEcho(lan.host, 'direct', ...held, LAN.host4, LAN.host6)
  await lan.routeBeyond()
  const beyond = { address: [LAN.backend4, LAN.backend6] }
  const direct = { address: [LAN.host4, LAN.host6] }
  const backends = {
    entry: [{ ...beyond, via: [LAN.node4, LAN.node6] }],
    'dsr-mac': [direct],
    'dsr-tunnel': [direct],
    snat: [beyond, direct],
  }
  lan.agents.entry.write({
    agent: { edge: { interfaces: ['eth0'], mode: 'native', peers: [LAN.node4, LAN.node6] } },
    networks: [{ name: 'net1', subnets: ['10.1.0.0/24', 'fd00:1::/64'], edge: true }],
    services: WAYS.map((way) => ({
      ...{ name: way, network: 'net1', vip: vipsOf(way), ports: [7, '7/udp'] },
      ...{ return: way, backends: backends[way] },
    })),
  })
  lan.agents.entry.start()
  await Promise.all([
    lan.agents.entry.ready(60_000),
    lan.startTaker('node', 'native'),
    lan.startTaker('host', 'native'),
  ])
  return lan
}

t.test('agents are killed, and nothing between nodes fails', async (t) => {
  const lan = await buildNodes(t)
  const { entry, node, host } = lan.agents
  const loads = new Map<string, Load>()
  for (const way of WAYS)
    loads.set(way, await Load.start('xdp', lan.client, ['--pause', '30', ...vipsOf(way)]))
  for (const load of loads.values()) await load.until(({ ok, kept }) => ok > 0 && kept > 0)
  const next = seeded(SEED)
  for (const killed of [[entry], [node], [entry], [host], [entry, node, host]]) {
    await sleep(next() * MAX_DELAY_MS)
    await Promise.all(killed.map(async (agent) => agent.stop('SIGKILL')))
    await sleep(next() * MAX_DELAY_MS)
    for (const agent of killed) agent.start()
    await Promise.all(killed.map((agent) => agent.ready(60_000)))
  }
  await sleep(500)
  for (const [way, load] of loads) {
    const { failed, errors, ok, kept, slowest } = await load.tally()
    t.equal(failed, 0, `${way}: no request failed, no connection ended`)
    t.same(errors, [])
    t.ok(ok > 100 && kept > 100, `${way}: ${ok} requests, ${kept} answers on kept connections`)
    t.comment(`${way}: ${ok} requests, ${kept} kept, slowest ${slowest} ms`)
  }
  await Promise.all([entry, node, host].map(async (agent) => agent.stop()))
})
