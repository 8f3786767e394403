/** Parts that are programs of their own, for development: run as such, and their JSON taken. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type AimResult, judge } from './frame/aims.js'
import type { PartOptions, PartResult } from './frame/part.js'
import type { Document as ProgDocument } from './prog/report.js'
import type { Figure } from './scale/report.js'

/** Of an aim that was missed: what was measured stands all the same. */
const MISSED = 1
const HEARTBEAT_MS = 1000

interface Done<T> {
  readonly text: string
  readonly document: T
}

async function runProgram<T extends object>(
  name: string,
  given: readonly string[],
  { progress, stop }: PartOptions,
): Promise<Done<T>> {
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-bench-'))
  const file = join(folder, 'results.json')
  const script = join(import.meta.dirname, name, `${name}.js`)
  const beat = setInterval(() => progress.at(`${name}: measuring`), HEARTBEAT_MS)
  try {
    const child = spawn(process.execPath, [script, '--json', file, ...given], {
      stdio: ['ignore', 'pipe', 'inherit'],
      signal: stop,
      killSignal: 'SIGTERM',
    })
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (said: string) => (text += said))
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject).once('close', resolve)
    })
    if (code !== 0 && code !== MISSED) throw new Error(`${name} ended with ${code}: ${text}`)
    return { text: text.trimEnd(), document: JSON.parse(readFileSync(file, 'utf8')) as T }
  } finally {
    clearInterval(beat)
    rmSync(folder, { recursive: true, force: true })
  }
}

const PROG_AIMS = {
  established: 'a packet of a known flow, against the least DNAT',
  new: 'a new flow, against the least DNAT that inserts',
  reference: 'the least DNAT, against XDP_PASS',
  flat: 'a packet with 10,000 services, against one',
} as const

export async function runProg(options: PartOptions): Promise<PartResult> {
  const rounds = options.rounds ?? (options.quick ? 2 : 7)
  const done = await runProgram<ProgDocument>('prog', ['--rounds', `${rounds}`], options)
  const { verdicts, limits } = done.document
  // One line an aim: each case is in the part's own table.
  const results = (Object.keys(PROG_AIMS) as (keyof typeof PROG_AIMS)[]).flatMap((aim) => {
    const own = verdicts.filter((one) => one.aim === aim).sort((a, b) => b.ratio - a.ratio)
    const [worst] = own
    if (!worst) return []
    const of = `the worst of ${own.length}: ${worst.name}`
    return [judge({ aim: PROG_AIMS[aim], of, bound: limits[aim], better: 'less' }, worst.ratio)]
  })
  return { ...done, aims: results }
}

export async function runScale(options: PartOptions): Promise<PartResult> {
  const rounds = options.rounds ?? (options.quick ? 1 : 2)
  const given = [
    '--rounds',
    `${rounds}`,
    '--sweeps',
    '1',
    ...(options.quick ? ['--services', '1000'] : []),
  ]
  const done = await runProgram<{ figures: readonly Figure[] }>('scale', given, options)
  const aims = done.document.figures.flatMap(({ name, value, unit, aim }): AimResult[] =>
    aim === undefined
      ? []
      : [judge({ aim: name, of: 'fairlead', bound: aim, better: 'less', unit }, value)],
  )
  return { ...done, aims }
}
