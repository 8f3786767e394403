/** `fairlead problems`: what is not as the sources want it. */
import type { Command } from 'commander'
import type { ProblemView } from '../api/schema.js'
import { asking, type AgentOptions, client, print } from './output.js'
import { table } from './table.js'

export function addProblems(program: Command): void {
  asking(
    program
      .command('problems')
      .description('list what was not accepted, is refused or is not there'),
  ).action(async (options: AgentOptions) => {
    const problems = await client(options).problems()
    print(options, { problems }, () => problemTable(problems))
  })
}

export function problemTable(problems: readonly ProblemView[]): string {
  if (problems.length === 0) return 'no problems'
  return table(
    ['SOURCE', 'ITEM', 'CODE', 'PLACE', 'REASON'].map((title) => ({ title })),
    problems.map(({ source, item, code, place, reason }) => [
      ...[source, item, { text: code, colour: 'red' as const }, place ?? '-', reason],
    ]),
  )
}
