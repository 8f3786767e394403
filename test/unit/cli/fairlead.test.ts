/** What holds for every command: help, usage, exit codes, sockets, colours and pipes. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { FlowEvent, FlowEventSource } from '../../../src/model/flowEvents.js'
import type { Explanation, Question } from '../../../src/model/explain.js'
import { service, stateOf } from '../metrics/fixture.js'
import { agentWith, command, fairlead, folderOf, run } from './stage.js'

const root = join(import.meta.dirname, '../../../..')
const commands = [
  ...['agent', 'check', 'import', 'services', 'show', 'list', 'networks', 'status'],
  ...[
    'problems',
    'changes',
    'flows',
    'watch',
    'explain',
    'pcap',
    'top',
    'drops',
    'maps',
    'reload',
    'probe',
  ],
  'detach',
]
const asking = commands.filter(
  (name) => !['agent', 'check', 'import', 'probe', 'detach'].includes(name),
)
const operands: Readonly<Record<string, readonly string[]>> = {
  show: ['vote'],
  explain: ['10.0.0.1', '10.0.0.2:80', 'tcp'],
  pcap: ['overlay1/vote', '-w', '-'],
}

t.test('--version is that of the package', async (t) => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    version: string
  }
  t.same(await fairlead('--version'), { code: 0, stdout: `${version}\n`, stderr: '' })
})

t.test('--help names every command, and each has its own', async (t) => {
  const { code, stdout, stderr } = await fairlead('--help')
  t.equal(code, 0)
  t.equal(stderr, '')
  const listed = stdout.match(/(?<=^ {2})[a-z]+\b/gm)
  t.same(listed, [...commands, 'help'])
  for (const line of stdout.split('\n')) t.ok(line.length <= 100, line)
  for (const name of commands) {
    const help = await fairlead(name, '--help')
    t.equal(help.code, 0, name)
    t.match(help.stdout, `Usage: fairlead ${name}`)
    if (!['agent', 'import', 'pcap'].includes(name)) t.match(help.stdout, '--json')
    else if (name !== 'import') t.notMatch(help.stdout, '--json')
  }
  t.match((await fairlead('import', 'ipvs', '--help')).stdout, '--json')
})

t.test('the reference page has every command with its options, and no other', async (t) => {
  const page = readFileSync(join(root, 'docs/reference/cli.md'), 'utf8')
  const [, synopsis = ''] = /```\n(fairlead agent [^`]+)```/.exec(page) ?? []
  const told = synopsis.split(/^fairlead /m).slice(1)
  const everywhere = ['--help', '--version', '--json', '--socket']
  const optionsIn = (text: string): string[] =>
    [...new Set(text.match(/(?<=[ |[])--[a-z-]+/g) ?? [])]
      .filter((option) => !everywhere.includes(option))
      .toSorted()
  for (const name of commands) {
    const lines = told.filter((each) => each.split(/\s/)[0] === name)
    t.equal(lines.length, 1, name)
    const words = name === 'import' ? [name, 'ipvs'] : [name]
    const { stdout } = await fairlead(...words, '--help')
    const [, options = ''] = stdout.split('Options:')
    // What begins a line is an option; others are named in what is said of them.
    const there = options.match(/^ {2}.*/gm)?.map((line) => line.slice(0, 40)) ?? []
    t.same(optionsIn(lines[0] ?? ''), optionsIn(there.join('\n')), name)
  }
})

t.test('a mistake on the command line is one line on stderr and exit code 2', async (t) => {
  const mistakes = [
    ['nonsense'],
    ['list', '--nonsense'],
    ['list', 'surplus'],
    ['show'],
    ['agent'],
    ['detach'],
    ['detach', '--pins', '/a', '--config', '/b'],
    ['list', '--socket'],
    ['list', '--path', 'nonsense'],
  ]
  for (const args of mistakes) {
    const { code, stdout, stderr } = await fairlead(...args)
    t.equal(code, 2, args.join(' '))
    t.equal(stdout, '')
    t.match(stderr, /^fairlead: [^\n]+\n$/)
  }
  const nothing = await fairlead()
  t.equal(nothing.code, 2)
  t.equal(nothing.stdout, '')
  t.match(nothing.stderr, 'Usage: fairlead')
})

t.test('no agent is exit code 3, for every command that asks one', async (t) => {
  const socket = join(folderOf(t), 'absent.sock')
  for (const name of asking) {
    const done = await fairlead(name, ...(operands[name] ?? []), '--socket', socket)
    const stderr = `fairlead: no agent answers at ${socket}: there is no such socket\n`
    t.same(done, { code: 3, stdout: '', stderr }, name)
  }
})

t.test('the socket is named by --socket, else by FAIRLEAD_SOCKET', async (t) => {
  const { socket } = await agentWith(t)
  const at = (environment: Record<string, string>, ...args: string[]) =>
    run(process.execPath, [command, 'status', ...args], environment)
  t.equal((await at({ FAIRLEAD_SOCKET: socket })).code, 0)
  t.equal((await at({ FAIRLEAD_SOCKET: '/nowhere' })).code, 3)
  t.equal((await at({ FAIRLEAD_SOCKET: '/nowhere' }, '--socket', socket)).code, 0)
  t.match((await at({})).stderr, '/run/fairlead/fairlead.sock')
})

t.test('there is no colour in a pipe, and on a terminal there is', async (t) => {
  const { socket, ask } = await agentWith(t)
  t.notMatch((await ask('show', 'vote')).stdout, '\u001b[')
  const line = [process.execPath, command, 'show', 'vote', '--socket', socket].join(' ')
  const terminal = (environment: Record<string, string> = {}) =>
    run('script', ['-qec', line, '/dev/null'], environment)
  const { code, stdout } = await terminal()
  t.equal(code, 0)
  t.match(stdout, '\u001b[32mactive\u001b[39m')
  t.notMatch((await terminal({ NO_COLOR: '1' })).stdout, '\u001b[')
  t.match((await terminal({ NO_COLOR: '' })).stdout, '\u001b[', 'empty does not count')
  t.notMatch((await terminal({ TERM: 'dumb' })).stdout, '\u001b[')
})

t.test('a pipe that closes early is no error', async (t) => {
  const many = Array.from({ length: 3000 }, (_, at) => service({ name: `service-${at}` }))
  const { socket } = await agentWith(t, stateOf(many))
  const line = `set -o pipefail; "$0" "$1" services --socket "$2" | head -n 2`
  const { code, stdout, stderr } = await run('bash', [
    '-c',
    line,
    process.execPath,
    command,
    socket,
  ])
  t.equal(stderr, '')
  t.equal(stdout.split('\n').length, 3)
  t.equal(code, 0)
})

t.test('every answer is JSON when that is asked for', async (t) => {
  const explain = ({ client, vip, protocol }: Question): Promise<Explanation> =>
    Promise.resolve({
      ...{ path: 'tc', network: 'overlay1', protocol, client: { port: 1, ...client }, vip },
      ...{ first: true, outcome: 'passed', match: 'none', backends: [], events: [] },
    })
  const event: FlowEvent = {
    ...{ time: new Date().toISOString(), kind: 'opened', path: 'tc', protocol: 'tcp' },
    vip: { address: '10.0.0.9', port: 80 },
  }
  const subscribe: FlowEventSource['subscribe'] = (_request, listener) => {
    listener.event(event)
    return () => undefined
  }
  const options = {
    ...{ reload: () => Promise.resolve(), explainer: { explain } },
    events: { subscribe },
  }
  const { ask } = await agentWith(t, undefined, undefined, options)
  const keys: Record<string, string[]> = {
    services: ['services'],
    list: ['services'],
    networks: ['networks'],
    problems: ['problems'],
    changes: ['changes'],
    flows: ['flows'],
    watch: ['time', 'kind', 'path', 'protocol', 'vip'],
    top: ['seconds', 'rates'],
    drops: ['drops', 'events'],
    maps: ['maps'],
    explain: [
      ...['path', 'network', 'protocol', 'client', 'vip', 'first', 'outcome', 'match'],
      ...['backends', 'events', 'steps'],
    ],
    reload: ['revision'],
    show: [
      ...['network', 'name', 'mode', 'algorithm', 'ttlSeconds', 'vips', 'ports', 'aliases'],
      ...['backends', 'counters'],
    ],
    status: [
      ...['version', 'node', 'kernel', 'uptimeSeconds', 'revision', 'reconcile', 'sources'],
      ...['networks', 'services', 'problems', 'attachments', 'ipvs', 'features'],
    ],
  }
  const more: Record<string, readonly string[]> = {
    ...operands,
    top: ['--once', '--interval', '0.1'],
    watch: ['--count', '1'],
  }
  for (const name of asking.filter((each) => each !== 'pcap')) {
    const { code, stdout, stderr } = await ask(name, ...(more[name] ?? []), '--json')
    t.equal(code, 0, name)
    t.equal(stderr, '')
    t.same(Object.keys(JSON.parse(stdout) as object), keys[name], name)
  }
})

t.test('watch: a line an event, and how many could not be told', async (t) => {
  const event: FlowEvent = {
    ...{ time: '2026-01-02T09:30:01.204518Z', kind: 'closed', path: 'tc', protocol: 'tcp' },
    client: { address: '10.0.0.8', port: 40_000 },
    vip: { address: 'fd00::9', port: 80 },
    backend: { address: '10.0.0.5', port: 8080 },
    ...{ service: 'overlay1/vote', network: 'overlay1', reason: 'fin', durationSeconds: 0.00536 },
    ...{ packetsIn: 5, bytesIn: 412, packetsOut: 4, bytesOut: 1800 },
  }
  const subscribe: FlowEventSource['subscribe'] = (_request, listener) => {
    listener.lost(5)
    listener.event(event)
    return () => undefined
  }
  const { ask } = await agentWith(t, undefined, undefined, { events: { subscribe } })
  const line =
    '09:30:01.204518  closed   tcp  10.0.0.8:40000 > [fd00::9]:80 > 10.0.0.5:8080  ' +
    'overlay1/vote  tc  fin  in 412B out 1.8kB  5.36ms\n'
  const told = 'fairlead: 5 events were lost: ask for fewer, or raise --rate\n'
  t.same(await ask('watch', '--count', '1'), { code: 0, stdout: line, stderr: told })
  const { stdout, stderr } = await ask('watch', '--count', '1', '--json')
  t.equal(stderr, '')
  const objects = stdout.trimEnd().split('\n')
  t.same(
    objects.map((text) => JSON.parse(text) as object),
    [{ lost: 5 }, event],
  )
})

t.test('check says what is wrong with a file, without an agent', async (t) => {
  const folder = folderOf(t)
  const good = join(folder, 'good.yaml')
  writeFileSync(
    good,
    `version: 1
networks:
  - { name: overlay1, subnets: [10.0.0.0/24] }
services:
  - { name: vote, network: overlay1, vip: 10.0.0.9, ports: [80], backends: [10.0.0.5] }
`,
  )
  t.same(await fairlead('check', good), {
    code: 0,
    stdout: `${good}: 1 network, 1 service, 0 problems\n`,
    stderr: '',
  })
  const bad = join(folder, 'bad.yaml')
  writeFileSync(bad, readFileSync(good, 'utf8').replace('vip: 10.0.0.9', 'vip: 10.0.0.999'))
  const text = await fairlead('check', bad)
  t.equal(text.code, 2)
  t.match(text.stdout, `${bad}:5:`)
  const json = await fairlead('check', '--json', bad)
  t.equal(json.code, 2)
  t.match(JSON.parse(json.stdout), { file: bad, ok: false, networks: 1, problems: [{}] })
  const absent = await fairlead('check', join(folder, 'absent.yaml'))
  t.equal(absent.code, 2)
  t.equal((await fairlead('agent', '--config', join(folder, 'absent.yaml'))).code, 2)
})

t.test('a message of several lines is still one line', async (t) => {
  const { exitCodeOf, errorLine } = await import('../../../src/cli/exitCodes.js')
  t.equal(errorLine(new Error('a\n  b\n')), 'fairlead: a; b\n')
  t.equal(exitCodeOf(new Error('a')), 1)
})
