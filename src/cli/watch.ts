/** `fairlead watch`: what happens to flows, a line each, as it happens. */
import { type Command, InvalidArgumentError } from 'commander'
import type { FlowEventView } from '../api/schema.js'
import { FairleadError } from '../errors.js'
import { type FlowEventKind, flowEventKinds } from '../model/flowEvents.js'
import { asking, type AgentOptions, client, type Colour, paint } from './output.js'
import { shortText } from './top.js'
import { endpoint, secondsText } from './words.js'

interface WatchOptions extends AgentOptions {
  readonly kind?: readonly string[]
  readonly network?: string
  readonly service?: string
  readonly client?: string
  readonly vip?: string
  readonly backend?: string
  readonly sample?: number
  readonly rate?: number
  readonly count?: number
}

const colours: Readonly<Record<FlowEventKind, Colour | undefined>> = {
  opened: 'green',
  closed: undefined,
  reset: 'yellow',
  refused: 'red',
  dropped: 'red',
}

export function addWatch(program: Command): void {
  const end = 'address, address/prefix, address:port or :port'
  asking(program.command('watch').description('tell what happens to flows, as it happens'))
    .option('--kind <kinds>', `of ${flowEventKinds.join(', ')}; joined by commas`, kindsOf)
    .option('--network <name>', 'of this network')
    .option('--service <name>', 'of this service, or network/service')
    .option('--client <end>', `from ${end}`)
    .option('--vip <end>', `to ${end}`)
    .option('--backend <end>', `led to ${end}`)
    .option('--sample <flows>', 'one flow in so many', countOf)
    .option('--rate <events>', 'in a second at most; else 1000', countOf)
    .option('--count <events>', 'end after so many', countOf)
    .action(watch)
}

function countOf(text: string): number {
  const count = Number(text)
  if (!Number.isSafeInteger(count) || count < 1) throw new InvalidArgumentError('Not a count.')
  return count
}

function kindsOf(text: string): string[] {
  const kinds = text.split(',')
  const wrong = kinds.find((kind) => !flowEventKinds.some((one) => one === kind))
  if (wrong !== undefined) throw new InvalidArgumentError(`No kind is called ${wrong}.`)
  return kinds
}

async function watch({
  json,
  socket,
  kind,
  count: left = Infinity,
  ...asked
}: WatchOptions): Promise<void> {
  const query = { ...asked, kind: kind?.join(',') }
  for await (const { flow, lost } of client({ socket }).events(query)) {
    if (lost !== undefined) tellLost(lost, json === true)
    if (flow === undefined) continue
    process.stdout.write(`${json === true ? JSON.stringify(flow) : lineOf(flow)}\n`)
    if (--left <= 0) return
  }
  throw new FairleadError('AGENT', 'the agent has ended')
}

function tellLost(lost: number, json: boolean): void {
  if (json) process.stdout.write(`${JSON.stringify({ lost })}\n`)
  else process.stderr.write(`fairlead: ${lost} events were lost: ask for fewer, or raise --rate\n`)
}

/** Without titles: it may be read from the middle. */
function lineOf(event: FlowEventView): string {
  const { time, kind, protocol, client: from, vip, backend, service, path } = event
  const ends = [from && endText(from), endText(vip), backend && endText(backend)]
  const parts = [
    time.slice(11, 26),
    paint(kind.padEnd(7), colours[kind]),
    protocol.padEnd(3),
    ends.filter((end) => end !== undefined).join(' > '),
    service ?? '-',
    path,
    event.reason ?? '',
    trafficText(event),
  ]
  return parts.filter((part) => part !== '').join('  ')
}

function endText({ address, port }: { address: string; port: number }): string {
  return port === 0 ? address : endpoint(address, port)
}

function trafficText({ bytesIn, bytesOut, durationSeconds }: FlowEventView): string {
  if (bytesIn === undefined || bytesOut === undefined || durationSeconds === undefined) return ''
  const bytes = `in ${shortText(bytesIn)}B out ${shortText(bytesOut)}B`
  return `${bytes}  ${secondsText(durationSeconds)}`
}
