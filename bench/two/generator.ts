/**
 * The generator's half of a measurement between two machines: dials what the other one has set up, and
 * sends it frames. usage: generator.js --interface NIC --file WAY [--rounds N] [--json FILE]
 * WAY: as the subject's half has written it.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Namespace, NetLab, run } from '../../test/lib/netns.js'
import { machine } from '../frame/machine.js'
import { giveNic, NIC, PLACES, takeNic } from '../frame/stage.js'
import { median, noise, spread } from '../frame/statistics.js'
import { HOST_CASES, type HostCase, type Measured } from '../host/cases.js'
import type { Way } from './way.js'

const BENCH = join(import.meta.dirname, '..')
const DIALLED = ['connect', 'pingpong', 'stream']

const { values } = parseArgs({
  options: {
    interface: { type: 'string' },
    file: { type: 'string', default: 'way.json' },
    rounds: { type: 'string', default: '9' },
    frames: { type: 'string', default: '20000000' },
    json: { type: 'string' },
  },
})

async function traffic(command: string, given: readonly string[]): Promise<Measured> {
  const { stdout } = await run(join(BENCH, 'traffic'), [command, ...given], { timeoutMs: 120_000 })
  return JSON.parse(stdout) as Measured
}

async function dialled(way: readonly string[], rounds: number) {
  const measured = new Map<HostCase, Measured[]>()
  for (let round = 0; round <= rounds; round++)
    for (const one of HOST_CASES.filter(({ name }) => DIALLED.includes(name))) {
      const result = await traffic(`dial-${one.name}`, [...way, ...one.arguments(false, round)])
      // The first round warms up.
      if (round > 0) measured.set(one, [...(measured.get(one) ?? []), result])
    }
  return [...measured].map(([{ name, unit, figure }, all]) => {
    const figures = all.map(figure)
    const microseconds = (pick: (one: Measured) => number | undefined) =>
      median(all.map((one) => (pick(one) ?? NaN) / 1000))
    const latency = { p50: microseconds((one) => one.p50), p99: microseconds((one) => one.p99) }
    const row = { case: name, unit, figure: spread(figures), noise: noise(figures) }
    return all[0]?.p50 === undefined ? row : { ...row, latency }
  })
}

async function measure(space: Namespace, way: Way): Promise<object> {
  const given = [`client=${space.path}`, `dial=${way.dial}`, `port=${way.port}`]
  const rows = await dialled(given, Number(values.rounds))
  for (const { case: name, unit, figure } of rows)
    console.log(`${name.padEnd(10)} ${figure.median.toPrecision(4)} ${unit}`)
  console.log('sending frames: the other half tells how many arrive')
  const { units, cost } = await traffic('send', [
    ...[...given, `out=${NIC}`, `mac=${way.mac}`, `from=${PLACES.crowd}`, 'flows=1'],
    ...[`object=${join(BENCH, 'frames.bpf.o')}`, 'warm=1024', `count=${values.frames}`],
  ])
  const sentPerSecond = (units / cost) * 1e9
  console.log(`frames     ${Math.round(sentPerSecond).toLocaleString('en')} sent a second`)
  return { way, machine: machine(), rows, sentPerSecond }
}

async function main(nic: string): Promise<void> {
  const way = JSON.parse(readFileSync(values.file, 'utf8')) as Way
  const lab = new NetLab(undefined, 'b')
  const space = await lab.namespace('c')
  await takeNic(space, nic, `${PLACES.client}/24`)
  try {
    await space.ip('route', 'add', 'default', 'via', PLACES.balancer)
    await space.run('ping', ['-c', '3', '-W', '2', PLACES.balancer])
    const document = await measure(space, way)
    if (values.json !== undefined)
      writeFileSync(values.json, `${JSON.stringify(document, null, 2)}\n`)
  } finally {
    await giveNic(space, nic)
    await lab.close()
  }
}

if (values.interface === undefined) {
  console.error('--interface is missing')
  process.exitCode = 2
} else await main(values.interface)
