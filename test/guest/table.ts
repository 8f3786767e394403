/** Verified instructions of several kernels side by side. */
import type { KernelReport, Verified } from './verify.js'

export interface Row {
  readonly program: string
  /** By kernel release. */
  readonly instructions: ReadonlyMap<string, number>
}

function label(of: Verified, program: string, single: boolean): string {
  const object = of.object.replace('.bpf.o', '')
  return `${object} ${program}${single || !of.variant ? '' : ` (${of.variant})`}`
}

/** One row a program; variants that no kernel tells apart are one row. */
export function rows(kernels: readonly KernelReport[]): Row[] {
  const found = new Map<string, Map<string, number>>()
  for (const { release, objects } of kernels)
    for (const of of objects)
      for (const [program, instructions] of Object.entries(of.programs)) {
        const single = kernels.every((kernel) => indistinct(kernel, of.object, program))
        const name = label(of, program, single)
        const row = found.get(name) ?? new Map<string, number>()
        found.set(name, row.set(release, instructions))
      }
  return [...found].map(([program, instructions]) => ({ program, instructions }))
}

function indistinct({ objects }: KernelReport, object: string, program: string): boolean {
  const counts = objects.filter((one) => one.object === object).map((one) => one.programs[program])
  return new Set(counts).size <= 1
}

/** A Markdown table. */
export function markdown(kernels: readonly KernelReport[]): string {
  const releases = kernels.map(({ release }) => release)
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [
    line(['program', ...releases]),
    line(['---', ...releases.map(() => '---:')]),
    ...rows(kernels).map(({ program, instructions }) =>
      line([program, ...releases.map((one) => instructions.get(one)?.toLocaleString('en') ?? '')]),
    ),
  ].join('\n')
}
