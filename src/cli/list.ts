/**
 * `fairlead list`: the table of `ipvsadm -Ln --stats`, so that what reads that reads this; with
 * `--connections` that of `ipvsadm -Ln`.
 *
 * IPVS counts per virtual address and port; fairlead counts per service and backend. So there is one
 * block a service: its first address carries the figures, and its further addresses have `-`, so
 * that a column can still be added up.
 */
import { type Command, Option } from 'commander'
import type { ServiceView } from '../api/schema.js'
import { version } from '../api/version.js'
import { asking, type AgentOptions, client, print } from './output.js'
import { endpoint, type Totals, totals } from './words.js'

interface Block {
  readonly network: string
  readonly service: string
  readonly algorithm: ServiceView['algorithm']
  /** Seconds of affinity. */
  readonly persistent?: number
  /** As IPVS calls the way in which packets get to the backends. */
  readonly forward: 'Masq' | 'Route' | 'Tunnel'
  readonly addresses: readonly {
    readonly protocol: 'tcp' | 'udp' | 'any'
    readonly address: string
    /** 0: every port */
    readonly port: number
  }[]
  readonly totals: Totals
  readonly backends: readonly {
    readonly address: string
    /** 0: the dialled port, or several */
    readonly port: number
    readonly weight: number
    readonly totals: Totals
  }[]
}

const paths: readonly ServiceView['counters'][number]['path'][] = ['tc', 'sock', 'xdp']

interface ListOptions extends AgentOptions {
  readonly exact?: boolean
  readonly connections?: boolean
  readonly path?: string
}

/** Width of the first column, and of the others with the space before them. */
const NAME_WIDTH = 33
const FIGURE_WIDTH = 9

export function addList(program: Command): void {
  asking(program.command('list').description('list as ipvsadm -Ln --stats does'))
    .option('--exact', 'print whole numbers, as ipvsadm does')
    .option('--connections', 'how many there are now, as ipvsadm -Ln does')
    .addOption(new Option('--path <path>', 'count only what this path carried').choices(paths))
    .action(async (options: ListOptions) => {
      const services = await client(options).services()
      const blocks = services.flatMap((service) => block(service, options.path))
      print(options, { services: blocks }, () =>
        options.connections === true
          ? connectionsText(blocks)
          : text(blocks, options.exact === true),
      )
    })
}

function block(service: ServiceView, path: string | undefined): Block[] {
  // A service without a VIP balances by name alone: nothing passes through it.
  if (service.vips.length === 0) return []
  const ports = service.ports.length === 0 ? [{ protocol: 'any', port: 0 } as const] : service.ports
  const targets = new Set(service.ports.map(({ targetPort }) => targetPort))
  const [target = 0] = targets
  const sum = (rows: ServiceView['counters']): Totals =>
    totals(path === undefined ? rows : rows.filter((row) => row.path === path))
  return [
    {
      network: service.network,
      service: service.name,
      algorithm: service.algorithm,
      ...(service.affinity && { persistent: service.affinity.timeoutSeconds }),
      forward: FORWARD[service.return ?? 'entry'],
      addresses: service.vips.flatMap((address) =>
        ports.map(({ protocol, port }) => ({ protocol, address, port })),
      ),
      totals: sum(service.counters),
      backends: service.backends.map(({ address, weight, counters }) => ({
        address,
        weight,
        port: targets.size === 1 ? target : 0,
        totals: sum(counters),
      })),
    },
  ]
}

const FORWARD = { entry: 'Masq', snat: 'Masq', 'dsr-mac': 'Route', 'dsr-tunnel': 'Tunnel' } as const

/** Counts are by service and backend, so the backends stand below the last of its addresses. */
function connectionsText(blocks: readonly Block[]): string {
  const lines = [
    `fairlead version ${version}`,
    'Prot LocalAddress:Port Scheduler Flags',
    '  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn',
  ]
  for (const { addresses, algorithm, persistent, forward, backends } of blocks) {
    const flags = persistent === undefined ? '' : ` persistent ${persistent}`
    for (const { protocol, address, port } of addresses)
      lines.push(
        `${protocol.toUpperCase().padEnd(4)} ${endpoint(address, port)} ${algorithm}${flags}`,
      )
    for (const { address, port, weight, totals } of backends) {
      const figures = [
        forward.padEnd(7),
        String(weight).padEnd(6),
        String(totals.active).padEnd(10),
      ]
      const name = `  -> ${endpoint(address, port).padEnd(28)}`
      lines.push(`${name} ${figures.join(' ')} ${totals.inactive}`)
    }
  }
  return lines.join('\n')
}

function text(blocks: readonly Block[], exact: boolean): string {
  const head = ['Conns', 'InPkts', 'OutPkts', 'InBytes', 'OutBytes']
  const lines = [
    `fairlead version ${version}`,
    'Prot LocalAddress:Port'.padEnd(NAME_WIDTH) + head.map(column).join(''),
    '  -> RemoteAddress:Port',
  ]
  for (const { addresses, totals, backends } of blocks) {
    addresses.forEach(({ protocol, address, port }, at) => {
      const name = `${protocol.toUpperCase().padEnd(4)} ${endpoint(address, port)}`
      lines.push(name.padEnd(NAME_WIDTH) + (at === 0 ? figures(totals, exact) : nothing))
    })
    for (const backend of backends) {
      const name = `  -> ${endpoint(backend.address, backend.port)}`
      lines.push(name.padEnd(NAME_WIDTH) + figures(backend.totals, exact))
    }
  }
  return lines.join('\n')
}

const nothing = Array(5).fill('-').map(column).join('')

function figures(sums: Totals, exact: boolean): string {
  const { connections, packetsIn, packetsOut, bytesIn, bytesOut } = sums
  return [connections, packetsIn, packetsOut, bytesIn, bytesOut]
    .map((value) => column(exact ? String(value) : shortNumber(value)))
    .join('')
}

/** Set to the right; a value too wide for the column pushes the rest on, but never touches it. */
function column(text: string): string {
  return ` ${text.padStart(FIGURE_WIDTH - 1)}`
}

/** As ipvsadm shortens: up to eight digits as they are, then in decimal thousands. */
export function shortNumber(value: number): string {
  if (value < 1e8) return String(value)
  if (value < 1e9) return `${Math.floor(value / 1e3)}K`
  if (value < 1e11) return `${Math.floor(value / 1e6)}M`
  if (value < 1e14) return `${Math.floor(value / 1e9)}G`
  return `${Math.floor(value / 1e12)}T`
}
