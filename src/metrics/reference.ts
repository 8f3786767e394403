/**
 * The table of docs/reference/metrics.md, made from the definitions and what prom-client has. Run with `--update` it writes the
 * page, with `--check` it fails if the page has another; the build does that.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { definitions, type MetricDefinition } from './definitions.js'
import { processDefinitions } from './processMetrics.js'

/** @returns Markdown as prettier sets it; newline-terminated */
export function metricsTable(): string {
  const all = [...Object.values<MetricDefinition>(definitions), ...processDefinitions()]
  const rows = all.map(({ name, type, unit, help, labels }) => [
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

/** A page with the table as it is now, in place of the first whose lines begin with `| name`. */
export function withTable(page: string): string {
  return page.replace(/^\| name .*\n(?:\|.*\n)+/m, () => metricsTable())
}

function main(): void {
  const path = fileURLToPath(new URL('../../../docs/reference/metrics.md', import.meta.url))
  if (process.argv.includes('--update')) writeFileSync(path, withTable(readFileSync(path, 'utf8')))
  else if (!process.argv.includes('--check')) process.stdout.write(metricsTable())
  else if (!readFileSync(path, 'utf8').includes(metricsTable())) {
    const how = 'node dist/src/metrics/reference.js --update'
    console.error(`docs/reference/metrics.md is not of these metrics: ${how}`)
    process.exitCode = 1
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main()
