/** The `health` field of a service: from what is written to a check with every default filled in. */
import type { HealthCheck, Port } from '../../model/types.js'
import { durationMs, expectation, shown } from './fields.js'
import type { Complain } from './parse.js'
import { parseStatus, type HealthEntry } from './schema.js'

const DEFAULT_INTERVAL_MS = 5000
const DEFAULT_TIMEOUT_MS = 2000
const DEFAULT_RISE = 2
const DEFAULT_FALL = 3
/** As most balancers have it: what answers and does not say that it is broken. */
const DEFAULT_STATUSES = [[200, 399]] as const

type Type = HealthEntry['type']

/** Fields that only some types know. */
const FIELDS_OF: Readonly<Record<string, readonly Type[]>> = {
  path: ['http', 'https'],
  host: ['http', 'https'],
  status: ['http', 'https'],
  verify: ['https'],
  command: ['exec'],
}

/** @param ports of the service; the first TCP port is checked unless another one is named */
export function healthOf(
  entry: HealthEntry,
  ports: readonly Port[],
  complain: Complain,
): HealthCheck | undefined {
  const { type } = entry
  for (const [field, types] of Object.entries(FIELDS_OF)) {
    if (field in entry && !types.includes(type))
      complain(['health', field], `is only for type ${types.join(' and ')}`)
  }
  const port = entry.port ?? ports.find(({ protocol }) => protocol === 'tcp')?.targetPort
  const timing = timingOf(entry, complain)
  if (type === 'exec') {
    const { command } = entry
    if (command === undefined) {
      complain(['health'], 'is of type exec and has no command')
      return undefined
    }
    if (port === undefined && command.some((word) => word.includes('{port}'))) {
      complain(['health', 'command'], 'names {port}, but there is no TCP port to put there')
    }
    return { type, ...timing, command, ...(port === undefined ? {} : { port }) }
  }
  if (port === undefined) {
    complain(['health'], 'has no port, and the service has no TCP port to check')
    return undefined
  }
  if (type === 'tcp') return { type, ...timing, port }
  if (Array.isArray(entry.status) && entry.status.length === 0)
    complain(['health', 'status'], 'must name at least one status')
  return {
    type,
    ...timing,
    port,
    path: entry.path ?? '/',
    ...(entry.host === undefined ? {} : { host: entry.host }),
    statuses: statusesOf(entry),
    verify: entry.verify ?? false,
  }
}

function timingOf(entry: HealthEntry, complain: Complain) {
  const intervalMs =
    entry.interval === undefined ? DEFAULT_INTERVAL_MS : (durationMs(entry.interval) ?? 0)
  const timeoutMs =
    entry.timeout === undefined
      ? Math.min(DEFAULT_TIMEOUT_MS, intervalMs)
      : (durationMs(entry.timeout) ?? 0)
  if (timeoutMs > intervalMs) {
    const most = `at most the interval (${intervalMs / 1000}s)`
    complain(['health', 'timeout'], expectation(most, entry.timeout))
  }
  return {
    intervalMs,
    timeoutMs,
    rise: entry.rise ?? DEFAULT_RISE,
    fall: entry.fall ?? DEFAULT_FALL,
    ...(entry.quorum === undefined ? {} : { quorum: entry.quorum }),
  }
}

function statusesOf({ status }: HealthEntry): readonly (readonly [number, number])[] {
  if (status === undefined) return DEFAULT_STATUSES
  return (Array.isArray(status) ? status : [status]).map((value) => {
    const range = parseStatus(value)
    if (range === undefined) throw new RangeError(`unchecked status ${shown(value)}`)
    return range
  })
}
