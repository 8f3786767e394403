/** `fairlead detach`: removes what an agent left in the kernel. Works without an agent. */
import type { Command } from 'commander'
import { FairleadError } from '../errors.js'
import { type OutputOptions, print, printing } from './output.js'
import { plural } from './words.js'

interface DetachOptions extends OutputOptions {
  readonly config?: string
  readonly pins?: string
}

export function addDetach(program: Command): void {
  printing(
    program
      .command('detach')
      .description('remove programs and maps from the kernel; traffic stops'),
  )
    .option('--config <file>', "the agent's file, which says where its pins are")
    .option('--pins <directory>', 'the directory of the pins on bpffs')
    .action(async (options: DetachOptions) => {
      const pins = await pinPath(options)
      const { detach } = await import('../dataplane/detach.js')
      const removed = await detach(pins)
      print(options, { pins, ...removed }, () => {
        const what = `${plural(removed.links, 'link')} and ${plural(removed.maps, 'map')}`
        return `removed ${what} from ${pins}`
      })
    })
}

async function pinPath({ config, pins }: DetachOptions): Promise<string> {
  if (pins !== undefined && config === undefined) return pins
  if (pins !== undefined || config === undefined) {
    throw new FairleadError('VALUE', 'detach needs either --config or --pins')
  }
  const { loadConfig } = await import('../config.js')
  return loadConfig(config).pinPath
}
