/** Maps that run full: what there was works on, the rest is named, and room is used when it comes. */
import t from 'tap'
import { run, until } from '../lib/netns.js'
import { Stage, VIP4, VIP6 } from '../lib/stage.js'

interface Told {
  readonly item: string
  readonly code: string
  readonly reason: string
}

/** The least that the file allows. */
const LEAST = 16

for (const [map, limit] of [
  ['services', 'services'],
  ['vips4', 'vips'],
  ['ports4', 'ports'],
  ['vips6', 'vips'],
  ['ports6', 'ports'],
  ['slots', 'slots'],
  ['backends', 'backends'],
] as const) {
  t.test(`map ${map} is full`, async (t) => {
    const stage = await Stage.build(t, 1)
    const roomy = { services: 64, backends: 64, slots: 64, vips: 64, ports: 64 }
    const agent = { limits: { ...roomy, [limit]: LEAST } }
    const [subnet, vip, host] = map.endsWith('6')
      ? (['fd00:1::', VIP6, `[${VIP6}]`] as const)
      : (['10.1.0.', VIP4, VIP4] as const)
    const more = Array.from({ length: 20 }, (_, i) =>
      stage.service({ name: `more${i}`, vip: `${subnet}${50 + i}`, backends: [`${subnet}100`] }),
    )
    const [backend] = stage.backends
    const web = stage.service({ vip, backends: [map.endsWith('6') ? backend?.v6 : backend?.v4] })
    const works = async () => (await stage.curl(`http://${host}/`)).stdout.trim()
    await stage.start({ ...stage.definition(false, web), agent })
    t.equal(await works(), 'backend-0')

    await stage.agent.apply({ ...stage.definition(false, web, ...more), agent })
    const told = await until('the problems', async () => {
      const { problems } = JSON.parse(await stage.agent.command('problems', '--json')) as {
        problems: Told[]
      }
      return problems.length > 0 && problems
    })
    t.ok(told.every(({ item }) => item.startsWith('service net1/more')))
    t.ok(told.every(({ code }) => code === 'MAP_FULL'))
    t.match(told[0]?.reason, new RegExp(`map ${map}.*\\d+ entries`))
    t.equal(await works(), 'backend-0', 'the service that was there works on')
    const label = `map="${map}"`
    const entries = await stage.agent.metric('fairlead_map_entries', label)
    const capacity = await stage.agent.metric('fairlead_map_capacity_entries', label)
    t.equal(capacity, LEAST)
    t.ok(entries > LEAST - 3 && entries <= LEAST, `${entries} of ${capacity} entries`)

    await stage.agent.apply({ ...stage.definition(false, web), agent })
    const { problems } = JSON.parse(await stage.agent.command('problems', '--json')) as {
      problems: Told[]
    }
    t.same(problems, [], 'there is room again')
    await stage.agent.apply({ ...stage.definition(false, web, ...more.slice(0, 1)), agent })
    t.equal(await works(), 'backend-0')
  })
}

/** Ids of everything of a kind in the kernel whose name is one of ours. */
async function listed(kind: 'prog' | 'map' | 'link'): Promise<Set<number>> {
  const { stdout } = await run('bpftool', ['-j', kind, 'list'])
  return new Set((JSON.parse(stdout) as { id: number }[]).map(({ id }) => id))
}

t.test('detach leaves nothing in the kernel', async (t) => {
  const stage = await Stage.build(t, 1)
  stage.agent.write(stage.definition(true))
  const kinds = ['prog', 'map', 'link'] as const
  const before = await Promise.all(kinds.map(listed))
  stage.agent.start()
  await stage.agent.ready()
  const during = await Promise.all(kinds.map(listed))
  await stage.agent.stop('SIGKILL')
  await run(process.execPath, [stage.agent.program, 'detach', '--pins', stage.agent.pins])
  for (const [i, kind] of kinds.entries()) {
    // Other tests may run: only what came with this agent counts.
    const came = [...(during[i] ?? [])].filter((id) => !before[i]?.has(id))
    t.ok(came.length > 4, `${came.length} of kind ${kind} came`)
    await until(`every ${kind} to go`, async () => {
      const now = await listed(kind)
      return came.every((id) => !now.has(id))
    })
  }
})
