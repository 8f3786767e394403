/** `fairlead show NAME`: everything about one service. */
import type { Command } from 'commander'
import type { AgentClient } from '../api/client.js'
import type { ServiceView } from '../api/schema.js'
import { FairleadError } from '../errors.js'
import { asking, type AgentOptions, client, print } from './output.js'
import { type Cell, pairs, table } from './table.js'
import { durationText, list, portText, stateCell } from './words.js'

export function addShow(program: Command): void {
  asking(program.command('show').description('show a service with its backends'))
    .argument('<name>', 'network/service, or the service alone where one network has it')
    .action(async (name: string, options: AgentOptions) => {
      const service = await find(client(options), name)
      print(options, service, () =>
        [summary(service), backends(service), ...checks(service)].join('\n\n'),
      )
    })
}

/** @throws FairleadError REFERENCE if there is none, VALUE if there are several */
async function find(agent: AgentClient, text: string): Promise<ServiceView> {
  const [network = '', name] = text.toLowerCase().split(/\/(.*)/, 2)
  if (name !== undefined) return agent.service(network, name)
  const found = (await agent.services()).filter((service) => service.name === network)
  const [only, ...others] = found
  if (only === undefined) throw new FairleadError('REFERENCE', `there is no service ${text}`)
  if (others.length > 0) {
    const keys = found.map((service) => `${service.network}/${service.name}`).join(', ')
    throw new FairleadError('VALUE', `${text} is on several networks; name one of ${keys}`)
  }
  return only
}

function summary(service: ServiceView): string {
  const anyPort = service.mode === 'vip' && service.ports.length === 0
  const ports = service.ports.map((port) =>
    port.name === undefined ? portText(port) : `${portText(port)} (${port.name})`,
  )
  return pairs([
    ['name', `${service.network}/${service.name}`],
    ['mode', service.mode],
    ['algorithm', service.algorithm],
    ...choiceRows(service),
    ['VIPs', list(service.vips)],
    ['ports', anyPort ? 'any' : list(ports)],
    ['aliases', list(service.aliases)],
    ['TTL', `${service.ttlSeconds} s`],
    ...lifeRows(service),
    ...healthRows(service),
  ])
}

/** What was asked for beside the algorithm. */
function choiceRows(service: ServiceView): (readonly [string, Cell])[] {
  const { return: back, tableSize, locality, affinity, thresholds, sourceRanges } = service
  const rows: (readonly [string, Cell])[] = []
  if (back !== undefined) rows.push(['return', back])
  if (tableSize !== undefined) rows.push(['table size', tableSize])
  if (locality !== undefined) rows.push(['locality', locality])
  if (affinity !== undefined) {
    const { timeoutSeconds, prefix4, prefix6 } = affinity
    rows.push(['affinity', `${timeoutSeconds} s, by /${prefix4} and /${prefix6}`])
  }
  if (thresholds !== undefined)
    rows.push(['thresholds', `upper ${thresholds.upper}, lower ${thresholds.lower}`])
  if (sourceRanges !== undefined) {
    rows.push(['allowed', list(sourceRanges.allow)], ['denied', list(sourceRanges.deny)])
  }
  return rows
}

function lifeRows({ timeouts, drainSeconds }: ServiceView): (readonly [string, Cell])[] {
  const rows: (readonly [string, Cell])[] = []
  const idle = Object.entries(timeouts ?? {}).map(([name, value]) =>
    value === true ? name : `${name.replace('Seconds', '')} ${value} s`,
  )
  if (idle.length > 0) rows.push(['timeouts', list(idle)])
  if (drainSeconds !== undefined) rows.push(['drain', `${drainSeconds} s`])
  return rows
}

function healthRows({ health }: ServiceView): (readonly [string, Cell])[] {
  if (health === undefined) return []
  const { type, port, path = '', command, intervalSeconds, timeoutSeconds, rise, fall } = health
  const what = command?.join(' ') ?? `:${port ?? ''}${path}`
  const quorum = health.quorum === undefined ? '' : `, quorum ${health.quorum}`
  const when = `every ${intervalSeconds} s, timeout ${timeoutSeconds} s, rise ${rise}, fall ${fall}`
  const names = (families: readonly number[]): string => families.map((of) => `IPv${of}`).join(', ')
  return [
    ['check', `${type} ${what}, ${when}${quorum}`],
    ...(health.failOpen.length === 0 ? [] : [warning('fail open', names(health.failOpen))]),
    ...(health.belowQuorum.length === 0 ? [] : [warning('no quorum', names(health.belowQuorum))]),
  ]
}

function warning(name: string, text: string): readonly [string, Cell] {
  return [name, { text, colour: 'red' }]
}

/** A line for each backend that is checked. */
function checks(service: ServiceView): string[] {
  if (service.health === undefined) return []
  const rows = service.backends.flatMap(({ address, health }) => {
    if (health === undefined) return []
    const { healthy, consecutive, result = '-', error = '-' } = health
    const since = health.sinceSeconds === undefined ? '-' : durationText(health.sinceSeconds)
    const age = health.ageSeconds === undefined ? '-' : durationText(health.ageSeconds)
    return [[address, healthCell(healthy), since, result, consecutive, age, error]]
  })
  const titles = ['ADDRESS', 'HEALTH', 'SINCE', 'RESULT', 'IN A ROW', 'AGO', 'ERROR']
  return [
    table(
      titles.map((title) => ({
        title,
        ...(title === 'IN A ROW' ? { align: 'right' as const } : {}),
      })),
      rows,
    ),
  ]
}

function healthCell(healthy: boolean | undefined): Cell {
  if (healthy === undefined) return 'unknown'
  return healthy ? { text: 'healthy', colour: 'green' } : { text: 'failing', colour: 'red' }
}

/** A line for each backend and path; what backends that have left had counted is in the sums. */
function backends(service: ServiceView): string {
  const rows: Cell[][] = []
  for (const backend of service.backends) {
    const what = [
      ...[backend.address, backend.weight, stateCell(backend.state)],
      ...[backend.slot ?? '-', backend.hostname ?? '-'],
    ]
    if (backend.counters.length === 0) rows.push([...what, '-', 0, 0, 0, 0, 0, 0])
    for (const row of backend.counters) rows.push([...what, ...countCells(row)])
  }
  for (const row of service.counters) rows.push(['all', '', '', '', '', ...countCells(row)])
  const left = ['ADDRESS', 'WEIGHT', 'STATE', 'SLOT', 'HOSTNAME', 'PATH']
  const right = ['CONNECTIONS', 'ACTIVE', 'INPKTS', 'OUTPKTS', 'INBYTES', 'OUTBYTES']
  return table(
    [
      ...left.map((title) => ({ title })),
      ...right.map((title) => ({ title, align: 'right' as const })),
    ],
    rows,
  )
}

function countCells(row: ServiceView['counters'][number]): Cell[] {
  const { path, connections, active, packetsIn, packetsOut, bytesIn, bytesOut } = row
  return [path, connections, active, packetsIn, packetsOut, bytesIn, bytesOut]
}
