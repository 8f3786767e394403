/** `fairlead reload`: the agent reads its file again now. */
import type { Command } from 'commander'
import { asking, type AgentOptions, client, print } from './output.js'

export function addReload(program: Command): void {
  asking(program.command('reload').description('make the agent read its file again')).action(
    async (options: AgentOptions) => {
      const revision = await client(options).reload()
      print(options, { revision }, () => `read; the state is at revision ${revision}`)
    },
  )
}
