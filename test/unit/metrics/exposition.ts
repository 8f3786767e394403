/**
 * A strict reader of Prometheus's text format 0.0.4, written from its description: it refuses what
 * Prometheus would refuse, duplicates included.
 */
export interface Family {
  readonly type: string
  readonly help: string
  readonly samples: Map<string, number>
}

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)/

export function parseExposition(text: string): Map<string, Family> {
  if (!text.endsWith('\n')) throw new Error('the last line has no newline')
  const families = new Map<string, Family>()
  let help: [string, string] | undefined
  let current: [string, Family] | undefined
  for (const line of text.slice(0, -1).split('\n')) {
    const [, word, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? []
    if (line === '') continue
    if (word === 'HELP') help = [name, rest]
    else if (word === 'TYPE') {
      if (families.has(name) || help?.[0] !== name) throw new Error(`out of order: ${line}`)
      current = [name, { type: rest, help: help[1], samples: new Map() }]
      families.set(...current)
    } else {
      if (current === undefined) throw new Error(`a sample without a type: ${line}`)
      addSample(...current, line)
    }
  }
  return families
}

function addSample(name: string, family: Family, line: string): void {
  const [, sample = '', labels = '', number = ''] = SAMPLE.exec(line) ?? []
  const suffix = sample.slice(name.length)
  const suffixes = family.type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']
  if (!sample.startsWith(name) || !suffixes.includes(suffix)) throw new Error(`stray: ${line}`)
  const value = Number(number.replace('Inf', 'Infinity'))
  if (Number.isNaN(value) && number !== 'Nan') throw new Error(`not a number: ${line}`)
  const key = `${sample}{${parseLabels(labels).sort().join(',')}}`
  if (family.samples.has(key)) throw new Error(`twice: ${line}`)
  family.samples.set(key, value)
}

function parseLabels(text: string): string[] {
  const labels: string[] = []
  let rest = text
  while (rest !== '') {
    const [whole, name = '', value = ''] = LABEL.exec(rest) ?? []
    if (whole === undefined) throw new Error(`bad labels: ${text}`)
    labels.push(`${name}="${value}"`)
    rest = rest.slice(whole.length)
  }
  if (new Set(labels.map((label) => label.split('=', 1)[0])).size !== labels.length) {
    throw new Error(`a label twice: ${text}`)
  }
  return labels
}
