/**
 * From zod's issues to mistakes with a place.
 */
import type { z } from 'zod'
import type { FieldPath, Mistake, Places } from './document.js'
import { expectation } from './fields.js'

type Issue = z.core.$ZodIssue

/** More than this of one item tells nobody anything. */
const MAX_MISTAKES_OF_ONE_ITEM = 20

export type Checked<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly mistakes: readonly Mistake[] }

/** @param at where `value` stands in the file */
export function check<T extends z.ZodType>(
  schema: T,
  value: unknown,
  file: Places,
  at: FieldPath,
): Checked<z.infer<T>> {
  const result = schema.safeParse(value, { reportInput: true })
  if (result.success) return { ok: true, value: result.data }
  const issues = result.error.issues.slice(0, MAX_MISTAKES_OF_ONE_ITEM)
  return { ok: false, mistakes: issues.map((issue) => mistakeOf(issue, file, at)) }
}

function mistakeOf(outer: Issue, file: Places, at: FieldPath): Mistake {
  const { issue, path } = innermost(outer, [])
  const full = [...at, ...path]
  if (issue.code === 'unrecognized_keys') {
    const place = file.keyPlace(full, issue.keys[0] ?? '')
    return { place, code: 'SCHEMA', reason: issue.message }
  }
  const code = issue.code === 'invalid_type' || issue.code === 'invalid_union' ? 'SCHEMA' : 'VALUE'
  return { place: file.place(full), code, reason: issue.message }
}

/**
 * A union's issue says nothing; that of the alternative which accepts the value's type does. When
 * none does, what each expected is joined.
 */
function innermost(issue: Issue, above: FieldPath): { issue: Issue; path: FieldPath } {
  const path = [
    ...above,
    ...issue.path.map((step) => (typeof step === 'number' ? step : String(step))),
  ]
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return { issue, path }
  const leading = issue.errors.flatMap((branch) => {
    const unknown = branch.find(({ code }) => code === 'unrecognized_keys')
    return [unknown ?? branch[0] ?? issue]
  })
  const [best] = leading.filter((candidate) => !refusesType(candidate))
  if (best !== undefined) return innermost(best, path)
  const wanted = [...new Set(leading.map(({ message }) => expectedOf(message)))]
  return { issue: { ...issue, message: expectation(wanted.join(', or '), issue.input) }, path }
}

/** The alternative was meant for another type of value. */
function refusesType(issue: Issue): boolean {
  if (issue.path.length > 0) return false
  // A fraction is a number, though not an integer.
  if (typeof issue.input === 'number' && issue.code === 'invalid_type') {
    return issue.expected !== 'int' && issue.expected !== 'number'
  }
  return issue.code === 'invalid_type' || issue.code === 'invalid_value'
}

/** The X of `must be X, got Y`. */
function expectedOf(message: string): string {
  return /must be (.*?)(?:, got |$)/.exec(message)?.[1] ?? message
}
