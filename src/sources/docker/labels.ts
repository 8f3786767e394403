/**
 * `fairlead.*` labels: a service's fields as the file has them, written as `fairlead.health.type=http`,
 * lists with commas between. Whoever may label a container decides about its own service, and about
 * nothing else: programs of the host are not run for a label's sake.
 */
import type { Network, ServiceSpec } from '../../model/types.js'
import type { FieldPath, Mistake, Places } from '../file/document.js'
import { serviceEntry } from '../file/parse.js'

export type Labels = Readonly<Record<string, string>>

const PREFIX = 'fairlead.'
/** Fields of the container itself, or of where it belongs; not of the service. */
const OWN = ['enable', 'service', 'networks', 'weight', 'priority', 'dns']
/** Fields of a service that a label cannot set: they come from the engine. */
const DERIVED = ['name', 'network', 'backends']
const LISTS = [
  ...['ports', 'publish', 'aliases', 'health.status'],
  ...['sourceRanges.allow', 'sourceRanges.deny'],
]
const NUMBERS = [
  ...['tableSize', 'affinity.prefix4', 'affinity.prefix6', 'thresholds.upper', 'thresholds.lower'],
  ...['health.port', 'health.rise', 'health.fall', 'health.quorum'],
]
const FLAGS = ['health.verify', 'timeouts.reset']

/** Whether a container or network takes part at all; absent: not said. */
export function enabled(labels: Labels): boolean | undefined {
  return flagOf(labels, 'enable')
}

/** @param key without `fairlead.` */
export function flagOf(labels: Labels, key: 'enable' | 'dns'): boolean | undefined {
  const text = labels[`${PREFIX}${key}`]?.toLowerCase()
  return text === undefined ? undefined : ['true', 'yes', '1', ''].includes(text)
}

/** Whether there is any label of ours that is about a service. */
export function labelled(labels: Labels): boolean {
  const apart = [`${PREFIX}enable`, `${PREFIX}dns`]
  return Object.keys(labels).some((key) => key.startsWith(PREFIX) && !apart.includes(key))
}

export function listOf(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

/**
 * @param key without `fairlead.`
 * @returns   undefined if there is no such label, or if what it says is no integer 0..65535
 */
export function smallNumber(labels: Labels, key: 'weight' | 'priority'): number | undefined {
  const text = labels[`${PREFIX}${key}`]
  const value = text !== undefined && /^\d{1,5}$/.test(text.trim()) ? Number(text) : NaN
  return value <= 65_535 ? value : undefined
}

export interface Described {
  /** One for each network. */
  readonly specs: readonly ServiceSpec[]
  readonly mistakes: readonly Mistake[]
}

/**
 * @param bearer as messages name who has the labels: `container web-1`
 * @returns no specs if there is a mistake
 */
export function describe(
  name: string,
  networks: readonly Network[],
  labels: Labels,
  bearer: string,
): Described {
  const places = new LabelPlaces(bearer)
  const { entry, mistakes } = fieldsOf(labels, places)
  if (mistakes.length > 0) return { specs: [], mistakes }
  const known = new Map(networks.map((network) => [network.name, network]))
  const value = { ...entry, name, networks: networks.map((network) => network.name) }
  const found = serviceEntry(value, known, places, [])
  return { specs: found.items, mistakes: found.mistakes }
}

class LabelPlaces implements Places {
  constructor(private readonly bearer: string) {}

  place(path: FieldPath): string {
    // Items of a list are in one label.
    const fields = path.filter((step) => typeof step === 'string')
    return fields.length === 0 ? this.bearer : `${this.bearer} label ${PREFIX}${fields.join('.')}`
  }

  keyPlace(path: FieldPath, key: string): string {
    return this.place([...path, key])
  }
}

type Mapping = Record<string, unknown>

function fieldsOf(labels: Labels, places: Places): { entry: Mapping; mistakes: Mistake[] } {
  // Without a prototype: labels are named by strangers.
  const entry = Object.create(null) as Mapping
  const mistakes: Mistake[] = []
  for (const [label, text] of Object.entries(labels)) {
    const field = label.startsWith(PREFIX) ? label.slice(PREFIX.length) : ''
    if (field === '' || OWN.includes(field)) continue
    const reason = DERIVED.includes(field)
      ? 'is not for a label to say'
      : field === 'health.command' || (field === 'health.type' && text.trim() === 'exec')
        ? 'would run a program of the host; only the file may say so'
        : put(entry, field.split('.'), valueOf(field, text))
    if (reason !== undefined) mistakes.push({ place: places.place([field]), code: 'VALUE', reason })
  }
  return { entry, mistakes }
}

/** @returns what is wrong, if `a` and `a.b` are both there */
function put(entry: Mapping, path: readonly string[], value: unknown): string | undefined {
  const [step = '', ...rest] = path
  const clash = 'stands beside a label that says the same otherwise'
  if (rest.length === 0) {
    if (step in entry) return clash
    entry[step] = value
    return undefined
  }
  const below: unknown = (entry[step] ??= Object.create(null))
  return typeof below === 'object' && below !== null && !Array.isArray(below)
    ? put(below as Mapping, rest, value)
    : clash
}

function valueOf(field: string, given: string): unknown {
  const text = given.trim()
  if (LISTS.includes(field)) return listOf(text)
  if (field === 'vip' && text.includes(',')) return listOf(text)
  if (NUMBERS.includes(field) && /^\d{1,10}$/.test(text)) return Number(text)
  if (FLAGS.includes(field) && /^(true|false)$/i.test(text)) return text.toLowerCase() === 'true'
  return text
}
