/**
 * What an agent's pinned maps say, read by bpftool and by the names of their fields in BTF: nothing of
 * our own code is between the kernel and the test.
 */
import { run } from '../lib/netns.js'

interface Row<K, V> {
  readonly key: K
  readonly value: V
  /** Bytes as bpftool prints them, for texts. */
  readonly raw: readonly string[]
}

interface Dumped<K, V> {
  readonly value: readonly string[]
  readonly formatted: { readonly key: K; readonly value: V }
}

async function dump<K, V>(pins: string, map: string): Promise<Row<K, V>[]> {
  const { stdout } = await run('bpftool', ['-j', 'map', 'dump', 'pinned', `${pins}/maps/${map}`])
  const rows = JSON.parse(stdout) as Dumped<K, V>[]
  return rows.map(({ value, formatted }) => ({ ...formatted, raw: value }))
}

interface Address {
  readonly addr: readonly number[]
}

/** Four words in network order, read by a machine that is little-endian. */
function dotted({ addr }: Address): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(addr[3] ?? 0)
  return [...bytes].join('.')
}

export interface KernelService {
  readonly id: number
  /** Addresses of the backends in the ring, once each, sorted. */
  readonly ring: readonly string[]
  /** VIPs whose every port is the service's. */
  readonly vips: readonly string[]
  /** Ports of the node's addresses: `tcp/8080 -> 80`, once each, sorted. */
  readonly published: readonly string[]
}

export interface KernelView {
  /** By `network/service`. */
  readonly services: ReadonlyMap<string, KernelService>
  /** Alias to address. */
  readonly aliases: ReadonlyMap<string, string>
  readonly peers: readonly string[]
}

const PROTOCOLS: Readonly<Record<number, string>> = { 6: 'tcp', 17: 'udp' }
const SERVICE = 2

/** Agents must have been given small limits: an array is printed whole. */
export async function kernelView(pins: string): Promise<KernelView> {
  const [names, services, slots, backends, vips, ports, aliases, peers] = await Promise.all([
    dump<{ kind: number; id: number }, unknown>(pins, 'names'),
    dump<number, { ring4: number; slots4: number }>(pins, 'services'),
    dump<number, number>(pins, 'slots'),
    dump<number, Address & { service: number }>(pins, 'backends'),
    dump<{ network: number; addr: number }, { flags: number; service: number }>(pins, 'vips4'),
    dump<{ port: number; protocol: number }, { service: number; target_port: number }>(
      ...([pins, 'ports4'] as const),
    ),
    dump<Address, Address>(pins, 'aliases'),
    dump<Address, number>(pins, 'peers'),
  ])
  const backendOf = new Map(backends.map(({ key, value }) => [key, value]))
  const slotOf = new Map(slots.map(({ key, value }) => [key, value]))
  const rowOf = new Map(services.map(({ key, value }) => [key, value]))
  const found = new Map<string, KernelService>()
  for (const { key, raw } of names) {
    const row = rowOf.get(key.id)
    // A service that has left keeps its name for a while, for its counters.
    if (key.kind !== SERVICE || row === undefined) continue
    const ring = Array.from({ length: row.slots4 }, (_, at) => slotOf.get(row.ring4 + at) ?? 0)
    const members = ring.flatMap((id) => {
      const backend = backendOf.get(id)
      return backend?.service === key.id ? dotted(backend) : `nobody (${id})`
    })
    const published = ports
      .filter(({ value }) => value.service === key.id)
      .map(({ key: { port, protocol }, value }) => {
        const [from, to] = [port, value.target_port].map(swapped)
        return `${PROTOCOLS[protocol] ?? protocol}/${from} -> ${to}`
      })
    found.set(text(raw), {
      id: key.id,
      ring: unique(members),
      vips: vips
        .filter(({ value }) => value.service === key.id)
        .map((row) => dotted({ addr: [0, 0, 0, row.key.addr] })),
      published: unique(published),
    })
  }
  return {
    services: found,
    aliases: new Map(aliases.map(({ key, value }) => [dotted(key), dotted(value)])),
    peers: peers.map(({ key }) => dotted(key)).sort(),
  }
}

function text(raw: readonly string[]): string {
  const bytes = Buffer.from(raw.map(Number))
  return bytes.subarray(0, bytes.indexOf(0)).toString('utf8')
}

function swapped(port: number): number {
  return ((port & 0xff) << 8) | (port >> 8)
}

function unique(texts: readonly string[]): string[] {
  return [...new Set(texts)].sort()
}
