/** The table of docs/reference/metrics.md, made from the definitions. Run it to print the table. */
import { fileURLToPath } from 'node:url'
import { definitions } from './definitions.js'

/** @returns Markdown as prettier sets it; newline-terminated */
export function metricsTable(): string {
  const rows = Object.values(definitions).map(({ name, type, unit, help, labels }) => [
    `\`${name}\``,
    type,
    unit,
    labels.length === 0 ? '' : labels.map((label) => `\`${label}\``).join(' '),
    help,
  ])
  const cells = [['name', 'type', 'unit', 'labels', 'meaning'], ...rows]
  const widths = [0, 1, 2, 3, 4].map((at) => Math.max(...cells.map((row) => row[at]?.length ?? 0)))
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |\n`
  const [head = [], ...body] = cells
  return [head, widths.map((width) => '-'.repeat(width)), ...body].map(line).join('')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(metricsTable())
