/** The benchmark's halves, each in a namespace that stands for a machine, with a wire between them. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { NetLab, until } from '../lib/netns.js'

t.setTimeout(120_000)

const TWO = join(import.meta.dirname, '../../bench/two')

interface Told {
  readonly subject: string
  readonly seconds: readonly { readonly frames: number; readonly busyCores: number }[]
}

interface Measured {
  readonly rows: readonly { readonly case: string; readonly figure: { readonly median: number } }[]
  readonly sentPerSecond: number
}

t.test('a subject on one machine, a generator on another, a file between them', async (t) => {
  const lab = new NetLab(t)
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-two-'))
  lab.atClose(() => rmSync(folder, { recursive: true, force: true }))
  const file = (name: string) => join(folder, name)
  const json = (name: string): unknown => JSON.parse(readFileSync(file(name), 'utf8'))
  const [near, far] = [await lab.namespace('near'), await lab.namespace('far')]
  await lab.wire(
    { space: near, link: 'nic0', addresses: [] },
    { space: far, link: 'nic1', addresses: [] },
  )
  // A veth takes frames as frames only through NAPI.
  for (const [space, nic] of [
    [near, 'nic0'],
    [far, 'nic1'],
  ] as const)
    await space.run('ethtool', ['-K', nic, 'gro', 'on'])
  const given = (nic: string, result: string) => [
    ...['--interface', nic, '--file', file('way.json'), '--json', file(result)],
  ]
  const subject = far.spawn(process.execPath, [
    ...[join(TWO, 'subject.js'), '--subject', 'fairlead-tc', ...given('nic1', 'subject.json')],
  ])
  await subject.printed(/written: /)
  await until('the subject to serve', () => Promise.resolve(subject.stdout.includes('cores busy')))
  await near.run(
    process.execPath,
    [
      ...[join(TWO, 'generator.js'), '--rounds', '1', '--frames', '200000'],
      ...given('nic0', 'generator.json'),
    ],
    { timeoutMs: 60_000 },
  )
  const taken = subject.stdout.length
  await until('the last second to be told', () =>
    Promise.resolve(subject.stdout.slice(taken).includes('cores busy')),
  )
  t.equal(await subject.stop('SIGINT', 20_000), 0)
  const { rows, sentPerSecond } = json('generator.json') as Measured
  t.same(
    rows.map((row) => row.case),
    ['connect', 'pingpong', 'stream'],
  )
  for (const row of rows) t.ok(row.figure.median > 0, row.case)
  t.ok(sentPerSecond > 1000)
  const told = json('subject.json') as Told
  t.equal(told.subject, 'fairlead-tc')
  t.ok(
    told.seconds.some(({ frames }) => frames > 1000),
    'frames arrived',
  )
  for (const [space, nic] of [
    [near, 'nic0'],
    [far, 'nic1'],
  ] as const)
    t.match(await space.ip('-o', 'link', 'show', nic), nic, 'the NIC was given back')
})
