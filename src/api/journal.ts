/** What became different with each state, as a list that an operator reads: newest first, bounded. */
import { diff, sameData } from '../model/diff.js'
import type { HealthReport } from '../model/observe.js'
import { replacements } from '../model/sharedMap.js'
import {
  type Backend,
  type Problem,
  type Service,
  serviceKey,
  type ServiceKey,
  type State,
} from '../model/types.js'
import type { ChangeView } from './liveSchema.js'

/** Remembered in all. */
const CAPACITY = 500
/** Of one revision: a deployment of a thousand services must not push out all that was before. */
const MAX_OF_REVISION = 50

type Entry = Omit<ChangeView, 'id' | 'at' | 'revision'>

export interface JournalOptions {
  /** Why a backend is down. */
  readonly health?: () => HealthReport | undefined
  /** By default the wall clock. */
  readonly clock?: () => Date
}

export class Journal {
  readonly #options: JournalOptions
  readonly #changes: ChangeView[] = []
  readonly #listeners = new Set<(changes: readonly ChangeView[]) => void>()
  #previous: State | undefined
  #lastId = 0

  constructor(options: JournalOptions = {}) {
    this.#options = options
  }

  /** To be called with every state, in order. */
  note(state: State): void {
    const previous = this.#previous
    this.#previous = state
    const reasonOf = (key: ServiceKey, address: string): string | undefined =>
      this.#options.health?.()?.of(key)?.backends.get(address)?.error
    const found = previous ? differences(previous, state, reasonOf) : [startOf(state)]
    if (found.length === 0) return
    const listed = found.slice(0, MAX_OF_REVISION)
    const left = found.length - listed.length
    if (left > 0) listed.push({ kind: 'more', subject: `${left} more changes` })
    const at = (this.#options.clock?.() ?? new Date()).toISOString()
    const { revision } = state
    const noted = listed.map((entry) => ({ id: ++this.#lastId, at, revision, ...entry }))
    this.#changes.push(...noted)
    this.#changes.splice(0, this.#changes.length - CAPACITY)
    for (const listener of this.#listeners) listener(noted)
  }

  newestFirst(): ChangeView[] {
    return this.#changes.toReversed()
  }

  /** @returns stops it */
  onChanges(listener: (changes: readonly ChangeView[]) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

function startOf({ services, networks }: State): Entry {
  const count = (number: number, noun: string): string =>
    `${number} ${noun}${number === 1 ? '' : 's'}`
  const subject = `${count(services.size, 'service')} on ${count(networks.size, 'network')}`
  return { kind: 'started', subject }
}

type ReasonOf = (service: ServiceKey, address: string) => string | undefined

function differences(before: State, after: State, reasonOf: ReasonOf): Entry[] {
  const found: Entry[] = []
  const few = replacements(before.services, after.services)
  const empty: State['services'] = new Map()
  const { networks, services } = diff(
    few ? { ...before, services: empty } : before,
    few ? { ...after, services: empty } : after,
  )
  for (const { name } of networks.added) found.push({ kind: 'network-added', subject: name })
  for (const { name } of networks.removed) found.push({ kind: 'network-removed', subject: name })
  for (const { after } of networks.changed)
    found.push({ kind: 'network-changed', subject: after.name })
  for (const service of services.added)
    found.push({ kind: 'service-added', subject: serviceKey(service) })
  for (const service of services.removed)
    found.push({ kind: 'service-removed', subject: serviceKey(service) })
  for (const { before, after } of few ?? services.changed)
    found.push(...serviceChanges(before, after, reasonOf))
  found.push(...problemChanges(before.problems, after.problems))
  return found
}

function serviceChanges(before: Service, after: Service, reasonOf: ReasonOf): Entry[] {
  const subject = serviceKey(after)
  const earlier = new Map(before.backends.map((backend) => [backend.address, backend]))
  const found: Entry[] = []
  for (const backend of after.backends) {
    const old = earlier.get(backend.address)
    earlier.delete(backend.address)
    found.push(...backendChanges(subject, old, backend, reasonOf))
  }
  for (const address of earlier.keys())
    found.push({ kind: 'backend-removed', subject, backend: address })
  const names = new Set(Object.keys({ ...before, ...after })) as Set<keyof Service>
  names.delete('backends')
  const fields = [...names].filter((name) => !sameData(before[name], after[name])).sort()
  if (fields.length > 0) found.push({ kind: 'service-changed', subject, to: fields.join(', ') })
  return found
}

function backendChanges(
  subject: ServiceKey,
  before: Backend | undefined,
  after: Backend,
  reasonOf: ReasonOf,
): Entry[] {
  const backend = after.address
  if (!before) return [{ kind: 'backend-added', subject, backend, to: after.state }]
  const found: Entry[] = []
  if (before.state !== after.state) {
    const reason = after.state === 'down' ? reasonOf(subject, backend) : undefined
    const turn = { from: before.state, to: after.state }
    found.push({ kind: 'backend-state', subject, backend, ...turn, ...(reason && { reason }) })
  }
  if (before.weight !== after.weight) {
    const turn = { from: String(before.weight), to: String(after.weight) }
    found.push({ kind: 'backend-weight', subject, backend, ...turn })
  }
  return found
}

function problemChanges(before: readonly Problem[], after: readonly Problem[]): Entry[] {
  if (before === after) return []
  const keyOf = ({ source, item, reason }: Problem): string => `${source} ${item} ${reason}`
  const [old, now] = [new Set(before.map(keyOf)), new Set(after.map(keyOf))]
  const entry = (kind: 'problem' | 'problem-solved', { item, reason }: Problem): Entry => ({
    ...{ kind, subject: item, reason },
  })
  return [
    ...after.filter((problem) => !old.has(keyOf(problem))).map((each) => entry('problem', each)),
    ...before
      .filter((problem) => !now.has(keyOf(problem)))
      .map((each) => entry('problem-solved', each)),
  ]
}
