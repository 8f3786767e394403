/**
 * From a parsed file to a snapshot: what it says, and its mistakes as problems.
 */
import { serviceKey, type Problem, type ServiceKey, type Snapshot } from '../../model/types.js'
import { entryPlaces, type Mistake } from './document.js'
import type { Entries, Entry, ParsedFile } from './parse.js'

export function snapshotOf(file: ParsedFile): Required<Snapshot> {
  return snapshotOfEntries(
    file,
    entryPlaces(file.yaml.name, 'services', file.yaml.startsOf('services')),
  )
}

/** @param placeAt where each entry of `services` stands */
export function snapshotOfEntries(
  entries: Entries,
  placeAt: (index: number, field?: string) => string,
): Required<Snapshot> {
  return {
    networks: entries.networks.flatMap(({ items }) => items),
    services: entries.services.flatMap(({ items }) => items),
    problems: fileProblems(entries),
    placeOf: placesOf(entries, placeAt),
  }
}

/** Of the file it keeps the services and where they start: problems are few, and come much later. */
function placesOf(
  { services }: Entries,
  placeAt: (index: number, field?: string) => string,
): (key: ServiceKey) => string | undefined {
  return (key) => {
    const index = services.findIndex(({ items }) => items.some((item) => serviceKey(item) === key))
    const automatic = services[index]?.items.some(({ autoVips }) => autoVips.length > 0)
    return index < 0 ? undefined : placeAt(index, automatic === true ? 'vip' : undefined)
  }
}

function fileProblems(file: Entries): Problem[] {
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
