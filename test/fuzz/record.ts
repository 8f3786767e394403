/** docs/reference/fuzz.md: the last run of each world that was recorded. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { release } from 'node:os'

/** By the option that names it. */
export const WORLDS = ['containers', 'routed', 'edge'] as const
export type World = (typeof WORLDS)[number]

export interface Run {
  readonly world: World
  readonly seed: number
  /** Packets for each program. */
  readonly count: number
  readonly seconds: number
  /** Packets that left changed, by program. */
  readonly changed: Readonly<Record<string, number>>
}

/** Of when the run began. */
const COMMIT = execFileSync('git', ['describe', '--always', '--dirty'], {
  cwd: import.meta.dirname,
  encoding: 'utf8',
}).trim()

const FILE = new URL('../../../docs/reference/fuzz.md', import.meta.url)

const TEXT = `# What the fuzzer has run

The last runs of \`npm run fuzz -- --record\`, none of which found a fault: mutated packets for each
program, judged by the rules of decision 0091. \`containers\` has backends behind a bridge, \`routed\`
behind the stack, \`edge\` is a NIC with routes. \`changed\` are packets that were translated,
encapsulated, forwarded or answered; most others were none of ours, or dropped with a reason.

`

const HEAD = ['world', 'program', 'packets', 'changed', 'seed', 'seconds', 'kernel', 'commit']

function cells(line: string): string[] {
  return line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim())
}

function known(): string[][] {
  if (!existsSync(FILE)) return []
  const lines = readFileSync(FILE, 'utf8').split('\n')
  return lines.filter((line) => line.startsWith('| ')).map(cells)
}

/** Replaces the rows of the run's world. Seconds are those of all its programs together. */
export function record({ world, seed, count, seconds, changed }: Run): void {
  const others = known().filter(([first]) => WORLDS.some((one) => one === first && one !== world))
  const own = Object.entries(changed).map(([program, packets]) =>
    [world, program, count, packets, seed, Math.round(seconds), release(), COMMIT].map(String),
  )
  const place = ([first]: string[]) => WORLDS.findIndex((one) => one === first)
  const rows = [...others, ...own].sort((a, b) => place(a) - place(b))
  const all = [HEAD, HEAD.map(() => '---'), ...rows]
  const widths = HEAD.map((_, i) => Math.max(...all.map((row) => row[i]?.length ?? 0)))
  const lines = all.map((row, index) => {
    const fill = index === 1 ? '-' : ' '
    return `| ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0, fill)).join(' | ')} |`
  })
  writeFileSync(FILE, `${TEXT}${lines.join('\n')}\n`)
}
