/** `fairlead agent`: runs the agent until it is told to end. */
import type { Command } from 'commander'

export function addAgent(program: Command): void {
  program
    .command('agent')
    .description('run the agent; SIGHUP reads the file again, SIGTERM ends it')
    .requiredOption('--config <file>', 'the file with settings, networks and services')
    .option('--detach-on-exit', 'remove programs and maps when it ends, so that traffic stops')
    .option('--objects <directory>', 'where the BPF objects are, if not beside the program')
    .action(async (options: { config: string; detachOnExit?: boolean; objects?: string }) => {
      // Only here: the other commands work where the native addon cannot be loaded.
      const { runAgent } = await import('../main.js')
      await runAgent({
        configPath: options.config,
        detachOnExit: options.detachOnExit === true,
        ...(options.objects !== undefined && { objectDir: options.objects }),
      })
    })
}
