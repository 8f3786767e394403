/** The dataplane by itself, on interfaces and sockets of namespaces that come and go. */
import { existsSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs'
import { Link } from 'libbpf-ts'
import t, { type Test } from 'tap'
import { Dataplane, type DataplaneOptions } from '../../src/dataplane/dataplane.js'
import { detach } from '../../src/dataplane/detach.js'
import { silent } from '../../src/host/log.js'
import type { Attachment, Problem, State } from '../../src/model/types.js'
import { NetLab, run, until, type Namespace } from '../lib/netns.js'
import { LIMITS, newPinPath, OBJECT_DIR, removePins } from '../unit/dataplane/bench.js'
import { backend, network, service, state } from '../unit/dataplane/fixtures.js'

const VIP = '10.77.0.9'

interface Plane {
  readonly lab: NetLab
  readonly node: Namespace
  readonly pinPath: string
  readonly problems: Problem[]
  readonly open: (options?: Partial<DataplaneOptions>) => Promise<Dataplane>
}

async function plane(t: Test): Promise<Plane> {
  const lab = new NetLab()
  const pinPath = newPinPath()
  const opened: Dataplane[] = []
  const problems: Problem[] = []
  t.teardown(async () => {
    for (const dataplane of opened) await dataplane.close()
    await removePins(pinPath)
    await lab.close()
  })
  const node = await lab.namespace('node')
  const open = async (options: Partial<DataplaneOptions> = {}) => {
    const dataplane = await Dataplane.open({
      pinPath,
      objectDir: OBJECT_DIR,
      limits: LIMITS,
      log: silent,
      onProblems: (now) => problems.splice(0, problems.length, ...now),
      ...options,
    })
    opened.push(dataplane)
    return dataplane
  }
  return { lab, node, pinPath, problems, open }
}

function stateOf(revision: number, attachment: Partial<Attachment>): State {
  return state(
    revision,
    [
      network('n', {
        subnets: ['10.77.0.0/24'],
        attachment: { interfaces: [], sockets: [], ...attachment },
      }),
    ],
    [service('n/vote', { vips: [VIP], backends: [backend('10.77.0.3')] })],
  )
}

const targets = (dataplane: Dataplane) =>
  dataplane.readback
    .attachments()
    .map(({ target, program }) => `${target} ${program}`)
    .sort()

async function pings(from: Namespace): Promise<boolean> {
  const { code } = await from.run('ping', ['-c1', '-W1', VIP], { mayFail: true })
  return code === 0
}

const SERVER = `require('net').createServer((s) => s.end('hello')).listen(7777, () => console.log('ready'))`
const CLIENT = `require('net').connect(7777, '${VIP}').on('error', (e) => console.log(e.code)).setTimeout(2000, () => process.exit(1)).pipe(process.stdout)`

/** Retries only while there is no route yet; tells how long the connection took. */
const DIALLER = `
import errno, socket, time
until = time.time() + 15
while time.time() < until:
  started = time.time()
  try:
    with socket.create_connection(('${VIP}', 7777), timeout=10) as s:
      print(s.recv(99).decode(), round((time.time() - started) * 1000), 'ms')
      break
  except OSError as e:
    if e.errno != errno.ENETUNREACH: raise
`

async function fetches(from: Namespace): Promise<string> {
  return (await from.run(process.execPath, ['-e', CLIENT], { mayFail: true })).stdout.trim()
}

t.test('ports of the bridge are attached as they come, and let go', async (t) => {
  const { lab, node, pinPath, problems, open } = await plane(t)
  const dataplane = await open()
  dataplane.apply(stateOf(1, { namespace: node.path, bridge: 'br0' }))
  await dataplane.settled(1)
  t.same(targets(dataplane), [], 'a bridge that is not there yet is waited for')
  t.match(problems, [
    { item: 'network n', code: 'HOST', reason: 'bridge br0 is not there; it is waited for' },
  ])

  await lab.bridge(node, 'br0')
  await until('the problem to go', () => problems.length === 0)
  const started = performance.now()
  const client = await lab.container(node, 'client', {
    addresses: ['10.77.0.2/24'],
    bridge: 'br0',
  })
  await until('the port to be attached', () => targets(dataplane).length === 2)
  const tookMs = performance.now() - started
  t.comment(`attached after ${Math.round(tookMs)} ms`)
  t.same(targets(dataplane), ['v-client from_container', 'v-client to_container'])
  t.ok(await pings(client), 'the VIP answers')

  const server = await lab.container(node, 'server', { addresses: ['10.77.0.3/24'], bridge: 'br0' })
  await until('the second port', () => targets(dataplane).length === 4)
  await server.spawn(process.execPath, ['-e', SERVER]).printed(/ready/)
  t.equal(await fetches(client), 'hello')
  const [row] = await dataplane.readback.counters()
  t.match(row, { service: 'n/vote', backend: '10.77.0.3', path: 'tc', connections: 1 })

  await lab.remove(client)
  await until('the port to be let go', () => targets(dataplane).length === 2)
  await until('its pins to go', () => readdirSync(`${pinPath}/links`).length === 2)
})

t.test('a container that dials before its interface is attached is late, not lost', async (t) => {
  const { lab, node, open } = await plane(t)
  await lab.bridge(node, 'br0')
  const server = await lab.container(node, 'server', { addresses: ['10.77.0.3/24'], bridge: 'br0' })
  await server.spawn(process.execPath, ['-e', SERVER]).printed(/ready/)
  const dataplane = await open()
  dataplane.apply(stateOf(1, { namespace: node.path, bridge: 'br0' }))
  await dataplane.settled(1)
  const client = await lab.namespace('client')
  // Dials as soon as it has a route.
  const dialling = client.run('python3', ['-c', DIALLER])
  await lab.plug(node, client, { addresses: ['10.77.0.2/24'], hostLink: 'v-c', bridge: 'br0' })
  t.match((await dialling).stdout, 'hello')
  t.comment((await dialling).stdout)
  t.match((await dataplane.readback.counters())[0], { path: 'tc', connections: 1 })
})

t.test('a bridge that is made anew gets programs that know it', async (t) => {
  const { lab, node, open } = await plane(t)
  await lab.bridge(node, 'br0')
  const client = await lab.container(node, 'client', { addresses: ['10.77.0.2/24'], bridge: 'br0' })
  const server = await lab.container(node, 'server', { addresses: ['10.77.0.3/24'], bridge: 'br0' })
  await server.spawn(process.execPath, ['-e', SERVER]).printed(/ready/)
  const dataplane = await open()
  dataplane.apply(stateOf(1, { namespace: node.path, bridge: 'br0' }))
  await dataplane.settled(1)
  t.equal(await fetches(client), 'hello', 'a client that was there before')
  await node.ip('link', 'del', 'br0')
  await until('the ports to be let go', () => targets(dataplane).length === 0)
  await lab.bridge(node, 'br0')
  await node.ip('link', 'set', 'v-client', 'master', 'br0')
  await node.ip('link', 'set', 'v-server', 'master', 'br0')
  await until('the ports to be back', () => targets(dataplane).length === 4)
  t.equal(await until('traffic', async () => (await fetches(client)) || undefined), 'hello')
})

t.test('a namespace may come late, go and come again; others do not wait', async (t) => {
  const { lab, node, pinPath, problems, open } = await plane(t)
  const path = `/run/netns/${lab.prefix}-late`
  const dataplane = await open()
  const late = network('late', { attachment: { namespace: path, interfaces: ['v*'], sockets: [] } })
  const early = network('early', {
    attachment: { namespace: node.path, interfaces: ['w*'], sockets: [] },
  })
  await node.ip('link', 'add', 'w0', 'type', 'veth', 'peer', 'name', 'other')
  dataplane.apply(state(1, [late, early], []))
  await dataplane.settled(1)
  t.same(targets(dataplane), ['w0 from_container', 'w0 to_container'])
  const missing = [
    {
      item: 'network late',
      code: 'HOST',
      reason: `namespace ${path} is not there; it is waited for`,
    },
  ]
  t.match(problems, missing)
  for (const round of [1, 2]) {
    const space = await lab.namespace('late')
    await space.ip('link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'other')
    await until(`round ${round}`, () => targets(dataplane).includes('v0 to_container'))
    await until('the problem to go', () => problems.length === 0)
    await lab.remove(space)
    await until('its going', () => targets(dataplane).length === 2)
    await until('its pins', () => readdirSync(`${pinPath}/links`).length === 2)
    t.match(problems, missing, 'and its absence is told again')
  }
})

t.test('a port of a bridge that the network does not name is told', async (t) => {
  const { lab, node, problems, open } = await plane(t)
  await lab.bridge(node, 'br0')
  await lab.container(node, 'one', { addresses: ['10.77.0.2/24'], bridge: 'br0' })
  const dataplane = await open()
  dataplane.apply(stateOf(1, { namespace: node.path, interfaces: ['v-*'] }))
  await dataplane.settled(1)
  t.equal(targets(dataplane).length, 2)
  t.match(problems, [
    { item: 'network n', code: 'HOST', reason: /^v-one is a port of bridge br0,/ },
  ])
  dataplane.apply(stateOf(2, { namespace: node.path, interfaces: ['v-*'], bridge: 'br0' }))
  await dataplane.settled(2)
  await until('the problem to go', () => problems.length === 0)
})

t.test('traffic outlives the agent; the next one updates links in place', async (t) => {
  const { lab, node, pinPath, open } = await plane(t)
  await lab.bridge(node, 'br0')
  const client = await lab.container(node, 'client', { addresses: ['10.77.0.2/24'], bridge: 'br0' })
  const server = await lab.container(node, 'server', { addresses: ['10.77.0.3/24'], bridge: 'br0' })
  await server.spawn(process.execPath, ['-e', SERVER]).printed(/ready/)
  const wanted = stateOf(1, { namespace: node.path, bridge: 'br0' })
  const first = await open()
  first.apply(wanted)
  await first.settled(1)
  t.equal(await fetches(client), 'hello')
  const links = () =>
    readdirSync(`${pinPath}/links`).map((name) => {
      using link = Link.openPinned(`${pinPath}/links/${name}`)
      return { name, id: link.id, program: link.info().programId }
    })
  const before = links()
  t.equal(before.length, 4)
  await first.close()
  t.ok(await pings(client), 'between two agents')
  t.equal(await fetches(client), 'hello')
  await node.ip('link', 'del', 'v-server')

  const second = await open()
  t.equal(readdirSync(`${pinPath}/links`).length, 4, 'nothing is pruned before the first state')
  second.apply(wanted)
  await second.settled(1)
  const after = links()
  t.equal(after.length, 2, 'the link of an interface that vanished is gone')
  for (const { name, id, program } of after) {
    const was = before.find((link) => link.name === name)
    t.equal(id, was?.id)
    t.not(program, was?.program)
  }
  t.equal((await second.readback.counters())[0]?.connections, 2, 'what was counted stays')
  await second.close()

  const removed = await detach(pinPath)
  t.equal(removed.links, 2)
  t.ok(removed.maps > 15)
  t.notOk(existsSync(pinPath))
  t.notOk(await pings(client), 'detached')
})

t.test('where there is no tcx, filters do the same and survive as well', async (t) => {
  const { lab, node, pinPath, open } = await plane(t)
  await lab.bridge(node, 'br0')
  const client = await lab.container(node, 'client', { addresses: ['10.77.0.2/24'], bridge: 'br0' })
  const server = await lab.container(node, 'server', { addresses: ['10.77.0.3/24'], bridge: 'br0' })
  await server.spawn(process.execPath, ['-e', SERVER]).printed(/ready/)
  const filters = async () => {
    const show = async (link: string, direction: string) => {
      const args = ['-j', 'filter', 'show', 'dev', link, direction]
      const { stdout } = await node.run('tc', args)
      return (JSON.parse(stdout || '[]') as { options?: { handle?: string } }[]).filter(
        ({ options }) => options?.handle !== undefined,
      )
    }
    const all = await Promise.all(
      ['v-client', 'v-server'].flatMap((l) => [show(l, 'ingress'), show(l, 'egress')]),
    )
    return all.map(({ length }) => length)
  }
  const wanted = stateOf(1, { namespace: node.path, bridge: 'br0' })
  const first = await open({ hook: 'clsact' })
  first.apply(wanted)
  await first.settled(1)
  t.equal(first.readback.attachments()[0]?.hook, 'clsact')
  t.equal(await fetches(client), 'hello')
  await first.close()
  t.equal(await fetches(client), 'hello', 'between two agents')
  const second = await open({ hook: 'clsact' })
  second.apply(wanted)
  await second.settled(1)
  t.same(await filters(), [1, 1, 1, 1], 'taken over, not doubled')
  t.equal(await fetches(client), 'hello')
  await second.close()
  t.match(await detach(pinPath), { links: 4 })
  t.same(await filters(), [0, 0, 0, 0])
  t.notOk(existsSync(pinPath))
})

t.test('what was pinned for a network that is no more is removed', async (t) => {
  const { node, pinPath, open } = await plane(t)
  await node.ip('link', 'add', 'w0', 'type', 'veth', 'peer', 'name', 'other')
  const first = await open()
  first.apply(stateOf(1, { namespace: node.path, interfaces: ['w*'] }))
  await first.settled(1)
  t.equal(readdirSync(`${pinPath}/links`).length, 2)
  await first.close()
  const second = await open()
  second.apply(state(1, [network('other')], []))
  await second.settled(1)
  t.same(readdirSync(`${pinPath}/links`), [])
})

for (const hook of ['tcx', 'clsact'] as const)
  t.test(`${hook}: what was pinned for a namespace that died meanwhile is removed`, async (t) => {
    const { lab, pinPath, open } = await plane(t)
    const pins = () =>
      ['links', 'filters', 'tails'].flatMap((of) => readdirSync(`${pinPath}/${of}`))
    const space = await lab.namespace('mortal')
    await space.ip('link', 'add', 'w0', 'type', 'veth', 'peer', 'name', 'other')
    const wanted = stateOf(1, { namespace: space.path, interfaces: ['w*'] })
    const first = await open({ hook })
    first.apply(wanted)
    await first.settled(1)
    t.ok(pins().length > 0)
    await first.close()
    await lab.remove(space)
    const second = await open({ hook })
    t.ok(pins().length > 0, 'not before the first state')
    second.apply(wanted)
    await second.settled(1)
    t.same(pins(), [])
  })

t.test('sockets are balanced in the namespaces asked for, and nowhere else', async (t) => {
  const { lab, node, pinPath, open } = await plane(t)
  await lab.bridge(node, 'br0')
  const inside = await lab.container(node, 'c-in', { addresses: ['10.77.0.2/24'], bridge: 'br0' })
  const outside = await lab.container(node, 'out', { addresses: ['10.77.0.4/24'], bridge: 'br0' })
  const server = await lab.container(node, 'server', { addresses: ['10.77.0.3/24'], bridge: 'br0' })
  await server.spawn(process.execPath, ['-e', SERVER]).printed(/ready/)
  const dataplane = await open()
  const globs = { namespace: node.path, sockets: [`/run/netns/${lab.prefix}-c-*`] }
  dataplane.apply(stateOf(1, globs))
  await dataplane.settled(1)
  t.equal(await fetches(inside), 'hello')
  t.not(await fetches(outside), 'hello')
  t.match(await dataplane.readback.counters(), [{ path: 'sock', connections: 1 }])
  t.equal(dataplane.readback.attachments().filter(({ hook }) => hook === 'cgroup').length, 9)

  const later = await lab.container(node, 'c-2', { addresses: ['10.77.0.5/24'], bridge: 'br0' })
  t.equal(
    await until('the new namespace', async () => (await fetches(later)) === 'hello' && 'hello'),
    'hello',
  )

  dataplane.apply(stateOf(2, { ...globs, sockets: [] }))
  await dataplane.settled(2)
  t.not(await fetches(inside), 'hello', 'switched off')
  t.same(readdirSync(`${pinPath}/links`), [])
  dataplane.apply(stateOf(3, globs))
  await dataplane.settled(3)
  t.equal(await fetches(inside), 'hello', 'and on again')
})

t.test('an agent that is killed keeps no namespace alive', async (t) => {
  const lab = new NetLab(t)
  const node = await lab.namespace('node')
  const links = new URL('../../src/host/links.js', import.meta.url).href
  const script = `import { LinkWatcher } from '${links}'
    new LinkWatcher('${node.path}', () => console.log('seen'), console)`
  const watcher = lab.start(process.execPath, ['--input-type=module', '-e', script])
  const pids = async () => (await run('ip', ['netns', 'pids', node.name])).stdout.trim()
  await watcher.printed(/seen/)
  await until('the monitor', async () => (await pids()) !== '')
  await watcher.stop('SIGKILL')
  await until('its end', async () => (await pids()) === '')
})

t.test('a link that somebody detached is put back', async (t) => {
  const { node, pinPath, open } = await plane(t)
  await node.ip('link', 'add', 'w0', 'type', 'veth', 'peer', 'name', 'other')
  const dataplane = await open()
  dataplane.apply(stateOf(1, { namespace: node.path, interfaces: ['w*'] }))
  await dataplane.settled(1)
  const pinned = () =>
    readdirSync(`${pinPath}/links`).map((name) => {
      using link = Link.openPinned(`${pinPath}/links/${name}`)
      return { id: link.id, ifindex: link.info().ifindex }
    })
  const before = pinned()
  t.equal(before.length, 2)
  for (const name of readdirSync(`${pinPath}/links`)) {
    using link = Link.openPinned(`${pinPath}/links/${name}`)
    await link.detach()
  }
  await node.ip('link', 'set', 'w0', 'up')
  await until('new links on the same interface', () =>
    pinned().every(({ id, ifindex }, at) => {
      return id !== before[at]?.id && ifindex !== 0 && ifindex === before[at]?.ifindex
    }),
  )
})

t.test('what cannot be attached is a problem that goes away', async (t) => {
  const { lab, node, problems, open } = await plane(t)
  const cgroupPath = `/sys/fs/cgroup/unified/${lab.prefix}`
  const dataplane = await open({ cgroupPath })
  dataplane.apply(stateOf(1, { namespace: node.path, sockets: [node.path] }))
  await dataplane.settled(1)
  t.match(problems, [{ source: 'dataplane', item: 'socket path' }])
  mkdirSync(cgroupPath)
  lab.atClose(() => rmdirSync(cgroupPath))
  await until('another try', () => problems.length === 0)
  t.equal(dataplane.readback.attachments().length, 9)
})
