/**
 * A namespace whose routes decide what programs at the edge do: two wires, behind which clients,
 * backends and other nodes answer for their MAC addresses. Programs run in it under
 * BPF_PROG_TEST_RUN, in a process of its own.
 */
import { execFileSync } from 'node:child_process'
import { BpfObject } from 'libbpf-ts'
import { type Namespace, NetLab } from './netns.js'

export const NARROW_MTU = 1300

/** Of the node itself, and by host number of what is behind: on eth0, and on eth1. */
const WIRES = [
  { link: 'eth0', net4: '192.0.2', net6: '2001:db8:', hosts: [2, 3, 4, 8, 9], mtu: 1500 },
  { link: 'eth1', net4: '198.51.100', net6: '2001:db8:1:', hosts: [3], mtu: NARROW_MTU },
] as const

export interface EdgeWire {
  readonly node: Namespace
  /** Of eth0 of the node, and of what is behind it. */
  readonly macs: readonly [node: string, world: string]
}

export async function edgeWire(lab: NetLab): Promise<EdgeWire> {
  const node = await lab.namespace('node')
  const world = await lab.namespace('world')
  for (const { link, net4, net6, hosts, mtu } of WIRES) {
    const both = (host: number) => [`${net4}.${host}/24`, `${net6}:${host}/64`]
    await lab.wire(
      { space: node, link, addresses: both(1) },
      { space: world, link, addresses: hosts.flatMap(both) },
    )
    for (const space of [node, world]) await space.ip('link', 'set', link, 'mtu', `${mtu}`)
  }
  await node.sysctl('net.ipv4.ip_forward', '1')
  await node.sysctl('net.ipv6.conf.all.forwarding', '1')
  for (const { net4, net6, hosts } of WIRES)
    for (const host of hosts)
      for (const address of [`${net4}.${host}`, `${net6}:${host}`])
        await node.run('ping', ['-c1', '-W5', address])
  return { node, macs: [await node.mac('eth0'), await world.mac('eth0')] }
}

/** sysfs would tell of the namespace that it was mounted in. */
export function ifindexOf(link: string): number {
  const text = execFileSync('ip', ['-j', 'link', 'show', link], { encoding: 'utf8' })
  const [found] = JSON.parse(text) as { ifindex: number }[]
  if (!found) throw new Error(`there is no ${link}`)
  return found.ifindex
}

/** A veth has queues that XDP knows of only while a program is on it. @returns what takes it off */
export async function holdXdp(link: string): Promise<() => void> {
  const object = BpfObject.open(new URL('../../bpf/xdp.bpf.o', import.meta.url).pathname)
  try {
    for (const [name, { maxEntries }] of object.maps)
      if (!name.includes('.') && maxEntries > 256) object.resize(name, 256)
    object.load()
    const held = await object.program('from_wire').attachXdp({ interface: link, mode: 'native' })
    return () => {
      held.close()
      object.close()
    }
  } catch (error) {
    object.close()
    throw error
  }
}

const INSIDE = 'FAIRLEAD_INSIDE'

/** Whether this is the program that inEdgeWire() has started. */
export function isInEdgeWire(): boolean {
  return process.env[INSIDE] !== undefined
}

/**
 * Does `work` in such a namespace: starts this program once more there, with the same arguments.
 *
 * @param args  others instead
 * @returns the exit code, of the one inside or of `work`
 */
export async function inEdgeWire(
  work: () => number | Promise<number>,
  args: readonly string[] = process.argv.slice(2),
): Promise<number> {
  if (isInEdgeWire()) return work()
  const lab = new NetLab()
  try {
    const { node } = await edgeWire(lab)
    const env = { ...process.env, [INSIDE]: '1' }
    const child = node.spawn(process.execPath, [process.argv[1] ?? '', ...args], env)
    const code = await child.exited
    console.log(child.stdout.trim())
    console.error(child.stderr.trim())
    return code
  } finally {
    await lab.close()
  }
}
