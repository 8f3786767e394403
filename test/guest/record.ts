/** Writes docs/reference/verifier.md from this kernel and the guest's. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runGuest } from './run.js'
import { markdown } from './table.js'
import { verifyAll } from './verify.js'

const FILE = join(import.meta.dirname, '../../../docs/reference/verifier.md')

const text = `# What the verifier goes through

Instructions that the kernel's verifier walked for each program (\`verified_insns\` of
\`bpf_prog_info\`), with the settings that the agent writes; its limit is 1,000,000. Programs whose
figure depends on how backends are reached stand here once for each way. The figures are information
and no test holds them; that every program is accepted on both kernels is tested
(\`test/guest/verifier.test.ts\`). Written by \`npm run verifier:record\`.

`

const stop = new AbortController()
process.once('SIGINT', () => stop.abort())
writeFileSync(FILE, `${text}${markdown([await runGuest(stop.signal), verifyAll()])}\n`)
