/** Containers that are entered past their bridge, in worlds without an agent. */
import { readFileSync } from 'node:fs'
import { readConfiguredHz } from '../../src/host/clock.js'
import { addressRow } from '../../src/dataplane/rows.js'
import type { Datapath } from './kernel.js'

/** The kernel counts from five minutes before its wrap. Half of what 32 bits tell is yet to come. */
function distantJiffies(): number {
  const seconds = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0])
  return (Math.round((seconds - 300) * (readConfiguredHz() ?? 250)) + 2 ** 30) >>> 0
}

/** @param scope the network's id */
export function enterPastBridge(dp: Datapath, scope: number, addresses: readonly string[]): void {
  dp.map('veth_leases').set(0, { until: distantJiffies() })
  const value = { ifindex: 1, mac: Uint8Array.of(2, 0, 0, 0, 0, 1), pad: new Uint8Array(2) }
  for (const address of addresses) {
    const { family, key } = addressRow(scope, address)
    dp.map(`veths${family}`).set({ scope, addr: key.addr }, value)
  }
}
