/**
 * How long rules take to get into the kernel: thousands of services at once, and one more. Wall time from
 * the command's start, or from the file's rename, until the kernel has it.
 */
import { type AimResult, judgeInterval } from '../frame/aims.js'
import { machine, versionOf } from '../frame/machine.js'
import type { PartOptions, PartResult } from '../frame/part.js'
import { Stage } from '../frame/stage.js'
import { type Interval, ratioOf, type Spread, spread } from '../frame/statistics.js'
import { NetLab } from '../../test/lib/netns.js'
import { type Loader, LOADERS } from './loaders.js'

const SERVICES = 5000
const QUICK_SERVICES = 1000
const LOAD_AIM = 0.05

interface Row {
  readonly subject: string
  readonly what: 'load' | 'add'
  readonly milliseconds: Spread
  readonly toNft: Interval | null
}

type Times = Map<string, number[]>

async function round(loader: Loader, services: number, times: Record<Row['what'], Times>) {
  const lab = new NetLab(undefined, 'b')
  try {
    const stage = await Stage.build(lab, 'local', 'r', false)
    const prepared = await loader.prepare(stage)
    const timed = async (what: Row['what'], action: () => Promise<void>) => {
      const begun = performance.now()
      await action()
      const all = times[what]
      all.set(loader.name, [...(all.get(loader.name) ?? []), performance.now() - begun])
    }
    await timed('load', () => prepared.load(services))
    await timed('add', () => prepared.add(services))
    await prepared.end()
  } finally {
    await lab.close()
  }
}

function rowsOf(what: Row['what'], times: Times): Row[] {
  const nft = times.get('nft')
  return [...times].map(([subject, values]) => ({
    ...{ subject, what, milliseconds: spread(values) },
    toNft: nft?.length === values.length ? ratioOf(values, nft) : null,
  }))
}

function lineOf({ subject, what, milliseconds: ms, toNft }: Row): string {
  const ratio = toNft
    ? `  ${toNft.ratio.toFixed(3)} (${toNft.low.toFixed(3)}–${toNft.high.toFixed(3)}) of nft's`
    : ''
  const range = `${ms.min.toFixed(1)}–${ms.max.toFixed(1)}`
  return `${what.padEnd(6)}${subject.padEnd(16)}${ms.median.toFixed(1).padStart(10)} ms (${range})${ratio}`
}

function aimsOf(rows: readonly Row[]): AimResult[] {
  return rows.flatMap(({ subject, what, toNft }) =>
    what === 'load' && toNft && subject.startsWith('fairlead')
      ? [
          judgeInterval(
            {
              ...{ aim: `loading ${SERVICES} services, against nft`, of: subject },
              ...{ bound: LOAD_AIM, better: 'less' },
            },
            toNft,
          ),
        ]
      : [],
  )
}

export async function runRules(options: PartOptions): Promise<PartResult> {
  const { quick, chosen, progress, stop } = options
  const services = quick ? QUICK_SERVICES : SERVICES
  const rounds = options.rounds ?? (quick ? 2 : 4)
  const host = machine()
  const times = { load: new Map(), add: new Map() } as Record<Row['what'], Times>
  const leftOut: { subject: string; reason: string }[] = []
  const able: Loader[] = []
  for (const loader of LOADERS.filter(({ name }) => chosen(name))) {
    const reason = await loader.unavailable()
    if (reason === undefined) able.push(loader)
    else leftOut.push({ subject: loader.name, reason })
  }
  for (let at = 0; at < rounds; at++)
    for (const loader of able) {
      stop.throwIfAborted()
      progress.at(`rules: round ${at + 1} of ${rounds}, ${loader.name}`)
      await round(loader, services, times)
    }
  const rows = [...rowsOf('load', times.load), ...rowsOf('add', times.add)]
  // With fewer, nft is not yet slow, and the aim is about another matter.
  const aims = services === SERVICES ? aimsOf(rows) : []
  return {
    document: {
      bench: 'rules',
      ...{ services, rounds, rows, leftOut, machine: host },
      versions: { nft: versionOf('nft', '--version'), node: process.version },
    },
    text: [
      `${services} services, and one more`,
      ...rows.map(lineOf),
      ...leftOut.map(({ subject, reason }) => `left out: ${subject}: ${reason}`),
    ].join('\n'),
    aims,
  }
}
