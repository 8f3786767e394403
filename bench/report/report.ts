/**
 * Writes the report and its plots from the results' JSON alone, beside them. usage: report.js [FOLDER]
 * FOLDER: of results; default: those that are kept.
 */
import { join } from 'node:path'
import { writeReport } from './write.js'

writeReport(process.argv[2] ?? join(import.meta.dirname, '../../../bench/results'))
