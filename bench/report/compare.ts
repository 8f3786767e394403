/**
 * Compares two runs: counts of instructions have to agree within 2 %, the rest within the intervals that
 * they state. usage: compare.js FOLDER FOLDER
 * Exits with 1 when something does not agree.
 */
import { agreement, type Stated } from './agreement.js'
import { readResults } from './write.js'

const [one, other] = process.argv.slice(2)
if (one === undefined || other === undefined) {
  console.error('usage: compare.js FOLDER FOLDER')
  process.exit(2)
}

const text = ({ value, low, high }: Stated) =>
  `${value.toPrecision(4)} (${low.toPrecision(4)}–${high.toPrecision(4)})`

const parts = agreement(readResults(one), readResults(other))
for (const { part, compared, apart, single } of parts) {
  console.log(`${part}: ${compared - apart.length} of ${compared} agree`)
  for (const { one: left, other: right } of apart)
    console.log(`  apart: ${left.name}: ${text(left)} and ${text(right)}`)
  for (const name of single) console.log(`  in one alone: ${name}`)
}
process.exitCode = parts.some(({ apart, single }) => apart.length + single.length > 0) ? 1 : 0
