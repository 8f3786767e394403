/** `fairlead services`: one line a service. */
import type { Command } from 'commander'
import { asking, type AgentOptions, client, print } from './output.js'
import { table } from './table.js'
import { backendsCell, list, portsText, totals } from './words.js'

export function addServices(program: Command): void {
  asking(program.command('services').description('list the services')).action(
    async (options: AgentOptions) => {
      const services = await client(options).services()
      print(options, { services }, () =>
        table(
          [
            ...['NETWORK', 'NAME', 'MODE', 'ALGORITHM', 'VIPS', 'PORTS'].map((title) => ({
              title,
            })),
            { title: 'BACKENDS', align: 'right' },
            { title: 'CONNECTIONS', align: 'right' },
          ],
          services.map((service) => [
            service.network,
            service.name,
            service.mode,
            service.algorithm,
            list(service.vips),
            portsText(service),
            backendsCell(service),
            totals(service.counters).connections,
          ]),
        ),
      )
    },
  )
}
