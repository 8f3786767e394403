/** `fairlead check FILE`: would the agent take this file. Works without an agent. */
import type { Command } from 'commander'
import { ExitCode } from './exitCodes.js'
import { type OutputOptions, print, printing } from './output.js'
import { problemTable } from './problems.js'
import { plural } from './words.js'

export function addCheck(program: Command): void {
  printing(program.command('check').description('check a file; exits 2 if it has mistakes'))
    .argument('<file>')
    .action(async (file: string, options: OutputOptions) => {
      const { checkFile } = await import('../checkFile.js')
      const { state, problems } = checkFile(file)
      const counts = { networks: state.networks.size, services: state.services.size }
      print(options, { file, ok: problems.length === 0, ...counts, problems }, () => {
        const sums =
          `${file}: ${plural(counts.networks, 'network')}, ` +
          `${plural(counts.services, 'service')}, ${plural(problems.length, 'problem')}`
        return problems.length === 0 ? sums : `${problemTable(problems)}\n\n${sums}`
      })
      if (problems.length > 0) process.exitCode = ExitCode.usage
    })
}
