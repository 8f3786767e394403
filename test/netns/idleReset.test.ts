/** Flows that the sweep of a running agent ends: idle ones by their timers; both ends are told if asked. */
import t from 'tap'
import { HeldSockets } from '../lib/heldSockets.js'
import { sleep, until } from '../lib/netns.js'
import { Way } from '../lib/ways.js'

t.setTimeout(240_000)

/** The sweep runs every five seconds, and more seldom on a busy machine. */
const SWEPT_SECONDS = 40
/** Of both families, as many as are open. */
const ENDS = 2

// They mostly wait for the same seconds to pass.
t.jobs = 2

for (const name of ['tc', 'xdp'] as const) {
  const title = `${name}: idle flows end by their timers, and tell it if they are asked to`
  t.test(title, { buffered: true }, async (t) => {
    const way = await Way.build(t, name, 1)
    const [backend] = way.backends
    if (!backend) throw new Error('no backend')
    await way.echo()
    const define = (reset: boolean) => ({
      ports: ['7/tcp', '7/udp'],
      publish: [],
      timeouts: { established: '3s', udp: '2s', ...(reset && { reset }) },
    })
    await way.start(define(true))
    const held = new HeldSockets(way.client)
    t.teardown(async () => held.stop())
    const open = async (round: string) => {
      for (const vip of way.hosts)
        for (const kind of ['tcp', 'udp'] as const)
          t.equal(await held.open(`${round} ${kind} ${vip}`, kind, vip), 'backend-0')
    }
    const idle = () => way.agent.metric('fairlead_connections_ended_total', 'reason="idle"')
    const connections = async (): Promise<number> => {
      const { stdout } = await backend.space.run('ss', [
        ...['-Htn', 'state', 'established', '( sport = :7 )'],
      ])
      return stdout.split('\n').filter((line) => line !== '').length
    }

    await open('a')
    t.equal(await connections(), ENDS)
    for (const vip of way.hosts)
      t.equal(
        await held.wait(`a tcp ${vip}`, SWEPT_SECONDS),
        'ECONNRESET',
        `${vip}: the client hears of it without a word`,
      )
    await until('the backend to hear of it', async () => (await connections()) === 0)
    await until('UDP to end as well', async () => (await idle()) === 4, SWEPT_SECONDS * 1000)
    for (const vip of way.hosts)
      t.equal(await held.ask(`a udp ${vip}`), 'backend-0', 'UDP begins anew')
    const before = await connections()

    await way.apply(define(false))
    await open('b')
    await until('the sweep', async () => (await idle()) >= 8, SWEPT_SECONDS * 1000)
    await sleep(500)
    t.equal(await connections(), before + ENDS, 'unless it is asked for, nobody is told')
    for (const vip of way.hosts) {
      t.equal(await held.wait(`b tcp ${vip}`, 0.2), 'timeout')
      t.equal(await held.ask(`b tcp ${vip}`), 'ECONNRESET', 'until it speaks')
    }
  })
}
