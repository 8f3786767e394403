/**
 * Measures fairlead beside everything else that does its work, and writes a report with plots.
 * usage: bench.js [--only WORD,...] [--quick] [--services N,...] [--rounds N] [--profile] [--json FOLDER]
 * WORD: of parts (guest, host, axes, rules, dns, prog, scale) or of subjects' names; without --only, all
 * of it. FOLDER: default bench/results, or bench/results/partial for what is not a whole part.
 * Exits with 1 when an aim is missed, with 2 when it could not measure.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runAxes } from './axes/run.js'
import { runDns } from './dns/run.js'
import { type AimResult, aimTable } from './frame/aims.js'
import { Progress } from './frame/progress.js'
import { runGuest } from './guest/run.js'
import { runHost } from './host/run.js'
import { runProg, runScale } from './programs.js'
import { writeReport } from './report/write.js'
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

const PARTS = {
  ...{ guest: runGuest, host: runHost, axes: runAxes, rules: runRules, dns: runDns },
  ...{ prog: runProg, scale: runScale },
} as const
type PartName = keyof typeof PARTS

const words = values.only?.split(',') ?? []
const parts = (Object.keys(PARTS) as PartName[]).filter(
  (name) => words.includes(name) || !words.some((word) => word in PARTS),
)
const names = words.filter((word) => !(word in PARTS))
/** What is not whole must not stand for what is. */
const whole = names.length === 0 && !values.quick && !values.profile
const kept = join(import.meta.dirname, '../../bench/results')
const folder = values.json ?? (whole ? kept : join(kept, 'partial'))

async function runPart(
  part: PartName,
  progress: Progress,
  stop: AbortSignal,
): Promise<readonly AimResult[]> {
  const begun = performance.now()
  const { document, text, aims } = await PARTS[part]({
    chosen: names.length > 0 ? (name) => names.some((word) => name.includes(word)) : () => true,
    quick: values.quick,
    profile: values.profile,
    ...(values.rounds !== undefined && { rounds: Number(values.rounds) }),
    ...(values.services !== undefined && { services: values.services.split(',').map(Number) }),
    ...{ progress, stop },
  })
  progress.end()
  const tookSeconds = Math.round((performance.now() - begun) / 1000)
  console.log(`\n${part}, ${tookSeconds} s\n\n${text}`)
  const file = join(folder, `${part}.json`)
  mkdirSync(folder, { recursive: true })
  writeFileSync(file, `${JSON.stringify({ ...document, tookSeconds, aims }, null, 2)}\n`)
  console.log(`written: ${file}`)
  return aims
}

async function main(): Promise<number> {
  const progress = new Progress()
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  const aims: AimResult[] = []
  const broken: PartName[] = []
  for (const part of parts) {
    try {
      aims.push(...(await runPart(part, progress, stop.signal)))
    } catch (error) {
      if (stop.signal.aborted) throw error
      broken.push(part)
      console.error(`${part} could not be measured: ${String(error)}`)
    }
  }
  if (aims.length > 0) console.log(`\naims\n\n${aimTable(aims)}`)
  console.log(`\nwritten: ${writeReport(folder)}`)
  if (broken.length > 0) return 2
  return aims.some(({ outcome }) => outcome === 'missed') ? 1 : 0
}

try {
  process.exitCode = await main()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 2
}
