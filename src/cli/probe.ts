/** `fairlead probe`: what the running kernel offers. Works without an agent. */
import type { Command } from 'commander'
import type { SocketEnding } from '../host/features.js'
import { type OutputOptions, print, printing } from './output.js'
import { type Cell, pairs } from './table.js'

const ENDINGS: Readonly<Record<SocketEnding, Cell>> = {
  program: 'ended by a program',
  diag: 'ended by SOCK_DESTROY (ss)',
  none: { text: 'left to time out', colour: 'red' },
}

export function addProbe(program: Command): void {
  printing(program.command('probe').description('show what this kernel offers')).action(
    async (options: OutputOptions) => {
      const { probeFeatures } = await import('../host/features.js')
      const { ipvsPresence } = await import('../host/ipvs.js')
      const { release, tick, cgroup2, socketEnding, flags } = await probeFeatures()
      const ipvs = ipvsPresence()
      const told = { release, tick, cgroup2: cgroup2 ?? null, socketEnding, ipvs, features: flags }
      print(options, told, () =>
        pairs([
          ['kernel', release],
          ['tick', `${tick.hz} Hz (${tick.from})`],
          ['cgroup v2', cgroup2 ?? { text: 'not mounted', colour: 'red' }],
          ['sockets of removed backends', ENDINGS[socketEnding]],
          ['IPVS', ipvs],
          ...Object.entries(flags).map(([name, there]): [string, Cell] => [
            name,
            there ? { text: 'yes', colour: 'green' } : { text: 'no', colour: 'red' },
          ]),
        ]),
      )
    },
  )
}
