/**
 * What the agent needs to put many services into the kernel, to change one of them, and to be scraped.
 * usage: scale.js [--services N] [--rounds N] [--changes N] [--sweeps N] [--json FILE]
 * Exits with 1 when an aim is missed. Nothing is attached; no packet is sent.
 */
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { measureChanges, type Changes } from './changes.js'
import { measureSync, type Sync } from './cold.js'
import { measureFile, type FileTimes } from './file.js'
import { type Figure, figures, machine, type Results } from './report.js'
import { measureScrapes, type Scrapes } from './scrapes.js'
import { measureSweeps, type Sweeps } from './sweep.js'
import { median } from './timed.js'

const OPTIONS = {
  services: { type: 'string', default: '10000' },
  rounds: { type: 'string', default: '5' },
  changes: { type: 'string', default: '300' },
  /** Of a million flows, with the pause after each, most of a minute. */
  sweeps: { type: 'string', default: '3' },
  json: { type: 'string' },
  /** Of this process alone: measures one thing and prints it. */
  part: { type: 'string' },
} as const

type Part = Sync | Changes | Scrapes | FileTimes | Sweeps

/** A process of its own for every measurement: an agent that starts is not warm either. */
async function inProcess<T extends Part>(part: string, args: readonly string[]): Promise<T> {
  const script = fileURLToPath(import.meta.url)
  const run = promisify(execFile)
  const running = run(process.execPath, [script, '--part', part, ...args], {
    maxBuffer: 1 << 24,
  })
  const end = () => running.child.kill('SIGTERM')
  const signals = ['SIGINT', 'SIGTERM'] as const
  for (const signal of signals) process.once(signal, end)
  try {
    return JSON.parse((await running).stdout) as T
  } finally {
    for (const signal of signals) process.off(signal, end)
  }
}

async function rounds<T extends Part>(
  count: number,
  part: string,
  args: readonly string[],
): Promise<T[]> {
  const results: T[] = []
  for (let i = 0; i < count; i++) results.push(await inProcess<T>(part, args))
  return results
}

interface Sizes {
  readonly services: number
  readonly changes: number
  readonly sweeps: number
}

async function measurePart(part: string, sizes: Sizes): Promise<Part> {
  const { services, changes, sweeps } = sizes
  if (part === 'sync') return measureSync(services)
  if (part === 'changes') return measureChanges(services, changes)
  if (part === 'scrapes') return measureScrapes(services)
  if (part === 'sweeps') return measureSweeps(sweeps)
  return measureFile(services)
}

type Pick = (values: readonly number[]) => number

/** One of the rounds' values of each figure. */
function picked<T extends Part>(each: readonly T[], pick: Pick): T {
  const [first] = each
  const names = Object.keys(first ?? {}) as (keyof T)[]
  return Object.fromEntries(
    names.map((name) => [name, pick(each.map((one) => Number(one[name])))]),
  ) as unknown as T
}

interface Rounds {
  readonly sync: readonly Sync[]
  readonly changes: readonly Changes[]
  readonly scrapes: readonly Scrapes[]
  readonly file: readonly FileTimes[]
  readonly sweeps: readonly Sweeps[]
}

async function measure(sizes: Sizes, count: number): Promise<Rounds> {
  const args = Object.entries(sizes).flatMap(([name, size]) => [`--${name}`, `${size}`])
  return {
    sync: await rounds<Sync>(count, 'sync', args),
    changes: await rounds<Changes>(count, 'changes', args),
    scrapes: await rounds<Scrapes>(count, 'scrapes', args),
    file: await rounds<FileTimes>(1, 'file', args),
    sweeps: await rounds<Sweeps>(1, 'sweeps', args),
  }
}

function resultsBy(pick: Pick, { sync, changes, scrapes, file, sweeps }: Rounds): Results {
  return {
    ...{ sync: picked(sync, pick), changes: picked(changes, pick), scrapes: picked(scrapes, pick) },
    ...{ file: picked(file, pick), sweeps: picked(sweeps, pick) },
  }
}

/** Medians, with what they lie between. */
function figuresOf(all: Rounds): Figure[] {
  const least = figures(resultsBy((values) => Math.min(...values), all))
  const most = figures(resultsBy((values) => Math.max(...values), all))
  return figures(resultsBy(median, all)).map((figure, at) => ({
    ...figure,
    ...{ min: least[at]?.value ?? NaN, max: most[at]?.value ?? NaN },
  }))
}

async function main(): Promise<number> {
  const { values } = parseArgs({ options: OPTIONS })
  const { json, part } = values
  const services = Number(values.services)
  const changes = Number(values.changes)
  const sizes = { services, changes, sweeps: Number(values.sweeps) }
  if (part !== undefined) {
    console.log(JSON.stringify(await measurePart(part, sizes)))
    return 0
  }
  const lines = figuresOf(await measure(sizes, Number(values.rounds)))
  for (const { name, value, unit, aim } of lines) {
    const told = aim === undefined ? '' : `aim ${aim}  ${value <= aim ? 'met' : 'MISSED'}`
    console.log(`${name.padEnd(52)} ${value.toFixed(2).padStart(9)} ${unit.padEnd(4)} ${told}`)
  }
  const document = {
    bench: 'scale',
    machine: machine(),
    rounds: Number(values.rounds),
    ...{ services, changes },
    figures: lines.map((line) => ({ ...line, value: Math.round(line.value * 100) / 100 })),
  }
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(document, null, 2)}\n`)
  return lines.some(({ value, aim }) => aim !== undefined && value > aim) ? 1 : 0
}

process.exitCode = await main()
