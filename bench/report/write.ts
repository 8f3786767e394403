/** The report and its plots, from the results' JSON alone, beside them. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { axesPlots, dnsPlots, guestPlots, hostPlots, type Plot, rulesPlots } from './plots.js'
import { type Results, sections } from './sections.js'

const PARTS = ['guest', 'host', 'axes', 'rules', 'dns', 'prog', 'scale']
const PLOTS = 'plots'

export function readResults(folder: string): Results {
  const found = PARTS.map((part) => [part, join(folder, `${part}.json`)] as const)
    .filter(([, file]) => existsSync(file))
    .map(([part, file]): [string, unknown] => [part, JSON.parse(readFileSync(file, 'utf8'))])
  return Object.fromEntries(found)
}

export function plotsOf({ guest, host, axes, rules, dns }: Results): Plot[] {
  return [
    ...(guest ? guestPlots(guest) : []),
    ...(host ? hostPlots(host) : []),
    ...(axes ? axesPlots(axes) : []),
    ...(rules ? rulesPlots(rules.rows) : []),
    ...(dns ? dnsPlots(dns.rows) : []),
  ]
}

/** @returns the report's file */
export function writeReport(folder: string): string {
  const results = readResults(folder)
  const plots = plotsOf(results)
  rmSync(join(folder, PLOTS), { recursive: true, force: true })
  mkdirSync(join(folder, PLOTS), { recursive: true })
  for (const { name, svg } of plots) writeFileSync(join(folder, PLOTS, `${name}.svg`), svg)
  const link = ({ name, title }: Plot) => `![${title}](${PLOTS}/${name}.svg)`
  const text = sections(results, (part) =>
    plots.filter(({ name }) => name.split('-')[0] === part).map(link),
  )
  const file = join(folder, 'report.md')
  writeFileSync(file, `${text.join('\n\n')}\n`)
  return file
}
