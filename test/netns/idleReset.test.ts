/** Flows that the sweep of a running agent ends: idle ones by their timers; both ends are told if asked. */
import { join } from 'node:path'
import t from 'tap'
import { HeldSockets } from '../lib/heldSockets.js'
import { sleep, until } from '../lib/netns.js'
import { Stage, VIP4, VIP6 } from '../lib/stage.js'

t.setTimeout(240_000)

/** The sweep runs every five seconds, and more seldom on a busy machine. */
const SWEPT_SECONDS = 40

t.test('idle flows end by their timers, and tell it if they are asked to', async (t) => {
  const stage = await Stage.build(t, 1)
  const [backend] = stage.backends
  if (!backend) throw new Error('no backend')
  const echo = backend.space.spawn(process.execPath, [
    join(import.meta.dirname, '../lib/echo.js'),
    backend.id,
  ])
  await echo.printed(/ready/)
  const define = (reset: boolean) =>
    stage.definition(
      false,
      stage.service({
        ports: ['7/tcp', '7/udp'],
        timeouts: { established: '3s', udp: '2s', ...(reset && { reset }) },
      }),
    )
  await stage.start(define(true))
  const held = new HeldSockets(stage.client)
  t.teardown(async () => held.stop())
  const open = async (round: string) => {
    for (const [family, vip] of [
      ['v4', VIP4],
      ['v6', VIP6],
    ] as const)
      for (const kind of ['tcp', 'udp'] as const)
        t.equal(await held.open(`${round} ${kind} ${family}`, kind, vip), 'backend-0')
  }
  const idle = () => stage.agent.metric('fairlead_connections_ended_total', 'reason="idle"')
  const connections = async (): Promise<number> => {
    const before = echo.stdout.length
    echo.child.stdin?.write('\n')
    await until('the backend to say', () => /connections \d+\n/.test(echo.stdout.slice(before)))
    return Number(/connections (\d+)\n/.exec(echo.stdout.slice(before))?.[1])
  }

  await open('a')
  t.equal(await connections(), 2)
  for (const family of ['v4', 'v6'])
    t.equal(
      await held.wait(`a tcp ${family}`, SWEPT_SECONDS),
      'ECONNRESET',
      `${family}: the client hears of it without a word`,
    )
  await until('the backend to hear of it', async () => (await connections()) === 0)
  await until('UDP to end as well', async () => (await idle()) === 4, SWEPT_SECONDS * 1000)
  for (const family of ['v4', 'v6'])
    t.equal(await held.ask(`a udp ${family}`), 'backend-0', 'UDP begins anew')

  await stage.agent.apply(define(false))
  await open('b')
  await until('the sweep', async () => (await idle()) >= 8, SWEPT_SECONDS * 1000)
  await sleep(500)
  t.equal(await connections(), 2, 'unless it is asked for, nobody is told')
  for (const family of ['v4', 'v6']) {
    t.equal(await held.wait(`b tcp ${family}`, 0.2), 'timeout')
    t.equal(await held.ask(`b tcp ${family}`), 'ECONNRESET', 'until it speaks')
  }
})
