/**
 * Backends that drain, or are removed, with real sockets: flows go on until the service's deadline,
 * then TCP is reset, UDP goes elsewhere, and sockets of the socket path end.
 */
import { join } from 'node:path'
import t from 'tap'
import { HeldSockets } from '../lib/heldSockets.js'
import { sleep, until } from '../lib/netns.js'
import { Stage, VIP4, VIP6 } from '../lib/stage.js'

t.setTimeout(240_000)

const DRAIN_SECONDS = 5
const FAMILIES = [
  ['v4', VIP4],
  ['v6', VIP6],
] as const
const PROTOCOLS = ['tcp', 'udp'] as const

/** How a socket ends whose backend's time is over; a UDP flow of the tc path goes elsewhere. */
const ENDINGS = {
  sock: { tcp: 'ECONNABORTED', udp: 'EDESTADDRREQ' },
  tc: { tcp: 'ECONNRESET', udp: 'backend-1' },
} as const

for (const path of ['tc', 'sock'] as const) {
  t.test(`the ${path} path`, async (t) => {
    const stage = await Stage.build(t, 2)
    for (const { space, id } of stage.backends) {
      const echo = space.spawn(process.execPath, [join(import.meta.dirname, '../lib/echo.js'), id])
      await echo.printed(/ready/)
    }
    /** @param states of the backends; one that is left out is removed */
    const define = (...states: (string | undefined)[]) =>
      stage.definition(
        path === 'sock',
        stage.service({
          ports: ['7/tcp', '7/udp'],
          drain: `${DRAIN_SECONDS}s`,
          backends: stage.backends.flatMap(({ v4, v6 }, at) =>
            states[at] === undefined ? [] : [{ address: [v4, v6], state: states[at] }],
          ),
        }),
      )
    await stage.start(define('active', 'active'))
    const held = new HeldSockets(stage.client)
    t.teardown(async () => held.stop())

    /** Opens one of each kind; returns name → backend. */
    const openAll = async (round: string): Promise<Map<string, string>> => {
      const opened = new Map<string, string>()
      for (const [family, vip] of FAMILIES)
        for (const protocol of PROTOCOLS) {
          const name = `${round} ${protocol} ${family}`
          opened.set(name, await held.open(name, protocol, vip))
        }
      return opened
    }
    const at = (opened: Map<string, string>, id: string) =>
      [...opened].filter(([, backend]) => backend === id).map(([name]) => name)

    const opened = new Map([...(await openAll('a')), ...(await openAll('b'))])
    const [first, second] = [at(opened, 'backend-0'), at(opened, 'backend-1')]
    t.same([first.length, second.length], [4, 4], 'in turn, each family and protocol by itself')

    for (const how of ['draining', undefined] as const) {
      t.test(how ?? 'removed', async (t) => {
        const sockets = how === 'draining' ? first : at(await again(), 'backend-0')
        await stage.agent.apply(define(how, 'active'))
        const since = performance.now()
        const fresh = await openAll(`during ${how}`)
        t.same(new Set(fresh.values()), new Set(['backend-1']), 'takes no new one')
        for (const name of sockets) t.equal(await held.ask(name), 'backend-0', `${name} goes on`)
        t.ok(performance.now() - since < DRAIN_SECONDS * 1000, 'asked in time')
        await sleep(DRAIN_SECONDS * 1000 + 500 - (performance.now() - since))
        for (const name of sockets) {
          const protocol = name.includes('tcp') ? 'tcp' : 'udp'
          t.equal(await held.ask(name), ENDINGS[path][protocol], `${name} has ended`)
        }
        for (const name of [...second, ...fresh.keys()])
          t.equal(await held.ask(name), 'backend-1', `${name} goes on`)
        if (path === 'tc')
          t.equal(
            (await stage.agent.metric(
              'fairlead_connections_ended_total',
              'reason="gone"',
              'path="tc"',
            )) > 0,
            true,
          )
      })
    }

    /** Four new sockets of which those of one backend are of use. */
    async function again(): Promise<Map<string, string>> {
      await stage.agent.apply(define('active', 'active'))
      return new Map([...(await openAll('c')), ...(await openAll('d'))])
    }

    t.test('nothing else is left', async (t) => {
      await stage.agent.apply(define('draining', undefined))
      const since = performance.now()
      const last = await openAll('last')
      t.same(new Set(last.values()), new Set(['backend-0']), 'a draining backend is used')
      await sleep(DRAIN_SECONDS * 1000 + 500 - (performance.now() - since))
      for (const name of last.keys())
        t.equal(await held.ask(name), 'backend-0', `${name} has no deadline meanwhile`)
      await stage.agent.apply(define('draining', 'active'))
      for (const name of last.keys())
        t.equal(await held.ask(name), 'backend-0', `${name}: the clock starts`)
      t.same(new Set((await openAll('next')).values()), new Set(['backend-1']))
      await sleep(DRAIN_SECONDS * 1000 + 500)
      for (const name of last.keys()) t.not(await held.ask(name), 'backend-0', `${name} has ended`)
    })

    t.test('a clock goes on when the agent does not', async (t) => {
      await stage.agent.apply(define('active', 'active'))
      const opened = new Map([...(await openAll('e')), ...(await openAll('f'))])
      const sockets = at(opened, 'backend-0')
      await stage.agent.apply(define(undefined, 'active'))
      const since = performance.now()
      await stage.agent.stop('SIGKILL')
      for (const name of sockets) t.equal(await held.ask(name), 'backend-0', name)
      stage.agent.start('--detach-on-exit')
      await stage.agent.ready()
      const ready = performance.now()
      if (performance.now() - since < DRAIN_SECONDS * 1000 - 1000)
        for (const name of sockets) t.equal(await held.ask(name), 'backend-0', name)
      else t.comment('the machine is too slow to look before the deadline')
      await sleep(DRAIN_SECONDS * 1000 + 500 - (performance.now() - since))
      await until(
        'the flows to end',
        async () => (await held.ask(sockets[0] ?? '')) !== 'backend-0',
      )
      t.ok(performance.now() - ready < DRAIN_SECONDS * 1000, 'not a new deadline')
      for (const name of sockets.slice(1)) t.not(await held.ask(name), 'backend-0', name)
    })
  })
}
