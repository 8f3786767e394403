/** `fairlead flows`: the flow table, in the columns of `ipvsadm -Lnc`. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { FlowParameters, FlowView } from '../api/schema.js'
import { flowStates } from '../model/flows.js'
import { asking, type AgentOptions, client } from './output.js'
import { endpoint } from './words.js'

interface FlowsOptions extends AgentOptions, Omit<FlowParameters, 'limit' | 'cursor'> {
  readonly limit?: number
}

/** What the API gives at a time. */
const PAGE = 1000
const END_WIDTH = 22

export function addFlows(program: Command): void {
  const end = 'address, address/prefix, address:port or :port'
  asking(program.command('flows').description('list tracked connections, as ipvsadm -Lnc does'))
    .addOption(new Option('--protocol <protocol>', 'tcp or udp').choices(['tcp', 'udp']))
    .addOption(new Option('--state <state>', 'in this state').choices(flowStates))
    .addOption(new Option('--path <path>', 'on this path').choices(['tc', 'xdp']))
    .option('--network <name>', 'of this network')
    .option('--service <name>', 'of this service, or network/service')
    .option('--client <end>', `from ${end}`)
    .option('--vip <end>', `to ${end}`)
    .option('--backend <end>', `led to ${end}`)
    .option('--limit <count>', 'no more than so many', countOf)
    .action(async ({ limit = Infinity, json, socket, ...asked }: FlowsOptions) => {
      let out: JsonList | Lines | undefined
      let left = limit
      for await (const page of client({ socket }).flows({
        ...asked,
        limit: Math.min(PAGE, left),
      })) {
        // Not before there is an answer: without an agent there is an error, and nothing else.
        out ??= json === true ? new JsonList() : new Lines()
        out.add(page.slice(0, left))
        left -= page.length
        if (left <= 0) break
      }
      out?.end()
    })
}

function countOf(text: string): number {
  const count = Number(text)
  if (!Number.isSafeInteger(count) || count < 1) throw new InvalidArgumentError('Not a count.')
  return count
}

/** Written page by page: a table may have a million rows. */
class Lines {
  constructor() {
    process.stdout.write(
      `${line('pro', 'expire', 'state', 'source', 'virtual', 'destination', 'path', 'service')}\n`,
    )
  }

  add(flows: readonly FlowView[]): void {
    process.stdout.write(flows.map((flow) => `${lineOf(flow)}\n`).join(''))
  }

  end(): void {
    // Nothing follows the last line.
  }
}

class JsonList {
  #any = false

  constructor() {
    process.stdout.write('{"flows":[')
  }

  add(flows: readonly FlowView[]): void {
    for (const flow of flows) {
      process.stdout.write(`${this.#any ? ',' : ''}\n${JSON.stringify(flow)}`)
      this.#any = true
    }
  }

  end(): void {
    process.stdout.write(']}\n')
  }
}

function lineOf({ protocol, expiresSeconds, state, client, vip, backend, ...flow }: FlowView) {
  const ends = [client, vip, backend].map((end) =>
    end === undefined ? '-' : endpoint(end.address, end.port),
  )
  const expires = expiresSeconds === undefined ? '-' : clockText(expiresSeconds)
  return line(protocol.toUpperCase(), expires, state, ...ends, flow.path, flow.service ?? '-')
}

/** Columns that a value may be too wide for: it pushes the rest on. */
function line(protocol: string, expires: string, state: string, ...rest: string[]): string {
  const [source = '', virtual = '', destination = '', path = '', service = ''] = rest
  const ends = [source, virtual, destination].map((text) => text.padEnd(END_WIDTH))
  return [protocol.padEnd(3), expires.padEnd(6), state.padEnd(11), ...ends, path.padEnd(4), service]
    .join(' ')
    .trimEnd()
}

/** `14:57`, minutes beyond an hour too, as ipvsadm has it. */
function clockText(seconds: number): string {
  const whole = Math.floor(seconds)
  return [Math.floor(whole / 60), whole % 60].map((part) => String(part).padStart(2, '0')).join(':')
}
