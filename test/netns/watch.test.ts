/** What happens to flows is told to those who watch, on every path, and to nobody when nobody does. */
import t, { type Test } from 'tap'
import { BpfMap, RingBuffer } from 'libbpf-ts'
import type { FlowEventView } from '../../src/api/schema.js'
import { until } from '../lib/netns.js'
import { CLIENT4 } from '../lib/stage.js'
import { Way, type WayName } from '../lib/ways.js'

t.setTimeout(180_000)

/** Who watches in the tests' own process, as the commands do. */
class Watcher {
  readonly flows: FlowEventView[] = []
  lost = 0
  #watching = false
  #ended = false

  private constructor() {
    // Made by start().
  }

  static async start(way: Way, asked: Record<string, string | number> = {}): Promise<Watcher> {
    const watcher = new Watcher()
    const events = way.agent.api.events(asked)
    const read = async (): Promise<void> => {
      for await (const { watching, flow, lost } of events) {
        if (watching === true) watcher.#watching = true
        if (flow !== undefined) watcher.flows.push(flow)
        watcher.lost += lost ?? 0
        if (watcher.#ended) return
      }
    }
    read().catch(() => undefined)
    await until('the agent to watch', () => watcher.#watching)
    return watcher
  }

  /** With the next event, or with the agent. */
  end(): void {
    this.#ended = true
  }

  of(kind: string): FlowEventView[] {
    return this.flows.filter((flow) => flow.kind === kind)
  }
}

/** A request that is answered and ended by both; a reset; and a port that is none. */
const dialling = `
import socket, struct, sys
def dial(host, sport, port=80):
    s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('', sport))
    s.settimeout(10)
    s.connect((host, port))
    return s
for at, host in enumerate(sys.argv[1:]):
    s = dial(host, 41000 + at)
    s.send(b'GET /client HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n')
    while s.recv(4096):
        pass
    s.close()
    s = dial(host, 42000 + at)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    s.close()
    try:
        dial(host, 43000 + at, 81)
        print('answered')
    except ConnectionRefusedError:
        pass
print('done', flush=True)
sys.stdin.readline()
`

/** A protocol that no service has. */
const strange = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 200)
s.sendto(b'x' * 64, (sys.argv[1], 0))
`

async function tells(t: Test, name: WayName): Promise<void> {
  const way = await Way.build(t, name)
  await way.start()
  const sock = name === 'sock'
  const [v4, v6] = way.hosts
  // Before anybody watches: none of it is told later.
  await way.client.run('curl', ['-sS', '-m', '10', `http://${v4}/client`])
  const ring = BpfMap.openPinned(`${way.agent.pins}/maps/flow_events`)
  t.teardown(() => ring.close())
  const unread = new RingBuffer(ring, () => undefined)
  t.equal(unread.consume(), 0, 'nobody watches, and nothing is sent')
  unread.close()

  const before = (await way.agent.api.counters()).counters[0]
  const watcher = await Watcher.start(way)
  const dialled = way.python(dialling, v4, v6)
  t.equal(await dialled.line(), 'done')
  await way.client.run('python3', ['-c', strange, v4])
  await until('all to be told', () => watcher.flows.length >= 11)

  const backends = new Set(way.backends.flatMap(({ v4, v6 }) => [v4, v6]))
  const ports = (kind: string) => watcher.of(kind).map(({ client }) => client?.port ?? 0)
  t.same(ports('opened').sort(), [41000, 41001, 42000, 42001])
  t.same(ports('closed').sort(), [41000, 41001])
  t.same(ports('reset').sort(), [42000, 42001])
  t.same(ports('refused').sort(), sock ? [0, 0] : [43000, 43001])
  for (const event of [...watcher.of('opened'), ...watcher.of('closed'), ...watcher.of('reset')]) {
    t.match(event, { path: name, protocol: 'tcp', service: 'net1/web' })
    t.ok(way.hosts.includes(event.vip.address), event.vip.address)
    t.equal(event.vip.port, 80)
    t.ok(backends.has(event.backend?.address ?? ''), event.backend?.address ?? 'none')
    t.equal(event.backend?.port, 80)
    t.ok(Math.abs(Date.parse(event.time) - Date.now()) < 60_000, event.time)
  }
  t.same(new Set(watcher.of('closed').map(({ reason }) => reason)), new Set(['fin']))
  for (const refused of watcher.of('refused'))
    t.match(refused, { reason: 'no_port', vip: { port: 81 }, path: name })
  t.match(watcher.of('dropped'), [{ reason: 'protocol', protocol: '200', vip: { address: v4 } }])

  await dialled.daemon.stop()
  await sameBytes(t, way, watcher, before)
  t.equal(watcher.lost, 0)
  t.match(await way.agent.metrics(), 'fairlead_')
  watcher.end()
}

/** What the flows carried is what their service did; but for what follows the end that was told. */
async function sameBytes(
  t: Test,
  way: Way,
  watcher: Watcher,
  before: { bytesIn: number; bytesOut: number } | undefined,
): Promise<void> {
  const after = (await way.agent.api.counters()).counters[0]
  const ended = [...watcher.of('closed'), ...watcher.of('reset')]
  const late = way.name === 'sock' ? 0 : 72 * ended.length
  for (const what of ['bytesIn', 'bytesOut'] as const) {
    const told = ended.reduce((sum, event) => sum + (event[what] ?? NaN), 0)
    const counted = (after?.[what] ?? 0) - (before?.[what] ?? 0)
    t.ok(told > 100, `${what}: ${told}`)
    t.ok(told <= counted && told >= counted - late, `${what}: ${told} of ${counted}`)
  }
  for (const { durationSeconds } of ended) t.ok((durationSeconds ?? 0) > 0)
}

for (const name of ['tc', 'xdp', 'sock'] as const)
  t.test(`${name}: opened, closed, reset, refused and dropped`, (t) => tells(t, name))

/** One datagram each from as many ports. */
const flood = `
import socket, sys
for port in range(20000, 20000 + int(sys.argv[2])):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('', port))
    s.sendto(b'x', (sys.argv[1], 53))
    s.close()
`

t.test('a flood is told of within bounds, and how much of it was not', async (t) => {
  const way = await Way.build(t, 'tc')
  await way.start()
  const [v4] = way.hosts
  const flows = 4000
  const one = await Watcher.start(way, { kind: 'opened', rate: 50 })
  await way.client.run('python3', ['-c', flood, v4, String(flows)])
  await until('every flow to be told or counted', () => one.flows.length + one.lost >= flows)
  t.equal(one.flows.length + one.lost, flows, 'each once')
  t.ok(one.lost > 0, `${one.lost} of ${flows} were not told`)
  t.ok(one.flows.length > 0)
  const lost = await way.agent.metric('fairlead_flow_events_lost_total', 'reason="rate"')
  t.equal(lost, one.lost)
  one.end()

  const sampled = await Watcher.start(way, { kind: 'opened', sample: 16, rate: 100_000 })
  const none = await Watcher.start(way, { kind: 'opened', service: 'other', rate: 100_000 })
  await way.apply({ algorithm: 'random' })
  await way.client.run('python3', ['-c', flood.replaceAll('20000', '30000'), v4, String(flows)])
  await until('those of the sample', () => sampled.flows.length > flows / 64)
  t.ok(sampled.flows.length < flows / 4, `${sampled.flows.length} of ${flows}`)
  t.same(none.flows, [], 'those of another service are not told')
  sampled.end()
  none.end()
})

t.test('clients that nobody asks about cost nobody an event', async (t) => {
  const way = await Way.build(t, 'tc')
  await way.start()
  const [v4] = way.hosts
  const lost = () => way.agent.metric('fairlead_flow_events_lost_total', 'reason="rate"')
  const others = await Watcher.start(way, { kind: 'opened', client: '10.99.0.0/16', rate: 1 })
  await way.client.run('python3', ['-c', flood, v4, '500'])
  t.equal(await lost(), 0, 'the programs left them out before they counted')
  const own = await Watcher.start(way, { kind: 'opened', client: `${CLIENT4}/31`, rate: 100_000 })
  await way.client.run('python3', ['-c', flood.replaceAll('20000', '30000'), v4, '500'])
  await until('all of the client', () => own.flows.length >= 500)
  t.equal(own.flows.length, 500)
  t.same(new Set(own.flows.map(({ client }) => client?.address)), new Set([CLIENT4]))
  t.same(others.flows, [])
  own.end()
  others.end()
})

t.test('what the agent does not read in time is counted too', async (t) => {
  const way = await Way.build(t, 'tc')
  await way.start()
  const [v4] = way.hosts
  // More than the buffer has room for.
  const flows = 6000
  const watcher = await Watcher.start(way, { kind: 'opened', rate: 100_000 })
  way.agent.process?.child.kill('SIGSTOP')
  try {
    await way.client.run('python3', ['-c', flood, v4, String(flows)])
  } finally {
    way.agent.process?.child.kill('SIGCONT')
  }
  await until('every flow to be told or counted', () => {
    return watcher.flows.length + watcher.lost >= flows
  })
  t.equal(watcher.flows.length + watcher.lost, flows, 'each once')
  t.ok(watcher.flows.length > 0)
  const lost = await way.agent.metric('fairlead_flow_events_lost_total', 'reason="room"')
  t.ok(lost > 0 && lost <= watcher.lost, `${lost} of ${watcher.lost} for want of room`)
  watcher.end()
})

t.test('the command tells those that it is asked for', async (t) => {
  const way = await Way.build(t, 'tc')
  await way.start()
  const [v4, v6] = way.hosts
  const curl = (host: string) =>
    way.client.run('curl', [
      '-gsS',
      '-m',
      '10',
      `http://${host.includes(':') ? `[${host}]` : host}/`,
    ])
  const [one] = way.backends
  const asked = ['--kind', 'opened,closed', '--backend', one?.v4 ?? '', '--service', 'web']
  const asking = { words: true }
  const words = way.agent
    .command('watch', '--json', '--count', '2', ...asked)
    .finally(() => (asking.words = false))
  while (asking.words) {
    await curl(v6)
    await curl(v4)
  }
  const events = (await words)
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as FlowEventView)
  t.equal(events.length, 2)
  for (const event of events) t.equal(event.backend?.address, one?.v4)
  const wrong = await way.agent.run('watch', '--client', 'nonsense').catch(String)
  t.match(wrong, /not address/)
})
