/**
 * Measures fairlead beside everything else that does its work.
 * usage: bench.js [--only WORD,...] [--quick] [--services N,...] [--rounds N] [--profile] [--json FOLDER]
 * WORD: of parts (guest, host, rules, dns) or of subjects' names; without --only, all of it.
 * Exits with 1 when an aim is missed, with 2 when it could not measure.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runDns } from './dns/run.js'
import { Progress } from './frame/progress.js'
import { runGuest } from './guest/run.js'
import { runHost } from './host/run.js'
import { runRules } from './rules/run.js'

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    quick: { type: 'boolean', default: false },
    services: { type: 'string' },
    rounds: { type: 'string' },
    profile: { type: 'boolean', default: false },
    json: { type: 'string' },
  },
})

const PARTS = { guest: runGuest, host: runHost, rules: runRules, dns: runDns } as const
type PartName = keyof typeof PARTS

const words = values.only?.split(',') ?? []
const parts = (Object.keys(PARTS) as PartName[]).filter(
  (name) => words.includes(name) || !words.some((word) => word in PARTS),
)
const names = words.filter((word) => !(word in PARTS))
const folder = values.json ?? join(import.meta.dirname, '../../bench/results')

async function main(): Promise<number> {
  const progress = new Progress()
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  let missed = 0
  for (const part of parts) {
    const { document, text, misses } = await PARTS[part]({
      chosen: names.length > 0 ? (name) => names.some((word) => name.includes(word)) : () => true,
      quick: values.quick,
      profile: values.profile,
      ...(values.rounds !== undefined && { rounds: Number(values.rounds) }),
      ...(values.services !== undefined && { services: values.services.split(',').map(Number) }),
      ...{ progress, stop: stop.signal },
    })
    progress.end()
    console.log(text)
    missed += misses
    mkdirSync(folder, { recursive: true })
    // What is not whole must not stand for what is.
    const partial = names.length > 0 || values.quick || values.profile ? `${part}-partial` : part
    const file = join(folder, `${partial}.json`)
    writeFileSync(file, `${JSON.stringify(document, null, 2)}\n`)
    console.log(`written: ${file}`)
  }
  return missed > 0 ? 1 : 0
}

try {
  process.exitCode = await main()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 2
}
