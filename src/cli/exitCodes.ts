/** How a command ends, for scripts: docs/reference/cli.md lists these. */
import { CommanderError } from 'commander'
import { FairleadError } from '../errors.js'
import { reasonOf } from '../reason.js'

export const ExitCode = {
  ok: 0,
  /** Anything that has no code of its own. */
  failure: 1,
  /** The command line or a file is wrong. */
  usage: 2,
  /** No agent answers at the socket, or not as one should. */
  agent: 3,
  /** What was named is not there. */
  notFound: 4,
  /** A Linux capability is missing. */
  capability: 5,
} as const

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode]

export function exitCodeOf(error: unknown): ExitCode {
  // Commander's are help and version, with 0, and mistakes on the command line.
  if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.ok : ExitCode.usage
  if (!(error instanceof FairleadError)) return ExitCode.failure
  switch (error.code) {
    case 'CONFIG':
    case 'FILE':
    case 'SCHEMA':
    case 'VALUE':
      return ExitCode.usage
    case 'AGENT':
      return ExitCode.agent
    case 'REFERENCE':
      return ExitCode.notFound
    case 'CAPABILITY':
      return ExitCode.capability
    default:
      return ExitCode.failure
  }
}

/** @returns one line, without a stack and without the newlines that a message may contain */
export function errorLine(error: unknown): string {
  const message = reasonOf(error)
  return `fairlead: ${message.trim().replace(/\s*\n\s*/g, '; ')}\n`
}
