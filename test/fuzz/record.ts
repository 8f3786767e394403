/** docs/reference/fuzz.md: the runs of one state of the programs in each world. */
import { createHash } from 'node:crypto'
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

/** Of the objects as the run began. */
const PROGRAMS = ['tc', 'xdp'].reduce(
  (hash, name) => hash.update(readFileSync(new URL(`../../bpf/${name}.bpf.o`, import.meta.url))),
  createHash('sha256'),
)
const DIGEST = PROGRAMS.digest('hex').slice(0, 12)

const FILE = new URL('../../../docs/reference/fuzz.md', import.meta.url)

const TEXT = `# What the fuzzer has run

Runs of \`npm run fuzz -- --record\`, none of which found a fault: mutated packets for each program,
judged by the rules of decision 0091. \`containers\` has backends behind a bridge, \`routed\` behind the
stack, \`edge\` is a NIC with routes. In parentheses: how many left changed, that is translated,
encapsulated, forwarded or answered. Most others were none of ours, or dropped with a reason.
\`objects\` is the beginning of the SHA-256 of \`tc.bpf.o\` and \`xdp.bpf.o\`.

`

const HEAD = [
  ...['world', 'seed', 'packets for each', 'programs (left changed)', 'seconds'],
  ...['kernel', 'objects'],
]

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

/** Adds a row; those of its world that are of other programs go. */
export function record({ world, seed, count, seconds, changed }: Run): void {
  const programs = Object.entries(changed).map(([program, packets]) => `${program} (${packets})`)
  const own = [
    ...[world, `${seed}`, `${count}`, programs.join(', '), `${Math.round(seconds)}`],
    ...[release(), DIGEST],
  ]
  const kept = known().filter(
    ([first, oldSeed, ...others]) =>
      WORLDS.some((one) => one === first) &&
      (first !== world || (others.at(-1) === DIGEST && oldSeed !== `${seed}`)),
  )
  const place = ([first]: string[]) => WORLDS.findIndex((one) => one === first)
  const rows = [...kept, own].sort((a, b) => place(a) - place(b))
  const all = [HEAD, HEAD.map(() => '---'), ...rows]
  const widths = HEAD.map((_, i) => Math.max(...all.map((row) => row[i]?.length ?? 0)))
  const lines = all.map((row, index) => {
    const fill = index === 1 ? '-' : ' '
    return `| ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0, fill)).join(' | ')} |`
  })
  writeFileSync(FILE, `${TEXT}${lines.join('\n')}\n`)
}
