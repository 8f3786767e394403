/** `fairlead networks`: one line a network. */
import type { Command } from 'commander'
import { asking, type AgentOptions, client, print } from './output.js'
import { table } from './table.js'
import { list } from './words.js'

export function addNetworks(program: Command): void {
  asking(program.command('networks').description('list the networks')).action(
    async (options: AgentOptions) => {
      const networks = await client(options).networks()
      print(options, { networks }, () =>
        table(
          [
            ...['NAME', 'SUBNETS', 'POOLS', 'DNS'].map((title) => ({ title })),
            { title: 'SERVICES', align: 'right' },
          ],
          networks.map((network) => [
            network.name,
            list(network.subnets),
            list(network.pools),
            list(network.dns),
            network.services,
          ]),
        ),
      )
    },
  )
}
