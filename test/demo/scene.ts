/**
 * `npm run demo`: the scene of two nodes, an overlay network, `client` and two replicas of `vote`.
 * Shows names, VIPs and balancing with dig, ping and curl themselves, and checks all that it shows.
 * Exits 1 when anything differs; leaves nothing behind; two runs at a time do not meet.
 */
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { sumOf } from '../lib/agent.js'
import { check, checked, title } from '../lib/narrate.js'
import { type Daemon, sleep, until } from '../lib/netns.js'
import { CLIENT4, CLIENT6, type Plan, type Replica, VIP4, VIP6, World } from './world.js'
import { reasonOf } from '../../src/reason.js'

const world = new World()

/** Shows a command that the client runs, and its output. */
async function show(file: string, ...args: string[]): Promise<string> {
  console.log(` client$ ${file} ${args.join(' ')}`)
  const { stdout } = await world.client.run(file, args, { timeoutMs: 15_000 })
  for (const line of stdout.trimEnd().split('\n')) console.log(`   ${line}`)
  return stdout
}

async function dig(...args: string[]): Promise<string[]> {
  const { stdout } = await world.client.run('dig', ['+short', ...args])
  return stdout.trim().split('\n').filter(Boolean)
}

const curl = async (url: string): Promise<string> =>
  (await world.client.run('curl', ['-sS', '--max-time', '5', url])).stdout.trim()

/** Gives both agents their files and waits until kernel and DNS have them. */
async function apply(plan: Plan, holds: () => Promise<boolean>): Promise<void> {
  await Promise.all(world.nodes.map((node) => node.agent.apply(world.definition(node, plan))))
  await until('DNS to say the same', holds)
}

async function names(replicas: readonly Replica[]): Promise<void> {
  title('dnsrr: the name resolves to the replicas, in random order')
  await show('dig', '+noall', '+answer', 'vote')
  const orders = new Set<string>()
  for (let query = 0; query < 40 && orders.size < 2; query++)
    orders.add((await dig('vote')).join(' '))
  const expected = replicas.map(({ addresses }) => addresses[0] ?? '')
  check('both orders are seen', orders.size === 2, [...orders].join(' | '))
  for (const order of orders)
    check(`${order} are the replicas`, order.split(' ').sort().join() === expected.sort().join())
  const pinged = new Set<string>()
  for (let ping = 0; ping < 40 && pinged.size < 2; ping++) {
    const { stdout } = await world.client.run('ping', ['-4', '-c1', '-W2', '-n', 'vote'])
    pinged.add(/\(([\d.]+)\)/.exec(stdout)?.[1] ?? '')
  }
  check('ping vote reaches both in turn', pinged.size === 2, [...pinged].join(' '))
}

async function vip(): Promise<void> {
  title('vip: one stable address for each family')
  check('dig vote says the VIP', (await dig('vote')).join() === VIP4)
  check('dig AAAA vote says the VIP', (await dig('vote', 'AAAA')).join() === VIP6)
  check('tasks.vote still names the replicas', (await dig('tasks.vote')).length === 2)
  await show('ping', '-c', '2', '-i', '0.2', '-W', '2', '-n', VIP4)
  await show('ping', '-c', '1', '-W', '2', '-n', VIP6)
  check('the VIP answers ping in both families', true)
}

/** Asks ten times and checks who answered, who was seen, and which path counted it. */
async function balance(path: 'sock' | 'tc', replicas: readonly Replica[]): Promise<void> {
  title(`curl on the ${path} path: the replicas in turn, across the nodes`)
  const { agent } = world.node(0)
  const labels = ['service="vote"', `path="${path}"`]
  const other = ['service="vote"', `path="${path === 'tc' ? 'sock' : 'tc'}"`]
  const count = (...of: string[]) => agent.metric('fairlead_connections_total', ...of)
  const before = [await count(...labels), await count(...other)]
  for (const host of [VIP4, `[${VIP6}]`]) {
    const answers: string[] = []
    for (let request = 0; request < 10; request++) answers.push(await curl(`http://${host}/`))
    console.log(`   curl http://${host}/ ×10: ${answers.slice(0, 4).join(' ')} …`)
    for (const { id, slot } of replicas)
      check(`vote.${slot} answered 5 of 10`, answers.filter((answer) => answer === id).length === 5)
    const seen = (await curl(`http://${host}/client`)).split(' ')[0] ?? ''
    check(`vote saw the client's own address ${seen}`, seen === (host === VIP4 ? CLIENT4 : CLIENT6))
  }
  await show('curl', '-sS', '-4', '--max-time', '5', 'http://vote/')
  const after = [await count(...labels), await count(...other)]
  const grown = after.map((value, at) => value - (before[at] ?? 0))
  check(`the ${path} path counted all 23 connections`, grown[0] === 23, `it counted ${grown[0]}`)
  check('the other path counted none', grown[1] === 0, `it counted ${grown[1]}`)
}

/** Asks the long-lived client what happened since last time. */
async function tally(requests: Daemon): Promise<{ ok: number; failed: number; errors: string[] }> {
  const from = requests.stdout.length
  requests.child.stdin?.write('\n')
  await until('the client to tell', () => requests.stdout.slice(from).endsWith('\n'))
  return JSON.parse(requests.stdout.slice(from)) as { ok: number; failed: number; errors: string[] }
}

async function replacement(requests: Daemon, plan: Plan, killed: Replica): Promise<void> {
  title('a replica is killed and returns, under the same VIP, while requests go on')
  await tally(requests)
  // It was halted, perhaps while it asked for the name: the resolver may have given up since.
  await until('the client to go on', async () => (await tally(requests)).ok > 0)
  const tasks = async (): Promise<string> => (await dig('tasks.vote')).sort().join(' ')
  const [address = ''] = killed.addresses
  killed.state = 'draining'
  await apply(plan, async () => !(await tasks()).includes(address))
  // A drained replica takes no new connection; the ones it has are as long as one small answer.
  await sleep(300)
  await world.killReplica(killed)
  await apply(plan, async () => !(await tasks()).includes(address))
  console.log(`   ${address} is gone; tasks.vote: ${await tasks()}`)
  check('the VIP stays', (await dig('vote')).join() === VIP4)
  const back = await world.addReplica(1, killed.slot, 12)
  await apply(plan, async () => (await tasks()).includes('10.0.0.12'))
  console.log(`   ${back.id} is up; tasks.vote: ${await tasks()}`)
  await until('the new replica to answer', async () => (await curl(`http://${VIP4}/`)) === back.id)
  const { ok, failed, errors } = await tally(requests)
  check(`${ok} requests meanwhile, 0 failed`, ok > 20 && failed === 0, `${failed} ${errors.join()}`)
}

async function table(): Promise<void> {
  title('fairlead list, and the counters on /metrics')
  const { agent } = world.node(0)
  const text = stripVTControlCharacters(await agent.command('list'))
  for (const line of text.trimEnd().split('\n')) console.log(`   ${line}`)
  const listed = JSON.parse(await agent.command('services', '--json')) as {
    services: { name: string; counters: { connections: number }[] }[]
  }
  const connections = (listed.services.find(({ name }) => name === 'vote')?.counters ?? []).reduce(
    (sum, row) => sum + row.connections,
    0,
  )
  const exposition = await agent.metrics()
  for (const line of exposition.split('\n'))
    if (/^fairlead_connections_total.*service="vote"/.test(line)) console.log(`   ${line}`)
  const measured = sumOf(exposition, 'fairlead_connections_total', 'service="vote"')
  // The client is halted, so nothing comes in between.
  check(`both say ${measured} connections`, connections === measured && measured > 46)
}

async function main(): Promise<void> {
  const started = Date.now()
  await world.build()
  // These clients are older than any agent.
  const requests = world.lab.start(
    'ip',
    [
      ...['netns', 'exec', world.client.name, process.execPath],
      ...[join(import.meta.dirname, 'requests.js'), 'http://vote/'],
    ],
    undefined,
  )
  const replicas = [await world.addReplica(0, '1', 10), await world.addReplica(1, '2', 11)]
  const socketPath: Plan = { mode: 'vip', sockets: true }
  const packetPath: Plan = { mode: 'vip', sockets: false }
  const first: Plan = { mode: 'dnsrr', sockets: true }
  for (const node of world.nodes) {
    node.agent.write(world.definition(node, first))
    node.agent.start('--detach-on-exit')
  }
  await Promise.all(world.nodes.map(({ agent }) => agent.ready()))
  await until('DNS to answer', async () => (await dig('vote')).length === 2)

  await names(replicas)
  await apply(socketPath, async () => (await dig('vote')).join() === VIP4)
  await vip()
  requests.child.kill('SIGSTOP')
  await balance('sock', replicas)
  await apply(packetPath, async () => (await dig('vote')).join() === VIP4)
  await balance('tc', replicas)
  requests.child.kill('SIGCONT')
  const [, killed] = replicas
  if (killed) await replacement(requests, packetPath, killed)
  requests.child.kill('SIGSTOP')
  await table()
  requests.child.kill('SIGCONT')
  title(`all ${checked()} checks hold, ${((Date.now() - started) / 1000).toFixed(1)} s`)
}

try {
  await main()
} catch (error) {
  console.error(`\ndemo failed: ${reasonOf(error)}`)
  if (error instanceof Error && error.cause) console.error(error.cause)
  for (const { agent } of world.nodes)
    console.error(`--- ${agent.name}, its last words\n${agent.lastWords()}`)
  process.exitCode = 1
} finally {
  await world.close()
}
