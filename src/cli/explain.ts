/** `fairlead explain`: what becomes of a packet, and why. */
import { type Command, Option } from 'commander'
import type { ExplainParameters, ExplanationView } from '../api/schema.js'
import { asking, type AgentOptions, client, print } from './output.js'
import { pairs, table } from './table.js'
import { secondsText, stateCell } from './words.js'

interface ExplainOptions extends AgentOptions {
  readonly network?: string
  readonly path?: NonNullable<ExplainParameters['path']>
  readonly established?: boolean
}

export function addExplain(program: Command): void {
  asking(program.command('explain').description('tell what becomes of a packet, and why'))
    .argument('<from>', 'the client: address or address:port')
    .argument('<to>', 'address:port that it dials')
    .argument('<proto>', 'tcp or udp')
    .option('--network <name>', "the client's network; else by its address")
    .addOption(
      new Option('--path <path>', 'on this path; else the first that sees it').choices([
        ...['tc', 'sock', 'xdp'],
      ]),
    )
    .option('--established', 'a packet in the middle of a TCP connection, not its first')
    .action(async (from: string, vip: string, protocol: string, options: ExplainOptions) => {
      const { network, path, established } = options
      const explanation = await client(options).explain({
        client: from,
        vip,
        // The agent says what is wrong with any other.
        protocol: protocol.toLowerCase() as 'tcp',
        ...(network !== undefined && { network }),
        ...(path !== undefined && { path }),
        ...(established === true && { established: 'true' as const }),
      })
      print(options, explanation, () => textOf(explanation))
    })
}

const WORDS = new Set(['BACKEND', 'STATE', 'WHY'])
const TITLES = [
  ...['BACKEND', 'STATE', 'WEIGHT', 'ACTIVE', 'SLOTS', 'TOTAL', 'RESET', 'HANDSHAKE', 'WHY'],
]

function textOf({ steps, backends }: ExplanationView): string {
  const lines = pairs(steps.map(({ step, text }) => [step, text]))
  if (backends.length === 0) return lines
  const columns = TITLES.map((title) => ({
    title,
    ...(!WORDS.has(title) && { align: 'right' as const }),
  }))
  const rows = backends.map((each) => [
    each.address,
    each.state === undefined ? '-' : stateCell(each.state),
    ...[each.weight, each.active, each.slots, each.connections, each.resets],
    each.handshakeSeconds === undefined ? '-' : secondsText(each.handshakeSeconds),
    each.reason === 'chosen' ? { text: each.text, colour: 'green' as const } : each.text,
  ])
  return `${lines}\n\n${table(columns, rows)}`
}
