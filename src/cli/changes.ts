/** `fairlead changes`: what became different, and with which revision. */
import { type Command, InvalidArgumentError } from 'commander'
import type { ChangeView } from '../api/liveSchema.js'
import { asking, type AgentOptions, client, type Colour, print } from './output.js'
import { table } from './table.js'

export function addChanges(program: Command): void {
  asking(
    program
      .command('changes')
      .description('list what became different, the newest first')
      .option('--limit <count>', 'no more than so many', count),
  ).action(async ({ limit, ...options }: AgentOptions & { readonly limit?: number }) => {
    const changes = (await client(options).changes()).slice(0, limit)
    print(options, { changes }, () => changeTable(changes))
  })
}

const colours: Readonly<Record<string, Colour>> = {
  down: 'red',
  draining: 'yellow',
  active: 'green',
}

function changeTable(changes: readonly ChangeView[]): string {
  if (changes.length === 0) return 'no changes'
  return table(
    ['TIME', 'REVISION', 'CHANGE', 'OF', 'BACKEND', 'FROM', 'TO', 'REASON'].map((title) => ({
      title,
      ...(title === 'REVISION' && { align: 'right' }),
    })),
    changes.map(({ at, revision, kind, subject, backend, from, to, reason }) => {
      const colour = colours[to ?? '']
      return [
        ...[at, revision, kind, subject, backend ?? '-', from ?? '-'],
        colour === undefined ? (to ?? '-') : { text: to ?? '-', colour },
        reason ?? '-',
      ]
    }),
  )
}

function count(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('Not a count.')
  return Number(text)
}
