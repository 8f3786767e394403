/** From the text of IPVS rules to the text of a file that `fairlead check` accepts. Pure. */
import { FairleadError } from '../errors.js'
import { parseEntries } from '../sources/file/parse.js'
import { convert, type Converted, type MarkMeaning, type Note } from './convert.js'
import { fileText, type FileParts } from './fileText.js'
import { parseRules } from './rules.js'

export interface ImportOptions extends Pick<FileParts, 'from' | 'network' | 'interfaces'> {
  readonly marks: readonly MarkMeaning[]
}

export interface Imported {
  readonly text: string
  readonly services: number
  /** In order of lines. */
  readonly notes: readonly Note[]
}

/** Of a text that is something else altogether, the beginning tells enough. */
const MAX_TOLD = 10

/** @throws FairleadError VALUE with every bad line and what is wrong with it */
export function importRules(rules: string, options: ImportOptions): Imported {
  const parsed = parseRules(rules)
  if (!parsed.ok) {
    const { bad } = parsed
    const lines = bad
      .slice(0, MAX_TOLD)
      .map(({ line, reason }) => `${options.from}:${line}: ${reason}`)
    const more = bad.length > MAX_TOLD ? [`and ${bad.length - MAX_TOLD} bad lines more`] : []
    throw new FairleadError('VALUE', [...lines, ...more].join('\n'))
  }
  const converted = parsed.services.map((service) => convert(service, options.marks))
  const accepted = withoutRefused(converted, options)
  return {
    text: fileText({ ...options, converted: accepted }),
    services: accepted.filter(({ plan }) => plan !== undefined).length,
    notes: accepted.flatMap(({ notes }) => notes).sort((a, b) => a.line - b.line),
  }
}

/** What IPVS allows and the file does not: a VIP that is a server elsewhere, every port beside one. */
function withoutRefused(converted: readonly Converted[], options: ImportOptions): Converted[] {
  let left = [...converted]
  for (;;) {
    const outcome = parseEntries('file', fileText({ ...options, converted: left }))
    if (!outcome.ok) throw new Error(outcome.mistakes.map(({ reason }) => reason).join('; '))
    const [bad] = outcome.file.networks.flatMap(({ mistakes }) => mistakes)
    if (bad !== undefined) throw new FairleadError('VALUE', `network: ${bad.reason}`)
    const reasons = outcome.file.services.map(({ mistakes }) =>
      mistakes.map(({ reason }) => reason).join('; '),
    )
    if (reasons.every((reason) => reason === '')) return left
    let at = 0
    left = left.map((each) => {
      const reason = each.plan === undefined ? '' : (reasons[at++] ?? '')
      if (reason === '' || each.plan === undefined) return each
      const text = `service ${each.plan.name}: ${reason}`
      return { notes: [...each.notes, { line: each.plan.line, kind: 'left out', text }] }
    })
  }
}
