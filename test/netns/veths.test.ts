/**
 * Containers are handed their packets at their own end of the veth (`bpf_redirect_peer`): seen by what
 * the host's end has not sent. Where that cannot be, or must not, packets go by the bridge.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { NODE4, NODE6 } from '../lib/stage.js'
import { Way } from '../lib/ways.js'

t.setTimeout(300_000)

const REQUESTS = 10
/** ARP, neighbour discovery and multicast are in it, too; requests are four packets each at the least. */
const FEW = REQUESTS
const PATIENCE_MS = 20_000

const url = (host: string): string => (host.includes(':') ? `http://[${host}]/` : `http://${host}/`)

async function ask(way: Way, host: string): Promise<string> {
  const args = ['-sS', '--connect-timeout', '1', '--max-time', '5', url(host)]
  return (await way.client.run('curl', args, { mayFail: true })).stdout.trim()
}

/** Packets that have left the host by a backend's veth. */
async function sentTo(way: Way, id: string): Promise<number> {
  const at = id.replace('backend-', '')
  const { stdout } = await way.node.run('ip', ['-j', '-s', 'link', 'show', `v-b${at}`])
  const [link] = JSON.parse(stdout) as { stats64: { tx: { packets: number } } }[]
  return link?.stats64.tx.packets ?? NaN
}

/** Of requests to a VIP, how many packets left by the backend's veth. */
async function byVeth(t: Test, way: Way, host: string): Promise<number> {
  const [backend] = way.backends
  if (!backend) throw new Error('there is no backend')
  const before = await sentTo(way, backend.id)
  for (let i = 0; i < REQUESTS; i++) t.equal(await ask(way, host), backend.id, host)
  return (await sentTo(way, backend.id)) - before
}

/** Waits until what has been known is no longer, or is known at last. */
async function until(
  t: Test,
  way: Way,
  host: string,
  holds: (packets: number) => boolean,
): Promise<void> {
  const end = Date.now() + PATIENCE_MS
  let packets = await byVeth(t, way, host)
  while (!holds(packets) && Date.now() < end) {
    await sleep(200)
    packets = await byVeth(t, way, host)
  }
  if (!holds(packets)) t.fail(`${host}: ${packets} packets by the veth`)
}

const past = (packets: number): boolean => packets < FEW
const bridged = (packets: number): boolean => packets > 3 * REQUESTS

/**
 * The container's interface goes and another one comes, with the same addresses and another MAC, which it
 * makes known by its first words.
 */
async function replug(way: Way): Promise<void> {
  const [backend] = way.backends
  if (!backend) throw new Error('there is no backend')
  await way.node.ip('link', 'del', 'v-b0')
  const { space, v4, v6 } = backend
  const addresses = [`${v4}/24`, `${v6}/64`]
  await way.lab.plug(way.node, space, { addresses, bridge: 'br0', hostLink: 'v-b0' })
  const gateways = way.name === 'xdp' ? ['10.1.0.1', 'fd00:1::1'] : [NODE4, NODE6]
  for (const gateway of gateways) {
    if (way.name === 'xdp') await space.ip('route', 'add', 'default', 'via', gateway)
    await space.run('ping', ['-c', '1', '-W', '5', gateway])
  }
}

async function served(t: Test, way: Way): Promise<void> {
  const end = Date.now() + PATIENCE_MS
  for (const host of way.hosts) {
    let answer = ''
    while (answer === '' && Date.now() < end) answer = await ask(way, host)
    t.equal(answer, 'backend-0', `${host} is served`)
  }
}

for (const path of ['tc', 'xdp'] as const) {
  t.test(`${path}: past the bridge, to a container that moves too`, async (t) => {
    const way = await Way.build(t, path, 1)
    await way.start()
    await served(t, way)
    for (const host of way.hosts) await until(t, way, host, past)
    const { stdout } = await way.agent.run(
      ...['explain', path === 'tc' ? '10.1.0.8' : '192.0.2.8', `${way.hosts[0]}:80`, 'tcp'],
    )
    t.match(stdout, /past the bridge at v-b0/)
    await replug(way)
    await served(t, way)
    for (const host of way.hosts) await until(t, way, host, past)
  })

  t.test(`${path}: by the bridge without an agent`, async (t) => {
    const way = await Way.build(t, path, 1)
    await way.start()
    await served(t, way)
    for (const host of way.hosts) await until(t, way, host, past)
    await way.agent.stop('SIGKILL')
    await replug(way)
    await served(t, way)
    for (const host of way.hosts) t.ok(bridged(await byVeth(t, way, host)), host)
  })

  t.test(`${path}: by the bridge if the file says so`, async (t) => {
    const way = await Way.build(t, path, 1)
    await way.start({}, { redirectPeer: false })
    await served(t, way)
    // Longer than it would take to be found.
    await sleep(3_000)
    for (const host of way.hosts) t.ok(bridged(await byVeth(t, way, host)), host)
  })
}

t.test('by the bridge while a veth is shaped', async (t) => {
  const way = await Way.build(t, 'tc', 1)
  await way.start()
  await served(t, way)
  for (const host of way.hosts) await until(t, way, host, past)
  const shape = ['root', 'tbf', 'rate', '100mbit', 'burst', '1mb', 'latency', '50ms']
  await way.node.run('tc', ['qdisc', 'replace', 'dev', 'v-b0', ...shape])
  for (const host of way.hosts) await until(t, way, host, bridged)
  await way.node.run('tc', ['qdisc', 'del', 'dev', 'v-b0', 'root'])
  for (const host of way.hosts) await until(t, way, host, past)
})
