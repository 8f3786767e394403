/** The agent as a whole: what it does when things are empty, shared, wrong or spoiled. */
import { join } from 'node:path'
import t from 'tap'
import { Agent } from '../lib/agent.js'
import { NetLab, run, until } from '../lib/netns.js'
import { CLIENT4, CLIENT6, NODE4, Stage, VIP4, VIP6 } from '../lib/stage.js'

const command = join(import.meta.dirname, '../../src/cli/fairlead.js')

/** The milliseconds of the quickest of ten refusals each by TCP and UDP: the others waited for a CPU. */
const quickest = `
import socket, sys, time
host, times = sys.argv[1], {}
for kind, port in ((socket.SOCK_STREAM, 80), (socket.SOCK_DGRAM, 53)):
    for _ in range(10):
        s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, kind)
        s.settimeout(3)
        begin = time.monotonic()
        try:
            s.connect((host, port))
            s.send(b'x')
            s.recv(1)
        except ConnectionRefusedError:
            times.setdefault(kind, []).append(time.monotonic() - begin)
print(max(min(times.get(kind, [9])) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)) * 1000)
`

t.test('a service without backends refuses at once', async (t) => {
  const stage = await Stage.build(t, 1)
  for (const path of ['sock', 'tc'] as const) {
    const empty = stage.definition(path === 'sock', stage.service({ backends: [] }))
    if (path === 'sock') await stage.start(empty)
    else await stage.agent.apply(empty)
    for (const host of [VIP4, `[${VIP6}]`]) {
      const tried = await stage.curl(`http://${host}/`)
      t.equal(tried.code, 7, `${path}: curl to ${host} cannot connect`)
      t.match(tried.stderr, /Connection refused|Couldn't connect/)
    }
    const drops = await stage.agent.metric(
      'fairlead_drops_total',
      'reason="no_backend"',
      `path="${path}"`,
    )
    t.equal(drops, 2, `${path}: each is counted`)
    for (const host of [VIP4, VIP6]) {
      const { stdout, stderr } = await stage.python(quickest, host)
      t.ok(Number(stdout) < 10, `${path}: ${host} refuses within ${stdout.trim()} ms ${stderr}`)
    }
    t.equal(
      (await stage.client.run('dig', ['+short', 'web'])).stdout.trim(),
      VIP4,
      'the name stays, with its VIP',
    )
  }
})

t.test('two networks with one VIP do not see each other', async (t) => {
  const stage = await Stage.build(t, 1)
  const { lab, node } = stage
  await lab.bridge(node, 'br1')
  const other = await lab.container(node, 'other', {
    addresses: [`${CLIENT4}/24`, `${CLIENT6}/64`],
    bridge: 'br1',
  })
  const target = await lab.container(node, 'target', {
    addresses: ['10.1.0.10/24', 'fd00:1::a/64'],
    bridge: 'br1',
  })
  const server = target.spawn(process.execPath, [
    join(import.meta.dirname, '../lib/peer.js'),
    'other',
  ])
  await server.printed(/ready/)
  const backends = [{ address: ['10.1.0.10', 'fd00:1::a'] }]
  for (const sockets of [true, false]) {
    const definition = {
      networks: [
        stage.network(sockets),
        {
          name: 'net2',
          subnets: ['10.1.0.0/24', 'fd00:1::/64'],
          attach: { bridge: 'br1', sockets: sockets ? [other.path] : [] },
        },
      ],
      services: [
        stage.service(),
        { name: 'web', network: 'net2', vip: [VIP4, VIP6], ports: [80], backends },
        { name: 'only2', network: 'net2', vip: ['10.1.0.77', 'fd00:1::77'], ports: [80], backends },
      ],
    }
    if (sockets) await stage.start(definition)
    else await stage.agent.apply(definition)
    const path = sockets ? 'sock' : 'tc'
    for (const [vip, only2] of [
      [VIP4, '10.1.0.77'],
      [`[${VIP6}]`, '[fd00:1::77]'],
    ] as const) {
      const here = await stage.curl(`http://${vip}/`)
      t.equal(here.stdout.trim(), 'backend-0', `${path}: net1, ${vip}`)
      const there = await other.run('curl', ['-sS', '--max-time', '5', `http://${vip}/`])
      t.equal(there.stdout.trim(), 'other', `${path}: net2, ${vip}`)
      const foreign = await stage.curl(`http://${only2}/`, '--connect-timeout', '1')
      t.not(foreign.code, 0, `${path}: a VIP of net2 is nothing in net1, ${only2}`)
    }
  }
})

t.test('what the file names and is not there yet is a problem until it comes', async (t) => {
  const stage = await Stage.build(t, 1)
  const absent = { ...stage.network(false), attach: { bridge: 'br9' }, dns: {} }
  await stage.start({ networks: [absent], services: [stage.service()] })
  await until('the problem to be told', async () =>
    (await stage.agent.command('problems')).includes('bridge br9 is not there; it is waited for'),
  )
  t.match(await stage.agent.command('status'), /problems +1\n/)
  await stage.lab.bridge(stage.node, 'br9')
  await until('the problem to go', async () =>
    (await stage.agent.command('problems')).startsWith('no problems'),
  )
  t.match(await stage.agent.command('status'), /problems +0\n/)
})

t.test('a mistake on reload is reported and changes nothing', async (t) => {
  const stage = await Stage.build(t, 1)
  await stage.start(stage.definition(false))
  const problems = async (): Promise<{ place?: string; reason: string }[]> =>
    (
      JSON.parse(await stage.agent.command('problems', '--json')) as {
        problems: { place?: string; reason: string }[]
      }
    ).problems
  t.same(await problems(), [])

  stage.agent.write('version: 1\nnetworks: [\n')
  await until('the syntax error to be told', async () => (await problems()).length > 0)
  t.match((await problems())[0]?.place, /fairlead\.yaml:\d+:\d+/, 'file, line and column')
  t.equal((await stage.curl(`http://${VIP4}/`)).stdout.trim(), 'backend-0', 'traffic goes on')

  const broken = stage.service({ name: 'broken', vip: '10.1.0.50', ports: [99999] })
  const added = stage.service({ name: 'added', vip: '10.1.0.51' })
  stage.agent.write(stage.agent.text(stage.definition(false, stage.service(), broken, added)))
  await until('the bad port to be told', async () =>
    (await problems()).some(({ place }) => place?.includes('ports')),
  )
  await until('the good service to work', async () => {
    return (await stage.curl('http://10.1.0.51/', '--connect-timeout', '1')).stdout.trim() !== ''
  })
  t.equal((await stage.curl(`http://${VIP4}/`)).stdout.trim(), 'backend-0', 'the old one too')

  await stage.agent.apply(stage.definition(false))
  t.same(await problems(), [], 'mended')
})

/** bpftool's view of a pinned map. */
async function dump(stage: Stage, map: string): Promise<{ key: string[]; value: string[] }[]> {
  const { stdout } = await run('bpftool', [
    ...['-j', 'map', 'dump', 'pinned', `${stage.agent.pins}/maps/${map}`],
  ])
  return JSON.parse(stdout) as { key: string[]; value: string[] }[]
}

t.test('a map entry changed by hand is repaired and counted', async (t) => {
  const stage = await Stage.build(t, 1)
  await stage.start({ ...stage.definition(false), agent: { sweep: '1s' } })
  const tables = ['ports4', 'ports6', 'vips4', 'vips6', 'services'] as const
  const sizes = async () => {
    const counts: number[] = []
    for (const table of tables) counts.push((await dump(stage, table)).length)
    return counts
  }
  const before = await sizes()
  let removed = 0
  for (const table of tables) {
    for (const { key } of await dump(stage, table)) {
      const pinned = ['pinned', `${stage.agent.pins}/maps/${table}`]
      await run('bpftool', ['map', 'delete', ...pinned, 'key', ...key], { mayFail: true })
      removed++
    }
  }
  await until('the rows to come back', async () => (await sizes()).join() === before.join(), 15_000)
  t.ok(removed >= 8, `${removed} rows were removed`)
  t.ok((await stage.agent.metric('fairlead_reconcile_repaired_rows_total')) >= 8)
  for (const host of [VIP4, `[${VIP6}]`])
    t.equal((await stage.curl(`http://${host}/`)).stdout.trim(), 'backend-0', host)
})

t.test('automatic VIPs survive a restart and unrelated changes', async (t) => {
  const stage = await Stage.build(t, 1)
  const auto = (name: string) => stage.service({ name, vip: 'auto' })
  await stage.start(stage.definition(false, auto('one'), auto('two')))
  const resolve = async (): Promise<string[]> =>
    (await stage.client.run('dig', ['+short', 'one', 'A', 'one', 'AAAA', 'two', 'A'])).stdout
      .trim()
      .split('\n')
  const first = await resolve()
  t.equal(new Set(first).size, 3, first.join())
  t.notOk(first.some((vip) => [NODE4, CLIENT4, '10.1.0.10'].includes(vip)))
  await stage.agent.apply(stage.definition(false, auto('zero'), auto('one'), auto('two')))
  t.same(await resolve(), first, 'after another service came')
  await stage.agent.stop()
  stage.agent.start('--detach-on-exit')
  await stage.agent.ready()
  t.same(await resolve(), first, 'after a restart')
})

t.test('an agent that ends leaves traffic flowing, and the next one goes on', async (t) => {
  const stage = await Stage.build(t, 2)
  stage.agent.write(stage.definition(false))
  stage.agent.start()
  await stage.agent.ready()
  t.match((await stage.curl(`http://${VIP4}/`)).stdout, /backend/)
  await stage.agent.process?.stop('SIGKILL')
  for (let request = 0; request < 4; request++)
    t.match((await stage.curl(`http://${VIP4}/`)).stdout, /backend/, 'without an agent')
  stage.agent.start()
  await stage.agent.ready()
  t.match((await stage.curl(`http://${VIP4}/`)).stdout, /backend/, 'with the next')
  t.equal(await stage.agent.metric('fairlead_connections_total', 'path="tc"'), 6, 'counters go on')
  await stage.agent.stop()
  t.match((await stage.curl(`http://${VIP4}/`)).stdout, /backend/, 'it ended in order: still there')
  await run(process.execPath, [command, 'detach', '--pins', stage.agent.pins])
  const gone = await stage.curl(`http://${VIP4}/`, '--connect-timeout', '1')
  t.not(gone.code, 0, 'after detach nothing of it is left')
})

t.test('an agent without the capabilities says which it lacks', async (t) => {
  const lab = new NetLab(t)
  const node = await lab.namespace('node')
  const agent = new Agent(lab, node, 'node')
  agent.write({ networks: [], services: [] })
  const tried = await run(
    'setpriv',
    [
      ...['--bounding-set=-bpf,-sys_admin', '--inh-caps=-bpf,-sys_admin'],
      ...[process.execPath, command, 'agent', '--config', agent.file],
    ],
    { mayFail: true },
  )
  t.not(tried.code, 0)
  t.match(tried.stderr, /CAP_SYS_ADMIN/)
  t.notMatch(tried.stderr, /\n\s+at /, 'no stack trace')
})
