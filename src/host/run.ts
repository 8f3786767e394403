/** Runs a program, in another network namespace where asked; never through a shell. */
import { execFile } from 'node:child_process'
import { FairleadError } from '../errors.js'

const TIMEOUT_MS = 10_000
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024

/** The command and arguments that run `command` in `namespace` (a path; absent: this one). */
export function inNamespace(
  namespace: string | undefined,
  command: string,
  args: readonly string[],
): [string, string[]] {
  if (namespace === undefined) return [command, [...args]]
  return ['nsenter', [`--net=${namespace}`, command, ...args]]
}

/**
 * @returns standard output
 * @throws FairleadError HOST with what the program wrote to standard error
 */
export async function run(
  namespace: string | undefined,
  command: string,
  args: readonly string[],
): Promise<string> {
  const [file, argv] = inNamespace(namespace, command, args)
  return new Promise((resolve, reject) => {
    const options = { timeout: TIMEOUT_MS, maxBuffer: MAX_OUTPUT_BYTES, encoding: 'utf8' as const }
    execFile(file, argv, options, (error, stdout, stderr) => {
      if (error === null) {
        resolve(stdout)
        return
      }
      const where = namespace === undefined ? '' : ` in ${namespace}`
      const why = stderr.trim() || error.message
      reject(
        new FairleadError('HOST', `${command} ${args.join(' ')}${where}: ${why}`, { cause: error }),
      )
    })
  })
}
