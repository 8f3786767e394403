/** From results to what they mean: of one backend, and of a service's backends together. Pure. */
import { family } from '../../model/address.js'
import type { BackendStates } from '../../model/overlay.js'
import type { Backend, BackendState, Family } from '../../model/types.js'

/** Counts results in a row: one that differs begins anew, however many there were. */
export class Tally {
  /** Undefined until the first result, which decides at once. */
  healthy: boolean | undefined
  /** Length of the present run of equal results. */
  consecutive = 0
  #last: boolean | undefined

  /** @returns whether `healthy` turned (from undefined to true is a turn, too) */
  add(ok: boolean, rise: number, fall: number): boolean {
    this.consecutive = ok === this.#last ? this.consecutive + 1 : 1
    this.#last = ok
    if (ok === this.healthy) return false
    if (this.healthy !== undefined && this.consecutive < (ok ? rise : fall)) return false
    this.healthy = ok
    return true
  }

  /** The verdict stands; the counting begins anew. */
  restart(): void {
    this.consecutive = 0
    this.#last = undefined
  }
}

export interface Finding {
  /** Those that are down. */
  readonly states: BackendStates
  readonly failOpen: readonly Family[]
  readonly belowQuorum: readonly Family[]
}

/**
 * Families are judged apart, as their rings are.
 *
 * @param backends as their source declares them
 * @param healthy  by address; undefined (no result yet) counts as healthy
 * @param quorum   see HealthCheck
 */
export function find(
  backends: readonly Backend[],
  healthy: (address: string) => boolean | undefined,
  quorum: number | undefined,
): Finding {
  const states = new Map<string, BackendState>()
  const failOpen: Family[] = []
  const belowQuorum: Family[] = []
  const failing = ({ address }: Backend): boolean => healthy(address) === false
  for (const of of [4, 6] as const) {
    const present = backends.filter(
      ({ address, state }) => state !== 'down' && family(address) === of,
    )
    if (present.length === 0) continue
    const weight = present
      .filter((backend) => backend.state === 'active' && !failing(backend))
      .reduce((sum, backend) => sum + backend.weight, 0)
    if (quorum !== undefined && weight < quorum) {
      belowQuorum.push(of)
      for (const { address } of present) states.set(address, 'down')
    } else if (present.every(failing)) failOpen.push(of)
    else for (const { address } of present.filter(failing)) states.set(address, 'down')
  }
  return { states, failOpen, belowQuorum }
}
