/** /metrics with every counter in use, and how long others wait for it. */
import { KernelReadback } from '../../src/dataplane/readback.js'
import { Metrics } from '../../src/metrics/metrics.js'
import { Model } from '../../src/model/model.js'
import { put, ScaleScene, services, snapshot } from './scene.js'
import { median, timedAndHeld, type Held } from './timed.js'

/** Milliseconds, but for the series and sizes; as by default, and with a series for each backend. */
export interface Scrapes {
  readonly wall: number
  readonly cpu: number
  /** The longest that the event loop was held up. */
  readonly held: number
  readonly megabytes: number
  readonly series: number
  readonly wholeWall: number
  readonly wholeCpu: number
  readonly wholeHeld: number
  readonly wholeMegabytes: number
  readonly wholeSeries: number
}

interface Taken extends Held {
  readonly megabytes: number
  readonly series: number
}

const SCRAPES = 3

export async function measureScrapes(count: number): Promise<Scrapes> {
  const model = new Model({ sources: ['bench'] })
  const scene = await ScaleScene.open()
  try {
    await put(scene, model.publish('bench', snapshot(services(count))))
    countSomething(scene)
    const { installer, maps, reconciler } = scene
    const readback = new KernelReadback({
      ...{ maps, installer, features: {}, attachments: () => [] },
      reconcile: () => reconciler.stats,
    })
    const state = () => model.current
    const shared = { readback, state, version: 'bench', kernel: 'bench' }
    const some = await scrape(new Metrics(shared))
    const whole = await scrape(new Metrics({ ...shared, maxBackends: Infinity }))
    return {
      ...some,
      ...{ wholeWall: whole.wall, wholeCpu: whole.cpu, wholeHeld: whole.held },
      ...{ wholeMegabytes: whole.megabytes, wholeSeries: whole.series },
    }
  } finally {
    await scene.remove()
  }
}

/** The median of some. */
async function scrape(metrics: Metrics): Promise<Taken> {
  const taken: Held[] = []
  let text: Buffer = Buffer.alloc(0)
  for (let i = 0; i < SCRAPES; i++)
    taken.push(await timedAndHeld(async () => void (text = await metrics.render())))
  const lines = text.toString().split('\n')
  return {
    wall: median(taken.map((each) => each.wall)),
    cpu: median(taken.map((each) => each.cpu)),
    held: median(taken.map((each) => each.held)),
    megabytes: text.length / 1e6,
    series: lines.filter((line) => line !== '' && !line.startsWith('#')).length,
  }
}

/** A connection of each backend on the first path, as traffic would have left them. */
function countSomething({ maps, installer }: ScaleScene): void {
  const { paths, ends, handshakeParts } = maps.constants
  const { ids } = installer
  const row = { packets_in: 9n, bytes_in: 999n, packets_out: 8n, bytes_out: 888n, connections: 1n }
  const counters = maps.get('counters')
  const cpus = counters.getPerCpu(0)?.map(() => row) ?? []
  const handshake = { sum_ns: 60_000n, counts: Array.from({ length: 16 }, () => 1n) }
  const closed = { by: ends.map((end) => (end === 'fin' ? 1n : 0n)) }
  const shake = (id: number, part: string) =>
    maps.get('handshakes').set({ id, part: handshakeParts.indexOf(part), path: 0 }, handshake)
  for (const [id] of ids.backends.entries()) {
    counters.setPerCpu(id * paths.length, cpus)
    maps.get('backend_ends').set(id * paths.length, closed)
    shake(id, 'backend')
  }
  for (const [, id] of ids.services.entries()) shake(id, 'client')
}
