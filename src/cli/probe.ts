/** `fairlead probe`: what the running kernel offers. Works without an agent. */
import type { Command } from 'commander'
import { type OutputOptions, print, printing } from './output.js'
import { type Cell, pairs } from './table.js'

export function addProbe(program: Command): void {
  printing(program.command('probe').description('show what this kernel offers')).action(
    async (options: OutputOptions) => {
      const { probeFeatures } = await import('../host/features.js')
      const { release, tick, cgroup2, flags } = await probeFeatures()
      print(options, { release, tick, cgroup2: cgroup2 ?? null, features: flags }, () =>
        pairs([
          ['kernel', release],
          ['tick', `${tick.hz} Hz (${tick.from})`],
          ['cgroup v2', cgroup2 ?? { text: 'not mounted', colour: 'red' }],
          ...Object.entries(flags).map(([name, there]): [string, Cell] => [
            name,
            there ? { text: 'yes', colour: 'green' } : { text: 'no', colour: 'red' },
          ]),
        ]),
      )
    },
  )
}
