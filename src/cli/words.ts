/** How the commands write what the API says. */
import type { BackendView, PathCounters, ServiceView } from '../api/schema.js'
import { formatListen } from '../model/address.js'
import type { Cell } from './table.js'

type State = BackendView['state']
type Port = ServiceView['ports'][number]

export type Totals = Omit<PathCounters, 'path'>

/** Over all paths. */
export function totals(rows: readonly PathCounters[]): Totals {
  const traffic = { packetsIn: 0, bytesIn: 0, packetsOut: 0, bytesOut: 0 }
  const sum = { ...traffic, connections: 0, active: 0, inactive: 0 }
  for (const row of rows) {
    sum.packetsIn += row.packetsIn
    sum.bytesIn += row.bytesIn
    sum.packetsOut += row.packetsOut
    sum.bytesOut += row.bytesOut
    sum.connections += row.connections
    sum.active += row.active
    sum.inactive += row.inactive
  }
  return sum
}

/** `address:port`, an IPv6 address in brackets. */
export function endpoint(address: string, port: number): string {
  return formatListen({ host: address, port })
}

/** `80/tcp`, and `80->8080/tcp` where the backends listen elsewhere. */
export function portText({ protocol, port, targetPort }: Port): string {
  return `${port === targetPort ? port : `${port}->${targetPort}`}/${protocol}`
}

export function portsText(service: ServiceView): string {
  if (service.mode === 'dnsrr') return list(service.ports.map(portText))
  return service.ports.length === 0 ? 'any' : list(service.ports.map(portText))
}

/** `-` for nothing, so that a column is never empty. */
export function list(items: readonly string[]): string {
  return items.length === 0 ? '-' : items.join(',')
}

export function stateCell(state: State): Cell {
  const colours = { active: 'green', draining: 'yellow', down: 'red' } as const
  return { text: state, colour: colours[state] }
}

/** `2/3`: backends that take new flows, of all. */
export function backendsCell({ backends }: ServiceView): Cell {
  const active = backends.filter(({ state }) => state === 'active').length
  const text = `${active}/${backends.length}`
  return active === 0 ? { text, colour: 'red' } : text
}

/** `3d 4h`, `5m 6s`: the two largest units. */
export function durationText(seconds: number): string {
  const whole = Math.floor(seconds)
  const parts = [
    [Math.floor(whole / 86_400), 'd'],
    [Math.floor(whole / 3600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'm'],
    [whole % 60, 's'],
  ] as const
  const first = parts.findIndex(([count]) => count > 0)
  if (first === -1) return '0s'
  return parts
    .slice(first, first + 2)
    .map(([count, unit]) => `${count}${unit}`)
    .join(' ')
}

export function plural(count: number, one: string): string {
  return `${count} ${one}${count === 1 ? '' : 's'}`
}

/** Of a time that is short. */
export function secondsText(seconds: number): string {
  return seconds < 1 ? `${(seconds * 1000).toPrecision(3)}ms` : `${seconds.toFixed(1)}s`
}
