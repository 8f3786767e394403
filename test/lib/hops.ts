/** Routers in a row, one link of which takes less than the others: where path-MTU discovery is needed. */
import { join } from 'node:path'
import type { Namespace, NetLab } from './netns.js'

/** Less than an Ethernet's, and room for IPv6's least MTU in a tunnel. */
export const SMALL_MTU = 1400

export async function forwarding(space: Namespace): Promise<void> {
  await space.sysctl('net.ipv4.ip_forward', '1')
  await space.sysctl('net.ipv6.conf.all.forwarding', '1')
}

/** Routes of both families. @param to4, to6 ranges, or `default` */
export async function route(
  space: Namespace,
  [to4, to6]: readonly [string, string],
  [via4, via6]: readonly [string, string],
): Promise<void> {
  await space.ip('route', 'add', to4, 'via', via4)
  await space.ip('-6', 'route', 'add', to6, 'via', via6)
}

export const DEFAULT = ['default', 'default'] as const

export async function serve(space: Namespace, program: string, ...args: string[]): Promise<void> {
  const path = join(import.meta.dirname, program)
  await space.spawn(process.execPath, [path, ...args]).printed(/ready/)
}

export interface Chain {
  readonly v4: string
  readonly v6: string
  /** The interface of the node that leads there. */
  readonly link: string
  /** All but the node: the routers, its neighbour first, and the end. */
  readonly spaces: readonly [Namespace, Namespace, Namespace]
  /** The routers' addresses on the side of the node. */
  readonly routers4: readonly [string, string]
  readonly routers6: readonly [string, string]
  readonly end: Namespace
}

/**
 * node – router – router – end, with the ranges 10.AT.0.0/16 and fd00:AT::/32. The end's own link is
 * an ordinary one, so it asks for full segments.
 * @param small the link that is small: 1, the node's own, or 2, between the routers
 */
export async function addChain(
  lab: NetLab,
  node: Namespace,
  at: number,
  small: 1 | 2,
): Promise<Chain> {
  const v4 = (link: number, host: number) => `10.${at}.${link}.${host}`
  const v6 = (link: number, host: number) => `fd00:${at}:${link}::${host}`
  const near = await lab.namespace(`c${at}near`)
  const far = await lab.namespace(`c${at}far`)
  const end = await lab.namespace(`c${at}end`)
  const spaces = [node, near, far, end] as const
  for (const [i, left] of spaces.entries()) {
    const right = spaces[i + 1]
    if (!right) break
    const link = i + 1
    const name = i === 0 ? `hop${at}` : 'down0'
    await lab.wire(
      { space: left, link: name, addresses: [`${v4(link, 1)}/24`, `${v6(link, 1)}/64`] },
      { space: right, link: 'eth0', addresses: [`${v4(link, 2)}/24`, `${v6(link, 2)}/64`] },
    )
    if (link === small) {
      await left.ip('link', 'set', name, 'mtu', `${SMALL_MTU}`)
      await right.ip('link', 'set', 'eth0', 'mtu', `${SMALL_MTU}`)
    }
    await route(right, DEFAULT, [v4(link, 1), v6(link, 1)])
  }
  for (const space of [node, near, far]) await forwarding(space)
  for (const [space, link] of [
    [node, 1],
    [near, 2],
  ] as const)
    await route(space, [`10.${at}.3.0/24`, `fd00:${at}:3::/64`], [v4(link, 2), v6(link, 2)])
  // The way to the routers themselves, for what they say.
  await route(node, [`10.${at}.2.0/24`, `fd00:${at}:2::/64`], [v4(1, 2), v6(1, 2)])
  return {
    ...{ v4: v4(3, 2), v6: v6(3, 2), link: `hop${at}`, end },
    spaces: [near, far, end],
    ...{ routers4: [v4(1, 2), v4(2, 2)], routers6: [v6(1, 2), v6(2, 2)] },
  }
}
