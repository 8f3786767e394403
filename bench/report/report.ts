/**
 * Writes the report from the results' JSON alone, beside them. usage: report.js [FOLDER]
 * FOLDER: of results; default: those that are kept.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Results, sections } from './sections.js'

const folder = process.argv[2] ?? join(import.meta.dirname, '../../../bench/results')

const found = ['guest', 'host', 'rules', 'dns']
  .map((part) => [part, join(folder, `${part}.json`)] as const)
  .filter(([, file]) => existsSync(file))
  .map(([part, file]): [string, unknown] => [part, JSON.parse(readFileSync(file, 'utf8'))])
const results: Results = Object.fromEntries(found)
writeFileSync(join(folder, 'report.md'), `${sections(results).join('\n\n')}\n`)
