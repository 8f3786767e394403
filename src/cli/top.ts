/** `fairlead top`: services, or backends, by rate. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { setTimeout as pause } from 'node:timers/promises'
import type { AgentClient } from '../api/client.js'
import type { CountersParameters, CountersView } from '../api/schema.js'
import { asking, type AgentOptions, client, paint } from './output.js'
import { type Rate, ratesBetween, sortKeys, type SortKey, sortRates } from './rates.js'
import { Screen } from './screen.js'
import { table } from './table.js'

interface TopOptions extends AgentOptions {
  readonly by: 'service' | 'backend'
  readonly sort: SortKey
  readonly interval: number
  readonly limit?: number
  readonly once?: boolean
  readonly network?: string
  readonly service?: string
}

interface View {
  by: TopOptions['by']
  sort: SortKey
}

export function addTop(program: Command): void {
  asking(program.command('top').description('show services, or backends, by rate'))
    .addOption(
      new Option('--by <what>', 'a line a service, or a backend')
        .choices(['service', 'backend'])
        .default('service'),
    )
    .addOption(
      new Option('--sort <key>', 'the greatest first').choices(sortKeys).default('connections'),
    )
    .option('--interval <seconds>', 'between two looks', secondsOf, 2)
    .option('--limit <count>', 'lines; else as many as fit', countOf)
    .option('--once', 'look twice, print, and end')
    .option('--network <name>', 'of this network')
    .option('--service <name>', 'of this service, or network/service')
    .action(async (options: TopOptions) => {
      const live = options.once !== true && process.stdout.isTTY && options.json !== true
      if (live) await watch(options)
      else await print(options)
    })
}

function secondsOf(text: string): number {
  const seconds = Number(text)
  if (!(seconds >= 0.1 && seconds <= 3600)) throw new InvalidArgumentError('Not 0.1..3600.')
  return seconds
}

function countOf(text: string): number {
  const count = Number(text)
  if (!Number.isSafeInteger(count) || count < 1) throw new InvalidArgumentError('Not a count.')
  return count
}

/** One look after the other, on lines of their own; until the pipe closes, or once. */
async function print(options: TopOptions): Promise<void> {
  const agent = client(options)
  let before = await look(agent, options, options.by)
  do {
    await pause(options.interval * 1000)
    const after = await look(agent, options, options.by)
    const rates = sortRates(ratesBetween(before, after), options.sort).slice(0, options.limit)
    const seconds = after.uptimeSeconds - before.uptimeSeconds
    if (options.json === true) process.stdout.write(`${JSON.stringify({ seconds, rates })}\n`)
    else process.stdout.write(`${textOf(rates, options.by)}\n`)
    before = after
  } while (options.once !== true)
}

async function look(
  agent: AgentClient,
  { network, service }: TopOptions,
  by: View['by'],
): Promise<CountersView> {
  const asked: CountersParameters = {
    by,
    ...(network !== undefined && { network }),
    ...(service !== undefined && { service }),
  }
  return agent.counters(asked)
}

/** On a terminal, until `q` or Ctrl-C. */
async function watch(options: TopOptions): Promise<void> {
  const agent = client(options)
  const view: View = { by: options.by, sort: options.sort }
  // Before the screen is taken: what is wrong is told on the usual one.
  let before = await look(agent, options, view.by)
  let looked = view.by
  let shown: Rate[] = []
  let seconds = options.interval
  const screen = new Screen()
  const draw = (): void => {
    const head = headText(view, seconds, shown)
    const room = Math.max(1, screen.rows - 4)
    const rates = sortRates(shown, view.sort).slice(0, Math.min(room, options.limit ?? Infinity))
    screen.draw(`${head}\n\n${textOf(rates, view.by)}`)
  }
  screen.onKey((key) => {
    const sort = sortKeys.find((name) => name.startsWith(key))
    if (sort !== undefined) view.sort = sort
    else if (key === 's') {
      view.by = view.by === 'service' ? 'backend' : 'service'
      shown = []
    }
    draw()
  })
  screen.onResize(draw)
  try {
    draw()
    while (await screen.open(options.interval * 1000)) {
      const { by } = view
      const after = await look(agent, options, by)
      // Nothing to compare with: what is shown is another thing now, or the agent is another one.
      const comparable = by === looked && after.uptimeSeconds > before.uptimeSeconds
      shown = comparable ? ratesBetween(before, after) : []
      if (comparable) seconds = after.uptimeSeconds - before.uptimeSeconds
      before = after
      looked = by
      draw()
    }
  } finally {
    screen.close()
  }
}

function headText({ by, sort }: View, seconds: number, rates: readonly Rate[]): string {
  const sum = (what: 'connections' | 'active' | 'bytesIn' | 'bytesOut'): number =>
    rates.reduce((total, rate) => total + rate[what], 0)
  const all = [
    `${shortText(sum('connections'))} connections/s`,
    `${shortText(sum('active'))} active`,
    `in ${shortText(sum('bytesIn') * 8)}bit/s`,
    `out ${shortText(sum('bytesOut') * 8)}bit/s`,
  ].join(', ')
  const keys = 'c a p b n: sort, s: services or backends, q: quit'
  return `${paint(all, 'bold')}\n${paint(`${by}s by ${sort}, over ${seconds.toFixed(1)} s   ${keys}`, 'dim')}`
}

function textOf(rates: readonly Rate[], by: View['by']): string {
  const titles = ['SERVICE', ...(by === 'backend' ? ['BACKEND'] : [])]
  const figures = ['CONN/S', 'ACTIVE', 'INPKT/S', 'OUTPKT/S', 'INBIT/S', 'OUTBIT/S']
  return table(
    [
      ...titles.map((title) => ({ title })),
      ...figures.map((title) => ({ title, align: 'right' as const })),
    ],
    rates.map((rate) => [
      `${rate.network}/${rate.service}`,
      ...(by === 'backend' ? [rate.backend === '' ? 'retired' : (rate.backend ?? '-')] : []),
      ...[rate.connections, rate.active, rate.packetsIn, rate.packetsOut].map(shortText),
      ...[rate.bytesIn * 8, rate.bytesOut * 8].map(shortText),
    ]),
  )
}

/** Three figures and a decimal prefix: `0`, `1.25`, `340`, `1.20k`. */
export function shortText(value: number): string {
  if (value === 0) return '0'
  const units = ['', 'k', 'M', 'G', 'T']
  let at = 0
  let scaled = value
  while (scaled >= 999.5 && at < units.length - 1) {
    scaled /= 1000
    at++
  }
  const text =
    scaled >= 99.95 ? scaled.toFixed(0) : scaled >= 9.995 ? scaled.toFixed(1) : scaled.toFixed(2)
  return `${text.includes('.') ? text.replace(/\.?0+$/, '') : text}${units[at] ?? ''}`
}
