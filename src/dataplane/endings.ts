/**
 * Tells both ends of TCP flows that the sweep has ended. Nobody knows their sequence numbers, so they
 * are not reset outright: each is made to speak, and what it says is reset as any packet without a flow
 * is, the client's by the program at its interface, the backend's by the client's own kernel.
 */
import type { Log } from '../host/log.js'
import { sendPackets, tcpProbes } from '../host/packets.js'
import { OUTSIDE_NETWORK } from './outside.js'
import type { Ending } from './sweepThread.js'

/**
 * @param namespaceOf where a network's containers are reached; undefined: the agent's own; null: there
 *                    is no such network
 */
export async function tellEndings(
  endings: readonly Ending[],
  namespaceOf: (network: number) => string | undefined | null,
  log: Log,
): Promise<void> {
  const packets = new Map<string | undefined, Uint8Array[]>()
  for (const ending of endings) {
    const namespace = namespaceOf(ending.network)
    if (namespace === null) continue
    const those = packets.get(namespace) ?? []
    packets.set(namespace, those)
    those.push(...packetsOf(ending))
  }
  for (const [namespace, those] of packets) {
    try {
      const sent = await sendPackets(those, namespace)
      log.debug({ namespace, flows: endings.length, sent }, 'ends of idle flows were told')
    } catch (error) {
      log.warn({ namespace, err: error }, 'the ends of idle flows could not be told')
    }
  }
}

function packetsOf(ending: Ending): Uint8Array[] {
  const { network, client, clientPort, sourcePort, vip, vipPort, backend, backendPort } = ending
  const packets = tcpProbes({ address: vip, port: vipPort }, { address: client, port: clientPort })
  // A client outside would not get what the backend says: it is not translated any more.
  if (backend === undefined || network === OUTSIDE_NETWORK) return packets
  const toBackend = tcpProbes(
    { address: client, port: sourcePort },
    { address: backend, port: backendPort },
  )
  return [...packets, ...toBackend]
}
