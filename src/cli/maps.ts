/** `fairlead maps`: how full the kernel's maps are. */
import type { Command } from 'commander'
import { asking, type AgentOptions, client, print } from './output.js'
import { type Cell, table } from './table.js'

/** From here on a map is worth a look. */
const ALMOST_FULL = 0.9

export function addMaps(program: Command): void {
  asking(program.command('maps').description('show how full the kernel maps are')).action(
    async (options: AgentOptions) => {
      const maps = await client(options).maps()
      print(options, { maps }, () =>
        table(
          [
            { title: 'MAP' },
            { title: 'ENTRIES', align: 'right' },
            { title: 'CAPACITY', align: 'right' },
            { title: 'USED', align: 'right' },
          ],
          maps.map(({ map, entries, capacity }) => [
            ...[map, entries, capacity],
            usedCell(entries / Math.max(capacity, 1)),
          ]),
        ),
      )
    },
  )
}

function usedCell(share: number): Cell {
  const text = `${(share * 100).toFixed(1)}%`
  return share < ALMOST_FULL ? text : { text, colour: 'red' }
}
