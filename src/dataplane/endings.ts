/**
 * Tells both ends of TCP flows that the sweep has ended. Nobody knows their sequence numbers, so they
 * are not reset outright: each is made to speak, and what it says is reset as any packet without a flow
 * is: the client's by the program at its interface; the backend's by the kernel that takes itself for its
 * client, or, if that one is outside, by the program that it comes by on its way there.
 */
import type { Log } from '../host/log.js'
import { sendPackets, tcpProbes, tunnelled } from '../host/packets.js'
import { family } from '../model/address.js'
import { Pace } from '../pace.js'
import type { Ending } from './sweepThread.js'

/**
 * @param namespaceOf where a network's containers are reached; undefined: the agent's own; null: there
 *                    is no such network
 * @param tunnelEnds  of this node, the first of each family
 */
export async function tellEndings(
  endings: readonly Ending[],
  namespaceOf: (network: number) => string | undefined | null,
  tunnelEnds: readonly string[],
  log: Log,
): Promise<void> {
  const packets = new Map<string | undefined, Uint8Array[]>()
  const pace = new Pace()
  for (const ending of endings) {
    if (pace.due) await pace.rest()
    const namespace = namespaceOf(ending.network)
    if (namespace === null) continue
    const those = packets.get(namespace) ?? []
    packets.set(namespace, those)
    those.push(...toClient(ending), ...toBackend(ending, tunnelEnds))
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

function toClient({ client, clientPort, vip, vipPort }: Ending): Uint8Array[] {
  return tcpProbes({ address: vip, port: vipPort }, { address: client, port: clientPort })
}

function toBackend(ending: Ending, tunnelEnds: readonly string[]): Uint8Array[] {
  const { source, sourcePort, backend, backendPort, node } = ending
  if (backend === undefined) return []
  const packets = tcpProbes(
    { address: source, port: sourcePort },
    { address: backend, port: backendPort },
  )
  if (node === undefined) return packets
  const here = tunnelEnds.find((end) => family(end) === family(node))
  return here === undefined ? [] : packets.map((packet) => tunnelled(packet, here, node))
}
