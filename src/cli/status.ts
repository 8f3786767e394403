/** `fairlead status`: is the agent there, and does the kernel hold what it should. */
import type { Command } from 'commander'
import type { StatusView } from '../api/schema.js'
import { asking, type AgentOptions, client, print } from './output.js'
import { type Cell, pairs, table } from './table.js'
import { durationText, plural } from './words.js'

export function addStatus(program: Command): void {
  asking(program.command('status').description('show how the agent is')).action(
    async (options: AgentOptions) => {
      const status = await client(options).status()
      print(options, status, () => [summary(status), ...attachments(status)].join('\n\n'))
    },
  )
}

function summary(status: StatusView): string {
  const { revision, reconcile, problems } = status
  return pairs([
    ['version', status.version],
    ['node', status.node],
    ['kernel', status.kernel],
    ['uptime', durationText(status.uptimeSeconds)],
    ['networks', status.networks],
    ['services', status.services],
    ['problems', problems === 0 ? 0 : { text: String(problems), colour: 'red' }],
    ...status.sources.map((source): [string, Cell] => [
      `source ${source.name}`,
      sourceText(source),
    ]),
    ...takeoverText(status),
    ['revision', revisionCell(revision)],
    [
      'reconcile',
      `${plural(reconcile.cycles, 'cycle')}, ${plural(reconcile.failures, 'failure')}, ` +
        `${plural(reconcile.repaired, 'row')} repaired, ` +
        `last took ${(reconcile.lastDurationSeconds * 1000).toFixed(1)} ms`,
    ],
    ...lastError(reconcile.lastError),
  ])
}

function sourceText({ from, problems }: StatusView['sources'][number]): string {
  const what = from ?? 'running'
  return problems === 0 ? what : `${what}, ${plural(problems, 'problem')}`
}

function takeoverText({ takeover, ipvs }: StatusView): [string, Cell][] {
  if (takeover === undefined) return []
  const names = takeover.names.length === 0 ? '' : ` and ${takeover.names.join(', ')}`
  const what = takeover.mode === 'labelled' ? `labelled services${names}` : takeover.mode
  return [['takes over', `${what}; IPVS is ${ipvs}`]]
}

function revisionCell({ desired, applied, answering }: StatusView['revision']): Cell {
  if (desired === applied && desired === answering) return `${desired}, in the kernel and in DNS`
  return { text: `${desired}; kernel ${applied}, DNS ${answering}`, colour: 'yellow' }
}

function lastError(text: string | undefined): [string, Cell][] {
  return text === undefined ? [] : [['last error', { text, colour: 'red' }]]
}

function attachments(status: StatusView): string[] {
  if (status.attachments.length === 0) return []
  return [
    table(
      ['NETWORK', 'HOOK', 'MODE', 'TARGET', 'PROGRAM', 'NAMESPACE'].map((title) => ({ title })),
      status.attachments.map(({ network, hook, mode, target, program, namespace }) => [
        ...[network || '-', hook, mode ?? '-', target, program, namespace ?? '-'],
      ]),
    ),
  ]
}
