/** `fairlead agent`: runs the agent until it is told to end. */
import { type Command, Option } from 'commander'
import type { LogFormat } from '../config.js'
import { LOG_FORMATS } from '../sources/file/schema.js'
import { TAKEOVERS, type TakeoverMode } from '../sources/takeover.js'

interface AgentOptions {
  readonly config: string
  readonly detachOnExit?: boolean
  readonly logFormat?: LogFormat
  readonly objects?: string
  readonly takeover?: TakeoverMode
}

export function addAgent(program: Command): void {
  program
    .command('agent')
    .description('run the agent; SIGHUP reads the file again, SIGTERM ends it')
    .requiredOption('--config <file>', 'the file with settings, networks and services')
    .option('--detach-on-exit', 'remove programs and maps when it ends, so that traffic stops')
    .addOption(
      new Option('--takeover <which>', "which of an engine's services it serves").choices(
        TAKEOVERS,
      ),
    )
    .addOption(
      new Option('--log-format <format>', 'json, or pretty for a terminal').choices(LOG_FORMATS),
    )
    .option('--objects <directory>', 'where the BPF objects are, if not beside the program')
    .action(async (options: AgentOptions) => {
      // Only here: the other commands work where the native addon cannot be loaded.
      const { runAgent } = await import('../main.js')
      const { takeover, logFormat } = options
      await runAgent({
        configPath: options.config,
        overrides: { ...(takeover && { takeover }), ...(logFormat && { logFormat }) },
        detachOnExit: options.detachOnExit === true,
        ...(options.objects !== undefined && { objectDir: options.objects }),
      })
    })
}
