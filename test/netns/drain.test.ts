/**
 * Backends that drain, or are removed, with real sockets: flows go on until the service's deadline,
 * then TCP is reset, UDP goes elsewhere, and sockets of the socket path end.
 */
import t from 'tap'
import { HeldSockets } from '../lib/heldSockets.js'
import { sleep, until } from '../lib/netns.js'
import { Way } from '../lib/ways.js'

t.setTimeout(240_000)

const DRAIN_SECONDS = 8
const PROTOCOLS = ['tcp', 'udp'] as const

/** How a socket ends whose backend's time is over; a UDP flow that is balanced by packet goes elsewhere. */
const ENDINGS = {
  sock: { tcp: 'ECONNABORTED', udp: 'EDESTADDRREQ' },
  tc: { tcp: 'ECONNRESET', udp: 'backend-1' },
  xdp: { tcp: 'ECONNRESET', udp: 'backend-1' },
} as const

// They mostly wait for the same seconds to pass.
t.jobs = 3

for (const path of ['tc', 'sock', 'xdp'] as const) {
  t.test(`the ${path} path`, { buffered: true }, async (t) => {
    const way = await Way.build(t, path, 2)
    await way.echo()
    /** @param states of the backends; one that is left out is removed */
    const define = (...states: (string | undefined)[]) => ({
      ports: ['7/tcp', '7/udp'],
      publish: [],
      drain: `${DRAIN_SECONDS}s`,
      backends: way.backends.flatMap(({ v4, v6 }, at) =>
        states[at] === undefined ? [] : [{ address: [v4, v6], state: states[at] }],
      ),
    })
    await way.start(define('active', 'active'))
    const held = new HeldSockets(way.client)
    t.teardown(async () => held.stop())

    /** Opens one of each kind; returns name → backend. */
    const openAll = async (round: string): Promise<Map<string, string>> => {
      const opened = new Map<string, string>()
      for (const vip of way.hosts)
        for (const protocol of PROTOCOLS) {
          const name = `${round} ${protocol} ${vip}`
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
        await way.apply(define(how, 'active'))
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
        // Whoever meets the row first counts it: a packet, or the sweep.
        if (path !== 'sock')
          t.ok(
            (await way.agent.metric('fairlead_connections_ended_total', 'reason="gone"')) > 0,
            'counted',
          )
      })
    }

    /** Four new sockets of which those of one backend are of use. */
    async function again(): Promise<Map<string, string>> {
      await way.apply(define('active', 'active'))
      return new Map([...(await openAll('c')), ...(await openAll('d'))])
    }

    t.test('nothing else is left', async (t) => {
      await way.apply(define('draining', undefined))
      const since = performance.now()
      const last = await openAll('last')
      t.same(new Set(last.values()), new Set(['backend-0']), 'a draining backend is used')
      await sleep(DRAIN_SECONDS * 1000 + 500 - (performance.now() - since))
      for (const name of last.keys())
        t.equal(await held.ask(name), 'backend-0', `${name} has no deadline meanwhile`)
      await way.apply(define('draining', 'active'))
      for (const name of last.keys())
        t.equal(await held.ask(name), 'backend-0', `${name}: the clock starts`)
      t.same(new Set((await openAll('next')).values()), new Set(['backend-1']))
      await sleep(DRAIN_SECONDS * 1000 + 500)
      for (const name of last.keys()) t.not(await held.ask(name), 'backend-0', `${name} has ended`)
    })

    t.test('a clock goes on when the agent does not', async (t) => {
      await way.apply(define('active', 'active'))
      const opened = new Map([...(await openAll('e')), ...(await openAll('f'))])
      const sockets = at(opened, 'backend-0')
      await way.apply(define(undefined, 'active'))
      const since = performance.now()
      await way.agent.stop('SIGKILL')
      for (const name of sockets) t.equal(await held.ask(name), 'backend-0', name)
      way.agent.start('--detach-on-exit')
      await way.agent.ready()
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
