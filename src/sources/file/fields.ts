/**
 * Fields of the file: zod types that say in words what was expected and what was there instead.
 * They only check; turning text into canonical values is parse.ts's work.
 */
import { z } from 'zod'
import { Cidr, isAddress, parseListen } from '../../model/address.js'
import { FairleadError } from '../../errors.js'

/**
 * `tasks` would be ambiguous in `tasks.service`; resolvers answer `localhost` themselves (RFC 6761).
 */
export const RESERVED_NAMES: readonly string[] = ['tasks', 'localhost']

/** An underscore inside, because Swarm's `stack_service` has one; not in front, where SRV has it. */
const LABEL = /^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$/
const DURATION = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)$/
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** Like z.strictObject; the message about an unknown field names the one that was meant. */
export function fields<T extends z.core.$ZodLooseShape>(shape: T, description?: string) {
  const known = Object.keys(shape)
  const object = z.strictObject(shape, {
    error: (issue) => {
      if (issue.code !== 'unrecognized_keys') return expectation('a mapping', issue.input)
      const [first = '', ...others] = issue.keys
      const meant = nearest(first, known)
      const hint = meant === undefined ? `known are ${known.join(', ')}` : `did you mean ${meant}?`
      const rest = others.length === 0 ? '' : `; also unknown: ${others.map(shown).join(', ')}`
      return `is an unknown field; ${hint}${rest}`
    },
  })
  return described(object, description)
}

/** Text that `accepts` takes. `accepts` may throw a FairleadError to say more. */
export function checkedText(
  expected: string,
  accepts: (value: string) => boolean,
  description: string,
) {
  return z
    .string({ error: ({ input }) => expectation(expected, input) })
    .superRefine((value, context) => {
      const objection = objectionOf(expected, accepts, value)
      if (objection !== undefined) context.addIssue({ code: 'custom', message: objection })
    })
    .meta({ description })
}

export function integer(min: number, max: number, description: string) {
  const error = ({ input }: { readonly input?: unknown }): string =>
    expectation(`an integer ${min}..${max}`, input)
  return z.int({ error }).min(min, { error }).max(max, { error }).meta({ description })
}

export function choice<const T extends readonly [string, ...string[]]>(
  values: T,
  description: string,
) {
  return z
    .enum(values, { error: ({ input }) => expectation(`one of ${values.join(', ')}`, input) })
    .meta({ description })
}

export function list<T extends z.ZodType>(item: T, max: number, description?: string) {
  const type = z
    .array(item, { error: ({ input }) => expectation('a list', input) })
    .max(max, { error: ({ input }) => `has ${lengthOf(input)} items, at most ${max} are allowed` })
  return described(type, description)
}

/** A value or a list of such. */
export function oneOrMore<T extends z.ZodType>(item: T, max: number, description: string) {
  return z.union([item, list(item, max)]).meta({ description })
}

export function label(description: string) {
  return z
    .string({ error: ({ input }) => expectation('a name', input) })
    .regex(LABEL, {
      error: ({ input }) =>
        expectation('a DNS label (letters, digits, - and _ inside, at most 63)', input),
    })
    .refine((name) => !RESERVED_NAMES.includes(name.toLowerCase()), {
      error: ({ input }) => `${shown(input)} is a reserved name`,
    })
    .meta({ description })
}

/** Labels joined by dots, as host names and zones are. */
export function dottedName(description: string) {
  const accepts = (name: string): boolean =>
    name.length <= 253 && name.split('.').every((part) => LABEL.test(part))
  return checkedText('a DNS name without a trailing dot', accepts, description)
}

export function address(description: string) {
  return checkedText('an IPv4 or IPv6 address', isAddress, description)
}

export function cidr(description: string) {
  return checkedText('address/prefix', (value) => Cidr.parse(value).size > 0n, description)
}

/** @param defaultPort absent: the port must be given */
export function listenAddress(defaultPort: number | undefined, description: string) {
  const accepts = (value: string): boolean => parseListen(value, defaultPort).port > 0
  return checkedText('address:port or [address]:port', accepts, description)
}

/** Ports from the first to the last. */
export interface PortRange {
  readonly first: number
  readonly last: number
}

const LEAST_PORTS = 16
const FIRST_UNPRIVILEGED = 1024

/** Of `first-last`: undefined for other text, privileged ports, or fewer than 16. */
export function parsePortRange(text: string): PortRange | undefined {
  const [, from, to] = /^(\d{1,5})-(\d{1,5})$/.exec(text) ?? []
  const [first, last] = [Number(from), Number(to)]
  if (!(first >= FIRST_UNPRIVILEGED && last <= 65_535 && last - first + 1 >= LEAST_PORTS))
    return undefined
  return { first, last }
}

export function portRange(description: string) {
  return checkedText(
    `first-last, ${LEAST_PORTS} ports or more from ${FIRST_UNPRIVILEGED} to 65535`,
    (value) => parsePortRange(value) !== undefined,
    description,
  )
}

export function absolutePath(description: string) {
  return checkedText(
    'an absolute path',
    (value) => value.startsWith('/') && value.length <= 4096 && !value.includes('\0'),
    description,
  )
}

/** A number of seconds, or text with a unit: `500ms`, `5s`, `1m`. */
export function duration(minMs: number, maxMs: number, description: string) {
  const expected = `a duration ${inUnits(minMs)}..${inUnits(maxMs)} (seconds, or 500ms, 5s, 1m)`
  const error = ({ input }: { readonly input?: unknown }): string => expectation(expected, input)
  return z
    .union([z.number({ error }), z.string({ error })])
    .refine(
      (value) => {
        const ms = durationMs(value)
        return ms !== undefined && ms >= minMs && ms <= maxMs
      },
      { error },
    )
    .meta({ description })
}

export function durationMs(value: number | string): number | undefined {
  if (typeof value === 'number') return value * 1000
  const match = DURATION.exec(value)
  if (match === null) return undefined
  return Number(match[1]) * (UNIT_MS[match[2] ?? ''] ?? Number.NaN)
}

/** `must be X, got Y`, or `is missing`. */
export function expectation(expected: string, input: unknown): string {
  return input === undefined
    ? `is missing; must be ${expected}`
    : `must be ${expected}, got ${shown(input)}`
}

/** The nearest of `known` within two edits, if any. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  if (word.length > 64) return undefined
  const lower = word.toLowerCase()
  const ranked = known
    .map((candidate) => ({ candidate, distance: edits(lower, candidate.toLowerCase()) }))
    .filter(({ distance, candidate }) => distance <= Math.min(2, candidate.length - 1))
    .sort((a, b) => a.distance - b.distance)
  return ranked[0]?.candidate
}

/** A value as a message shows it: short, on one line. */
export function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object' && value !== null) return 'a mapping'
  if (typeof value === 'number') return `${value}`
  const json = JSON.stringify(value)
  return json.length > 60 ? `${json.slice(0, 57)}...` : json
}

function described<T extends z.ZodType>(type: T, description: string | undefined): T {
  return description === undefined ? type : type.meta({ description })
}

function objectionOf(
  expected: string,
  accepts: (value: string) => boolean,
  value: string,
): string | undefined {
  try {
    return accepts(value) ? undefined : expectation(expected, value)
  } catch (error) {
    if (error instanceof FairleadError) return error.message
    throw error
  }
}

function inUnits(ms: number): string {
  return ms < 1000 ? `${ms}ms` : `${ms / 1000}s`
}

function lengthOf(input: unknown): number {
  return Array.isArray(input) ? input.length : 0
}

/** Levenshtein's distance. */
function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substituted = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(substituted, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
