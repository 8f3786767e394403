/** Active connections, as the command tells them, beside those that are really open. */
import { join } from 'node:path'
import t from 'tap'
import { HeldSockets } from '../lib/heldSockets.js'
import { until } from '../lib/netns.js'
import { Stage, VIP4, VIP6 } from '../lib/stage.js'

t.setTimeout(240_000)

interface Listed {
  readonly services: {
    readonly totals: { readonly active: number }
    readonly backends: {
      readonly address: string
      readonly totals: { readonly active: number; readonly inactive: number }
    }[]
  }[]
}

async function stageOf(t: Parameters<typeof Stage.build>[0], sockets: boolean, agent = {}) {
  const stage = await Stage.build(t, 2)
  for (const { space, id } of stage.backends) {
    const echo = space.spawn(process.execPath, [join(import.meta.dirname, '../lib/echo.js'), id])
    await echo.printed(/ready/)
  }
  const service = stage.service({
    ports: ['7/tcp', '7/udp'],
    timeouts: { closing: '2s', udp: '3s' },
  })
  await stage.start({ ...stage.definition(sockets, service), agent })
  const list = async (): Promise<Listed> =>
    JSON.parse(await stage.agent.command('list', '--connections', '--json')) as Listed
  /** By address. */
  const active = async (): Promise<Record<string, number>> =>
    Object.fromEntries(
      ((await list()).services[0]?.backends ?? []).map(({ address, totals }) => [
        address,
        totals.active,
      ]),
    )
  /** What the backends' own kernels say: by address, like the above. */
  const established = async (): Promise<Record<string, number>> => {
    const counts: Record<string, number> = {}
    for (const { space, v4, v6 } of stage.backends)
      for (const [flag, address] of [
        ['-4', v4],
        ['-6', v6],
      ] as const) {
        const filter = ['-Htn', flag, 'state', 'established', 'sport', '=', ':7']
        const { stdout } = await space.run('ss', filter)
        // An IPv4 connection of an IPv6 socket is among those of the latter.
        const lines = stdout.split('\n').filter((line) => line.includes(address))
        counts[address] = (counts[address] ?? 0) + lines.length
        if (flag === '-6')
          counts[v4] = (counts[v4] ?? 0) + stdout.split('\n').filter((l) => l.includes(v4)).length
      }
    return counts
  }
  return { stage, list, active, established }
}

for (const path of ['tc', 'sock'] as const) {
  t.test(`the ${path} path`, async (t) => {
    const { stage, list, active, established } = await stageOf(t, path === 'sock')
    const held = new HeldSockets(stage.client)
    t.teardown(async () => held.stop())
    const names: string[] = []
    for (let n = 0; n < 7; n++)
      for (const vip of [VIP4, VIP6]) {
        const name = `${vip} ${n}`
        t.match(await held.open(name, 'tcp', vip), /^backend-/)
        names.push(name)
      }
    t.same(await active(), await established(), 'as many as the backends have')
    t.equal((await list()).services[0]?.totals.active, 14)
    t.equal(await stage.agent.metric('fairlead_connections_active', `path="${path}"`), 14)
    t.equal(await stage.agent.metric('fairlead_connections_active'), 14)
    const text = await stage.agent.command('list', '--connections', '--path', path)
    const columns = text.split('\n').flatMap((line) => {
      const [, , address, , , count] = line.split(/\s+/)
      return line.startsWith('  -> 1') || line.startsWith('  -> [f') ? [[address, count]] : []
    })
    t.equal(columns.length, 4)
    t.equal(
      columns.reduce((sum, [, count]) => sum + Number(count), 0),
      14,
      text,
    )

    for (const name of names.splice(0, 6)) await held.close(name)
    await until('the ends to be seen', async () => (await list()).services[0]?.totals.active === 8)
    t.same(await active(), await established())
    if (path === 'tc') {
      const inactive = async (): Promise<number> =>
        ((await list()).services[0]?.backends ?? []).reduce(
          (sum, { totals }) => sum + totals.inactive,
          0,
        )
      await held.open('udp', 'udp', VIP4)
      t.equal((await list()).services[0]?.totals.active, 9, 'a datagram begins a flow')
      await until(
        'the sweep to end it',
        async () => (await list()).services[0]?.totals.active === 8,
        30_000,
      )
      await until('what has ended to be forgotten', async () => (await inactive()) === 0, 30_000)
    }
    await held.stop()
    await until('none to be left', async () => (await list()).services[0]?.totals.active === 0)
    t.same(await active(), await established())
  })
}

t.test('rows that were evicted are counted no longer', async (t) => {
  const { stage, list } = await stageOf(t, false, { limits: { flows: 32 } })
  const held = new HeldSockets(stage.client)
  t.teardown(async () => held.stop())
  const count = 160
  for (let n = 0; n < count; n++) await held.open(`${n}`, 'tcp', n % 2 === 0 ? VIP4 : VIP6)
  const rows = async (): Promise<number> => {
    const { maps } = JSON.parse(await stage.agent.command('maps', '--json')) as {
      maps: { map: string; entries: number }[]
    }
    return maps.reduce(
      (sum, { map, entries }) => (/^(flows|embryonic)/.test(map) ? sum + entries : sum),
      0,
    )
  }
  const left = await rows()
  t.ok(left < count, `${left} of ${count} rows are left`)
  await until('the recount', async () => (await list()).services[0]?.totals.active === left, 30_000)
  t.equal(await rows(), left)
  t.equal(
    await stage.agent.metric('fairlead_connections_ended_total', 'reason="evicted"'),
    count - left,
  )
})
