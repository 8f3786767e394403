/** What is running, for status, metrics and `--version`. */
import { readFileSync } from 'node:fs'
import { release } from 'node:os'
import { z } from 'zod'

// Seen from dist/src/api: the compiled files are all that ever runs.
const packageFile = new URL('../../../package.json', import.meta.url)

/** The version in package.json. */
export const version = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(packageFile, 'utf8'))).version

/** Release of the running kernel, as `uname -r` prints it. */
export const kernelRelease = release()
