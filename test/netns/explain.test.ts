/** What `fairlead explain` says is what then happens, and saying it changes nothing. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { ExplainParameters, ExplanationView } from '../../src/api/schema.js'
import { formatListen } from '../../src/model/address.js'
import type { Agent } from '../lib/agent.js'
import { Dialler, type Dial } from '../lib/dialler.js'
import { EdgeLan, LAN } from '../lib/edgeLan.js'
import { EDGE, EdgeStage } from '../lib/edgeStage.js'
import { run } from '../lib/netns.js'
import { CLIENT4, CLIENT6, Stage, VIP4, VIP6 } from '../lib/stage.js'

/**
 * Written by the agent once a second, whatever is asked: until when it is sure to answer names, and to
 * know where containers are.
 */
const HEARTBEATS = ['resolving', 'veth_leases']

/** Of packets under way: each that passes leaves something, a kernel's question for routers, too. */
const SCRATCH = ['admissions', 'snat_works']

/** Explaining has scratch of its own. */
async function scratchIsApart(t: Test, pins: string): Promise<void> {
  const shown = async (...args: string[]) =>
    JSON.parse((await run('bpftool', ['-j', ...args])).stdout) as unknown
  const all = (await shown('prog', 'show')) as { name?: string; map_ids?: number[] }[]
  const programs = all.filter(({ name }) => name === 'explain_packet')
  t.ok(programs.length > 0, 'it is loaded')
  for (const name of SCRATCH) {
    const map = (await shown('map', 'show', 'pinned', join(pins, 'maps', name))) as { id: number }
    for (const program of programs) t.notOk(program.map_ids?.includes(map.id), name)
  }
}

/** All of the other pinned maps, as another program reads them. */
async function dumps(pins: string): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const name of readdirSync(join(pins, 'maps'))) {
    if (HEARTBEATS.includes(name) || SCRATCH.includes(name)) continue
    const args = ['-j', 'map', 'dump', 'pinned', join(pins, 'maps', name)]
    // A map of sockets' own storage has no keys to walk.
    const { stdout, code } = await run('bpftool', args, { mayFail: true })
    if (code === 0) found.set(name, rowsOf(stdout))
  }
  return found
}

/** In some order: that of a hash map's walk may change. */
function rowsOf(text: string): string {
  return (JSON.parse(text) as { formatted?: unknown }[])
    .map((row) => JSON.stringify(row.formatted ?? row))
    .sort()
    .join('\n')
}

const limits = { services: 64, backends: 256, slots: 20_000, vips: 256, ports: 256, flows: 1024 }

/** How each service chooses, and what is said of its four backends. */
const SERVICES: readonly (readonly [string, object, (readonly object[])?])[] = [
  ['rr', { algorithm: 'rr' }],
  ['wrr', { algorithm: 'wrr' }, [{ weight: 1 }, { weight: 2 }, { weight: 3 }, { weight: 1 }]],
  ['random', { algorithm: 'random' }],
  ['lc', { algorithm: 'lc' }],
  ['wlc', { algorithm: 'wlc' }, [{ weight: 1 }, { weight: 1 }, { weight: 2 }, { weight: 1 }]],
  ['sh', { algorithm: 'sh' }],
  ['maglev', { algorithm: 'maglev', tableSize: 251 }],
  ['kept', { affinity: { timeout: '60s' } }],
  ['full', { thresholds: { upper: 1, lower: 1 } }],
  ['states', {}, [{}, { state: 'draining' }, { state: 'down' }, { weight: 0 }]],
  ['tiers', {}, [{}, {}, { priority: 1 }, { priority: 1 }]],
  ['open', { ports: [] }],
]
const REFUSING = ['empty', 'ranged'] as const
const ALL = [...SERVICES.map(([name]) => name), ...REFUSING]

const vips = (name: string): [string, string] => {
  const at = 100 + ALL.indexOf(name)
  return [`10.1.0.${at}`, `fd00:1::${at}`]
}

function services(stage: Stage): object[] {
  const backendsOf = (extra: readonly object[] = []) =>
    stage.backends.map(({ v4, v6 }, at) => ({ address: [v4, v6], ...extra[at] }))
  const base = (name: string) => ({ name, network: 'net1', vip: vips(name), ports: [80, '53/udp'] })
  return [
    ...SERVICES.map(([name, service, extra]) => ({
      ...base(name),
      backends: backendsOf(extra),
      ...service,
    })),
    { ...base('empty'), backends: [] },
    {
      ...base('ranged'),
      backends: backendsOf(),
      sourceRanges: { deny: ['10.1.0.0/24', 'fd00:1::/64'] },
    },
  ]
}

class Scene {
  #port = 20_000

  constructor(
    readonly agent: Agent,
    readonly dialler: Dialler,
    readonly clients: readonly [string, string],
    /** By either address. */
    readonly nameOf: (address: string) => string,
    readonly fixed: Partial<ExplainParameters>,
  ) {}

  next(protocol: Dial['protocol'], host: string, port?: number): Dial {
    const numbered = port ?? (protocol === 'tcp' ? 80 : 53)
    return { protocol, host, port: numbered, from: this.#port++ }
  }

  explain(dial: Dial, extra: Partial<ExplainParameters> = {}): Promise<ExplanationView> {
    const client = this.clients[dial.host.includes(':') ? 1 : 0]
    return this.agent.api.explain({
      client: formatListen({ host: client, port: dial.from }),
      vip: formatListen({ host: dial.host, port: dial.port }),
      protocol: dial.protocol,
      ...this.fixed,
      ...extra,
    })
  }
}

/** One new connection: foretold, made, told of again while it is there, and by whom it was answered. */
async function once(t: Test, scene: Scene, name: string, dial: Dial): Promise<void> {
  const what = `${name} ${dial.protocol} ${dial.host}`
  const told = await scene.explain(dial)
  t.equal(told.outcome, 'translated', `${what}: ${told.reason ?? ''}`)
  t.match(told.service, new RegExp(`/${name}$`))
  const said = await scene.dialler.dial(dial)
  const during = dial.protocol === 'tcp' ? said : 'connected'
  t.equal(during, 'connected', what)
  const { flow, backend } = await scene.explain(dial, { established: 'true' })
  const who = await scene.dialler.ask(dial)
  if (scene.fixed.path !== 'sock') {
    t.equal(flow?.used, true, `${what}: it is tracked`)
    t.equal(scene.nameOf(backend?.address ?? ''), who, `${what}: and goes on there`)
  }
  if (told.choice?.certain === true)
    t.equal(scene.nameOf(told.backend?.address ?? ''), who, `${what}: as foretold`)
  const able = told.backends.filter(({ reason }) => ['chosen', 'possible'].includes(reason))
  t.ok(
    able.some(({ address }) => scene.nameOf(address) === who),
    `${what}: one of those named`,
  )
  t.equal(told.backends.filter(({ reason }) => reason === 'chosen').length, 1, what)
}

async function refused(t: Test, scene: Scene, dial: Dial, reason: string): Promise<void> {
  const told = await scene.explain(dial)
  t.match(told, { outcome: 'refused', reason }, `${dial.host} ${dial.protocol}`)
  t.equal(await scene.dialler.dial(dial), 'ConnectionRefusedError', dial.host)
}

/** The last packets of connections may be under way still. */
const QUIET_TRIES = 3

/** Asks everything that can be asked, and finds the maps as they were. */
async function askAll(t: Test, scene: Scene): Promise<void> {
  let changed: string[] = []
  for (let left = QUIET_TRIES; left > 0; left--) {
    const before = await dumps(scene.agent.pins)
    t.ok(before.size > 30, 'there is something to compare')
    for (const name of ALL) for (const host of vips(name)) await askOf(scene, host)
    const after = await dumps(scene.agent.pins)
    changed = [...before.keys()].filter((map) => before.get(map) !== after.get(map))
    if (changed.length === 0) break
  }
  t.same(changed, [], 'all maps are as they were')
}

async function askOf(scene: Scene, host: string): Promise<void> {
  const [protocol, port] = host.includes(':') ? (['udp', 53] as const) : (['tcp', 80] as const)
  await scene.explain(scene.next(protocol, host))
  await scene.explain(scene.next('tcp', host, 9), { established: 'true' })
  // Those of connections that there are, and that have ended.
  for (const from of [20_000, 20_001, 20_004]) await scene.explain({ protocol, host, port, from })
}

for (const path of ['tc', 'sock'] as const) {
  t.test(`${path}: what is foretold comes to pass`, async (t) => {
    const stage = await Stage.build(t, 4)
    await stage.start({
      ...stage.definition(path === 'sock', ...services(stage)),
      agent: { limits },
    })
    t.same(await stage.agent.api.problems(), [])
    const nameOf = (address: string) =>
      stage.backends.find(({ v4, v6 }) => [v4, v6].includes(address))?.id ?? address
    const dialler = new Dialler(stage.client)
    const scene = new Scene(stage.agent, dialler, [CLIENT4, CLIENT6], nameOf, {
      network: 'net1',
      path,
    })
    for (const [name] of SERVICES)
      for (const host of vips(name))
        for (const protocol of ['tcp', 'udp'] as const) {
          // A limit counts both families' connections, and four have room.
          const both = host.includes(':') === (protocol === 'udp')
          const turns = name === 'full' ? 0 : both ? 2 : 1
          for (let turn = 0; turn < turns; turn++)
            await once(t, scene, name, scene.next(protocol, host))
        }
    const [full] = vips('full')
    for (let at = 0; at < 4; at++) await once(t, scene, 'full', scene.next('udp', full))
    if (path === 'tc') await refused(t, scene, scene.next('udp', full), 'overloaded')
    for (const host of vips('empty')) await refused(t, scene, scene.next('tcp', host), 'no_backend')
    for (const host of vips('rr')) await refused(t, scene, scene.next('tcp', host, 81), 'no_port')

    const states = await scene.explain(scene.next('tcp', vips('states')[0]))
    const reasons = (told: ExplanationView) =>
      stage.backends.map(({ v4 }) => told.backends.find((one) => one.address === v4)?.reason)
    t.same(reasons(states), ['chosen', 'draining', 'down', 'weight'])
    const tiers = await scene.explain(scene.next('tcp', vips('tiers')[0]))
    t.same(reasons(tiers).slice(2), ['standby', 'standby'])
    t.equal(tiers.backends.filter(({ reason }) => reason === 'family').length, 4)
    const kept = await scene.explain(scene.next('tcp', vips('kept')[0]))
    t.match(kept, { choice: { by: 'affinity' }, affinity: { used: true } })
    const ranged = scene.next('tcp', vips('ranged')[0])
    if (path === 'tc') {
      t.match(await scene.explain(ranged), { outcome: 'dropped', reason: 'source_denied' })
      t.equal(await dialler.dial({ ...ranged, timeout: 0.5 }), 'TimeoutError')
      // Or it would go on to ask.
      await dialler.close(ranged)
    }
    t.match(await scene.explain(scene.next('tcp', '10.1.0.77')), {
      outcome: 'passed',
      match: 'none',
    })
    await askAll(t, scene)
    await scratchIsApart(t, stage.agent.pins)
  })
}

t.test('a backend that is chosen for itself is told so', async (t) => {
  const stage = await Stage.build(t, 1)
  await stage.start(stage.definition(false))
  const [one] = stage.backends
  if (one === undefined) throw new Error('there is no backend')
  const dialler = new Dialler(one.space)
  const scene = new Scene(stage.agent, dialler, [one.v4, one.v6], () => one.id, { path: 'tc' })
  for (const host of [VIP4, VIP6]) {
    const dial = scene.next('tcp', host)
    const told = await scene.explain(dial)
    t.match(told, { outcome: 'translated', way: { kind: 'hairpin' } })
    await dialler.dial(dial)
    const during = await scene.explain(dial, { established: 'true' })
    t.match(during, { flow: { used: true }, seenAs: { address: host }, way: { kind: 'hairpin' } })
    t.equal(await dialler.ask(dial), one.id)
  }
})

t.test('from outside: VIPs, published ports, and what the command prints', async (t) => {
  const stage = await EdgeStage.build(t, 2)
  await stage.start(stage.definition('auto', { algorithm: 'maglev', tableSize: 251 }))
  const nameOf = (address: string) =>
    stage.backends.find(({ v4, v6 }) => [v4, v6].includes(address))?.id ?? address
  const dialler = new Dialler(stage.client)
  const scene = new Scene(stage.agent, dialler, [EDGE.client4, EDGE.client6], nameOf, {})
  for (const host of [EDGE.near4, EDGE.near6, EDGE.far4, EDGE.far6])
    for (const protocol of ['tcp', 'udp'] as const) {
      await once(t, scene, 'web', scene.next(protocol, host))
      await once(t, scene, 'web', scene.next(protocol, host))
    }
  for (const host of [EDGE.node4, EDGE.node6]) {
    const published = scene.next('tcp', host, 8080)
    t.match(await scene.explain(published), {
      ...{ path: 'xdp', network: '', match: 'published', outcome: 'translated' },
      ...{ choice: { by: 'hash' }, backend: { port: 80 } },
      way: { kind: 'route', interface: 'br0' },
    })
    await once(t, scene, 'web', published)
    const other = await scene.explain(scene.next('tcp', host, 8081))
    t.match(other, { match: 'not_published', outcome: 'passed' })
  }
  const before = await dumps(stage.agent.pins)
  const to = formatListen({ host: EDGE.near4, port: 80 })
  const text = await stage.agent.command('explain', EDGE.client4, to, 'TCP')
  t.match(text, /^choice +maglev: hash [0-9a-f]{16} leads to slot \d+ of 251: /m)
  t.match(text, /^BACKEND +STATE/m)
  const wrong = stage.agent.command('explain', EDGE.client4, to, 'sctp')
  await t.rejects(wrong, /exit 2: fairlead: protocol/)
  const unknown = stage.agent.command('explain', EDGE.client4, to, 'tcp', '--network', 'no')
  await t.rejects(unknown, /exit 4: fairlead: there is no network no/)
  const after = await dumps(stage.agent.pins)
  for (const name of ['cursors', 'counters', 'drops', 'events', 'flows4', 'embryonic4', 'actives'])
    t.equal(after.get(name), before.get(name), name)
})

t.test('return: snat: who the backend will see, and by which way', async (t) => {
  const lan = await EdgeLan.build(t)
  await lan.answerPlainly()
  await lan.startEntry('tc', { return: 'snat', backends: [{ address: [LAN.host4, LAN.host6] }] })
  const dialler = new Dialler(lan.client)
  const clients = [LAN.client4, LAN.client6] as const
  const scene = new Scene(lan.agents.entry, dialler, clients, () => 'plain', {})
  for (const [host, own] of [
    [LAN.vip4, LAN.entry4],
    [LAN.vip6, LAN.entry6],
  ] as const) {
    const dial = scene.next('tcp', host)
    const told = await scene.explain(dial)
    t.match(told, { outcome: 'translated', seenAs: { address: own }, way: { kind: 'snat' } })
    t.equal(await dialler.dial(dial), 'connected')
    const during = await scene.explain(dial, { established: 'true' })
    t.match(during, { flow: { used: true }, seenAs: { address: own } })
    for await (const [flow] of scene.agent.api.flows({ client: `:${dial.from}` }))
      t.same(during.seenAs, flow?.seenAs, 'the port that it has')
  }
})

for (const kind of ['entry', 'dsr-mac', 'dsr-tunnel'] as const)
  t.test(`beyond the node, ${kind}: by which way, and who answers`, async (t) => {
    const lan = await EdgeLan.build(t)
    if (kind === 'entry') await lan.startTaker('node', 'native')
    else await lan.answerAsVip()
    if (kind === 'dsr-tunnel') await lan.startTaker('host', 'native')
    const beyond = { address: [LAN.backend4, LAN.backend6], via: [LAN.node4, LAN.node6] }
    await lan.startEntry(
      'native',
      kind === 'entry'
        ? { backends: [beyond] }
        : { return: kind, backends: [{ address: [LAN.host4, LAN.host6] }] },
    )
    const dialler = new Dialler(lan.client)
    const clients = [LAN.client4, LAN.client6] as const
    const scene = new Scene(lan.agents.entry, dialler, clients, () => kind, {})
    for (const [host, to, next] of [
      [LAN.vip4, kind === 'entry' ? LAN.backend4 : LAN.host4, LAN.node4],
      [LAN.vip6, kind === 'entry' ? LAN.backend6 : LAN.host6, LAN.node6],
    ] as const) {
      const dial = scene.next('udp', host)
      const told = await scene.explain(dial)
      const way = { kind, nextHop: kind === 'entry' ? next : to }
      t.match(told, { outcome: 'translated', path: 'xdp', backend: { address: to }, way })
      t.equal(await dialler.dial(dial), kind === 'entry' ? 'beyond' : 'direct')
      const during = await scene.explain(dial)
      t.match(during, {
        flow: { used: true },
        choice: { by: 'flow' },
        backend: { address: to },
        way,
      })
    }
  })
