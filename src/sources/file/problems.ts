/**
 * From a parsed file's mistakes to problems as the state shows them.
 */
import type { Problem } from '../../model/types.js'
import type { Mistake } from './document.js'
import type { Entry, ParsedFile } from './parse.js'

export function fileProblems(file: ParsedFile): Problem[] {
  const of = <T>(kind: string, entries: readonly Entry<T>[]): Problem[] =>
    entries.flatMap((entry, index) => {
      const item = `${kind} ${entry.name ?? `number ${index + 1}`}`
      const suffix = entry.items.length > 0 ? '; the last good definition stays in force' : ''
      return entry.mistakes.map((mistake) => problemOf(item, mistake, suffix))
    })
  return [...of('network', file.networks), ...of('service', file.services)]
}

export function problemOf(item: string, mistake: Mistake, suffix = ''): Problem {
  const { place, code, reason } = mistake
  return { source: 'file', item, place, code, reason: `${reason}${suffix}` }
}

/** One line for a person. */
export function describeProblem({ item, place, reason }: Problem): string {
  return `${place ?? item}: ${reason}`
}
