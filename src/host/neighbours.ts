/** Neighbours and bridges' tables of a namespace, by iproute2's JSON. */
import { canonicalAddress } from '../model/address.js'
import { run } from './run.js'

export interface Neighbour {
  readonly interface: string
  /** Absent: not resolved. */
  readonly mac?: string
  /** As `ip neighbour` has it, lower case; `unknown` if there is no row. */
  readonly state: string
}

interface IpNeighbour {
  readonly dst?: string
  readonly lladdr?: string
  readonly state?: readonly string[]
}

/** @throws FairleadError HOST */
export async function neighbourOf(
  address: string,
  device: string,
  namespace?: string,
): Promise<Neighbour> {
  const text = await run(namespace, 'ip', ['-j', 'neigh', 'show', 'to', address, 'dev', device])
  const row = rowsOf<IpNeighbour>(text).find(
    ({ dst }) => dst !== undefined && canonicalAddress(dst) === address,
  )
  return {
    interface: device,
    ...(row?.lladdr !== undefined && { mac: row.lladdr }),
    state: row?.state?.join(' ').toLowerCase() ?? 'unknown',
  }
}

/** Who is behind a port of a bridge. */
export interface Tenant {
  readonly address: string
  readonly mac: string
  /** The port's name. */
  readonly port: string
}

interface BridgeRow {
  readonly mac?: string
  readonly ifname?: string
  readonly state?: string
  readonly vlan?: number
}

/**
 * Those whose MAC address the neighbour table has and the bridge has learned.
 *
 * @throws FairleadError HOST
 */
export async function tenantsOf(bridge: string, namespace?: string): Promise<Tenant[]> {
  const [forwarding, neighbours] = await Promise.all([
    run(namespace, 'bridge', ['-j', 'fdb', 'show', 'br', bridge]),
    run(namespace, 'ip', ['-j', 'neigh', 'show', 'dev', bridge]),
  ])
  const ports = new Map<string, string>()
  for (const row of rowsOf<BridgeRow>(forwarding))
    if (row.mac !== undefined && row.ifname !== undefined && !isOwn(row))
      ports.set(row.mac, row.ifname)
  return rowsOf<IpNeighbour>(neighbours).flatMap(({ dst, lladdr: mac = '', state = [] }) => {
    const address = dst === undefined ? undefined : canonicalAddress(dst)
    const port = ports.get(mac)
    const known = address !== undefined && port !== undefined && !state.includes('FAILED')
    return known ? [{ address, mac, port }] : []
  })
}

/** Of the bridge or its port itself, or of a VLAN. */
function isOwn({ state, vlan }: BridgeRow): boolean {
  return state === 'permanent' || vlan !== undefined
}

function rowsOf<Row>(text: string): Partial<Row>[] {
  return JSON.parse(text.trim() || '[]') as Partial<Row>[]
}
