/** How much of an engine's is served here. */

export const TAKEOVERS = ['all', 'labelled', 'none'] as const
export type TakeoverMode = (typeof TAKEOVERS)[number]

export interface Takeover {
  readonly mode: TakeoverMode
  /** Services that count as labelled: `service`, or `network/service`; lower case. */
  readonly names: readonly string[]
}

/** Beside an IPVS that balances the same VIPs only what it is told; else all there is. */
export function defaultTakeover(ipvsIsPresent: boolean): TakeoverMode {
  return ipvsIsPresent ? 'labelled' : 'all'
}
