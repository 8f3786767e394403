/** `fairlead flows` and `fairlead top`, over a report that tests write. */
import t from 'tap'
import type { CountersView, FlowView } from '../../../src/api/schema.js'
import { ratesBetween, sortRates } from '../../../src/cli/rates.js'
import { shortText } from '../../../src/cli/top.js'
import type { Report } from '../metrics/fixture.js'
import { report, service, stateOf } from '../metrics/fixture.js'
import { agentWith, command, run } from './stage.js'

t.test('flows has the columns of ipvsadm -Lnc, and three more', async (t) => {
  const { ask } = await agentWith(t)
  const { stdout, stderr, code } = await ask('flows')
  t.equal(code, 0)
  t.equal(stderr, '')
  const rows = stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/\s+/))
  t.same(rows, [
    ['pro', 'expire', 'state', 'source', 'virtual', 'destination', 'path', 'service'],
    [
      ...['TCP', '14:57', 'ESTABLISHED', '10.0.0.8:40000', '10.0.0.9:80', '10.0.0.5:8080'],
      ...['tc', 'overlay1/vote'],
    ],
    [
      ...['UDP', '61:01', 'UDP', '[2001:db8::8]:5353', '[fd00:a::9]:53', '[fd00:a::6]:53'],
      ...['xdp', 'overlay1/vote'],
    ],
    ['TCP', '-', 'CLOSE', '10.0.0.7:40001', '10.0.0.9:80', '-', 'tc', '-'],
  ])
})

t.test('flows are filtered by the agent', async (t) => {
  const { ask } = await agentWith(t)
  const clients = async (...args: string[]): Promise<string[]> => {
    const { stdout, stderr } = await ask('flows', '--json', ...args)
    t.equal(stderr, '')
    return (JSON.parse(stdout) as { flows: FlowView[] }).flows.map(({ client }) => client.address)
  }
  t.same(await clients(), ['10.0.0.8', '2001:db8::8', '10.0.0.7'])
  t.same(await clients('--protocol', 'udp'), ['2001:db8::8'])
  t.same(await clients('--state', 'CLOSE', '--path', 'tc'), ['10.0.0.7'])
  t.same(await clients('--service', 'vote', '--backend', ':8080'), ['10.0.0.8'])
  t.same(await clients('--network', 'overlay1', '--client', '10.0.0.0/8'), ['10.0.0.8'])
  t.same(await clients('--vip', '[fd00:a::9]:53'), ['2001:db8::8'])
  t.same(await clients('--limit', '1'), ['10.0.0.8'])
  const wrong = await ask('flows', '--client', 'nonsense')
  t.equal(wrong.code, 2)
  t.match(wrong.stderr, /^fairlead: .*nonsense/)
  t.equal(wrong.stdout, '')
  t.equal((await ask('flows', '--limit', '0')).code, 2)
})

t.test('many flows come page by page, each once', async (t) => {
  const told = report()
  const [one] = told.flows
  if (one === undefined) throw new Error('the report has no flow')
  told.flows = Array.from({ length: 2500 }, (_, port) => ({
    ...one,
    client: { address: '10.0.0.8', port },
  }))
  const { ask } = await agentWith(t, stateOf([service({})]), told)
  const { stdout } = await ask('flows', '--json')
  const ports = (JSON.parse(stdout) as { flows: FlowView[] }).flows.map(({ client }) => client.port)
  t.same(
    ports,
    Array.from({ length: 2500 }, (_, port) => port),
  )
  t.equal((await ask('flows', '--limit', '1500')).stdout.trimEnd().split('\n').length, 1501)
})

t.test('top --once tells rates between two looks', async (t) => {
  const told = report()
  const { socket } = await agentWith(t, stateOf([service({})]), told)
  const grow = (row: Report['counters'][number], at: number) =>
    at === 0 ? { ...row, connections: row.connections + 100, bytesIn: row.bytesIn + 5000 } : row
  const looks = (async () => {
    // Between its two looks.
    await new Promise((resolve) => setTimeout(resolve, 3000))
    told.counters = told.counters.map(grow)
  })()
  const args = ['top', '--once', '--json', '--by', 'backend', '--interval', '6', '--socket', socket]
  const { stdout, stderr } = await run(process.execPath, [command, ...args])
  await looks
  t.equal(stderr, '')
  const { seconds, rates } = JSON.parse(stdout) as {
    seconds: number
    rates: CountersView['counters']
  }
  t.ok(seconds >= 6, `${seconds} s`)
  t.equal(rates.length, 3, 'two backends, and what has left')
  const [first, ...others] = rates
  t.match(first, { network: 'overlay1', service: 'vote', backend: '10.0.0.5', active: 3 })
  t.ok(Math.abs((first?.connections ?? 0) * seconds - 100) < 0.01)
  t.ok(Math.abs((first?.bytesIn ?? 0) * seconds - 5000) < 0.01)
  for (const rate of others) t.equal(rate.connections, 0)
})

t.test('rates', (t) => {
  const traffic = { packetsIn: 0, packetsOut: 0, bytesIn: 0, bytesOut: 0, active: 0 }
  const row = (service: string, connections: number, bytesOut = 0) => ({
    ...{ network: 'n', service, ...traffic, connections, bytesOut },
  })
  const before = { uptimeSeconds: 10, counters: [row('a', 100), row('b', 50), row('gone', 5)] }
  const after = {
    uptimeSeconds: 12,
    counters: [row('a', 110), row('b', 90, 8), row('new', 4), row('reset', 0)],
  }
  const rates = ratesBetween(before, after)
  t.same(
    rates.map(({ service, connections }) => [service, connections]),
    [
      ['a', 5],
      ['b', 20],
      ['new', 2],
      ['reset', 0],
    ],
  )
  const fallen = ratesBetween(after, { uptimeSeconds: 13, counters: [row('a', 7)] })
  t.equal(fallen[0]?.connections, 7, 'what fell began anew')
  t.equal(ratesBetween(before, before)[0]?.connections, 0, 'no time has passed')
  const order = (key: Parameters<typeof sortRates>[1]) =>
    sortRates(rates, key).map(({ service }) => service)
  t.same(order('connections'), ['b', 'a', 'new', 'reset'])
  t.same(order('bytes'), ['b', 'a', 'new', 'reset'])
  t.same(order('name'), ['a', 'b', 'new', 'reset'])
  t.end()
})

t.test('short figures', (t) => {
  const figures: [number, string][] = [
    ...([
      [0, '0'],
      [1, '1'],
      [0.5, '0.5'],
      [1.254, '1.25'],
      [12.34, '12.3'],
    ] as const),
    ...([
      [340, '340'],
      [999.6, '1k'],
      [1234, '1.23k'],
      [20_000_000, '20M'],
    ] as const),
    ...([
      [7.5e12, '7.5T'],
      [2e15, '2000T'],
      [100, '100'],
    ] as const),
  ].map(([value, text]) => [value, text])
  for (const [value, text] of figures) t.equal(shortText(value), text)
  t.end()
})

/** Runs `top` on a terminal of its own, presses keys, and tells what was drawn. */
const terminal = `
import os, pty, select, sys, time, struct, fcntl, termios
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 20, 60, 0, 0))
seen, keys, end = b'', [(b'vote', b's'), (b'BACKEND', b'q')], time.monotonic() + 25
while time.monotonic() < end:
    ready, _, _ = select.select([fd], [], [], 0.2)
    if ready:
        try:
            part = os.read(fd, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    if keys and keys[0][0] in seen:
        os.write(fd, keys.pop(0)[1])
        seen += b'<key>'
_, status = os.waitpid(pid, 0)
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(status))
`

// eslint-disable-next-line no-control-regex -- sequences of the terminal begin with one
const sequences = /\u001b\[[?\d;]*[a-zA-Z]/g

t.test('top on a terminal: drawn anew, keys, and the terminal given back', async (t) => {
  const { socket } = await agentWith(t)
  const args = [process.execPath, command, 'top', '--interval', '0.3', '--socket', socket]
  const { code, stdout } = await run('python3', ['-c', terminal, ...args])
  t.equal(code, 0)
  const [enter, leave] = ['\u001b[?1049h\u001b[?25l', '\u001b[?25h\u001b[?1049l']
  t.ok(stdout.startsWith(enter), 'the usual screen stays as it is')
  t.ok(stdout.trimEnd().endsWith(leave), 'and comes back')
  const [services = '', both = ''] = stdout.split('<key>')
  t.match(services, 'overlay1/vote')
  t.notMatch(services, 'BACKEND')
  t.match(both, 'BACKEND')
  const frames = stdout.replaceAll('\u001b[H', '\r\n')
  const lines = frames.replaceAll('<key>', '').replace(sequences, '').split('\r\n')
  for (const line of lines.slice(1, -1)) t.ok(line.length <= 60, line)
})
