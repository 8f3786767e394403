/** The neighbour table of a namespace, by iproute2's JSON. */
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
  const rows = JSON.parse(text.trim() || '[]') as IpNeighbour[]
  const row = rows.find(({ dst }) => dst !== undefined && canonicalAddress(dst) === address)
  return {
    interface: device,
    ...(row?.lladdr !== undefined && { mac: row.lladdr }),
    state: row?.state?.join(' ').toLowerCase() ?? 'unknown',
  }
}
