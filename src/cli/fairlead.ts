#!/usr/bin/env node
/** The `fairlead` command: runs it, and turns errors into one line and an exit code. */
import { CommanderError } from 'commander'
import { errorLine, exitCodeOf } from './exitCodes.js'
import { buildProgram } from './program.js'

// `fairlead list | head` closes the pipe early: there is nobody left to tell, and nothing is wrong.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1)
})

try {
  await buildProgram().parseAsync()
} catch (error) {
  // Commander has told of its own already.
  if (!(error instanceof CommanderError)) process.stderr.write(errorLine(error))
  process.exitCode = exitCodeOf(error)
}
