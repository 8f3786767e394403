/** Packets as tcpdump saw them: a count that fairlead had no hand in. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import type { Namespace, NetLab } from './netns.js'

export interface Seen {
  readonly packets: number
  /** From the IP header on, as on the wire. */
  readonly bytes: number
}

const fileHeader = 24
const recordHeader = 16
const ethernetHeader = 14

/** Sums a little-endian pcap file of Ethernet frames. */
export function sumPcap(file: Uint8Array): Seen {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  let [packets, bytes] = [0, 0]
  for (let at = fileHeader; at + recordHeader <= file.byteLength;) {
    const kept = view.getUint32(at + 8, true)
    bytes += view.getUint32(at + 12, true) - ethernetHeader
    packets++
    at += recordHeader + kept
  }
  return { packets, bytes }
}

/** Captures on an interface until `stop`, each filter into a count of its own. */
export async function capture(
  lab: NetLab,
  space: Namespace,
  link: string,
  filters: readonly string[],
): Promise<{ stop(): Promise<Seen[]> }> {
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-pcap-'))
  lab.atClose(() => rmSync(folder, { recursive: true, force: true }))
  const running = filters.map((filter, at) => {
    const file = join(folder, `${at}.pcap`)
    const daemon = space.spawn('tcpdump', [
      ...['-i', link, '-s', '128', '-U', '-B', '8192', '--immediate-mode', '-Z', 'root'],
      ...['-w', file, ...filter.split(' ')],
    ])
    return { file, daemon }
  })
  for (const { daemon } of running) {
    const deadline = Date.now() + 10_000
    while (!daemon.stderr.includes('listening on')) {
      if (!daemon.running || Date.now() > deadline) throw new Error(`tcpdump: ${daemon.stderr}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  return {
    async stop() {
      // Let the last packets reach the capture before it is told to end.
      await new Promise((resolve) => setTimeout(resolve, 200))
      await Promise.all(running.map(({ daemon }) => daemon.stop('SIGINT')))
      return running.map(({ file, daemon }) => {
        if (!/\b0 packets dropped by kernel/.test(daemon.stderr))
          throw new Error(`the capture lost packets: ${daemon.stderr}`)
        return sumPcap(readFileSync(file))
      })
    },
  }
}
