/** `fairlead drops`: what was not carried and why, and what the programs did besides. */
import type { Command } from 'commander'
import type { DropsView } from '../api/schema.js'
import { asking, type AgentOptions, client, print } from './output.js'
import { table } from './table.js'

interface DropsOptions extends AgentOptions {
  readonly all?: boolean
}

export function addDrops(program: Command): void {
  asking(program.command('drops').description('show drops by reason, and events'))
    .option('--all', 'print rows that are 0 too')
    .action(async (options: DropsOptions) => {
      const counts = await client(options).drops()
      print(options, counts, () => {
        const all = options.all === true
        return [rows('DROP', counts.drops, all), rows('EVENT', counts.events, all)].join('\n\n')
      })
    })
}

function rows(title: string, counts: DropsView['drops'], all: boolean): string {
  const shown = counts.filter(({ count }) => all || count > 0)
  if (shown.length === 0) return `no ${title.toLowerCase()}s`
  return table(
    [{ title }, { title: 'PATH' }, { title: 'COUNT', align: 'right' }],
    shown.map(({ reason, path, count }) => [reason, path, count]),
  )
}
