/**
 * Where every subject is set up: a client, a balancer and a backend in network namespaces. The client is
 * a NIC away. A `local` backend is a container on the balancer's bridge; one of the `wire` is where the
 * client is, so that packets leave by the NIC that they came in by. There is no other way between them:
 * whatever arrives was carried by the balancer.
 */
import { type Namespace, type NetLab, run } from '../../test/lib/netns.js'
import type { Shape } from './subject.js'

/** Addresses, the same on every stage. */
export const PLACES = {
  client: '192.0.2.8',
  balancer: '192.0.2.1',
  /** Generated frames come from here on. */
  crowd: '198.18.0.0',
  crowdNet: '198.18.0.0/15',
  vip: '203.0.113.9',
  gateway: '10.1.0.1',
  /** Of containers. */
  subnet: '10.1.0.0/16',
} as const

const BACKENDS: Readonly<Record<Shape, string>> = { local: '10.1.0.10', wire: '192.0.2.10' }

/** Of the VIP and of the backend: not every subject can change it. */
export const PORT = 80

export const NIC = 'eth0'
export const BRIDGE = 'br0'
export const BACKEND_LINK = 'v-backend'
/** Of the containers' subnet. */
const BITS = 16

export class Stage {
  private constructor(
    readonly lab: NetLab,
    readonly shape: Shape,
    /** Where the client is another machine, the balancer's own: nothing is to be done in it. */
    readonly client: Namespace,
    readonly balancer: Namespace,
    /** On the wire the client's own. */
    readonly backend: Namespace,
  ) {}

  /** @param whole ends send whole checksums, as XDP has to have them and a wire does */
  static async build(lab: NetLab, shape: Shape, name: string, whole = true): Promise<Stage> {
    const client = await lab.namespace(`${name}c`)
    const balancer = await lab.namespace(`${name}l`)
    const backend = shape === 'local' ? await lab.namespace(`${name}b`) : client
    const stage = new Stage(lab, shape, client, balancer, backend)
    await stage.wire()
    await stage.offloads(whole)
    return stage
  }

  /** Behind a NIC of this machine, which is the balancer's until giveNic(). The client is elsewhere. */
  static async atNic(lab: NetLab, nic: string): Promise<Stage> {
    const balancer = await lab.namespace('l')
    const backend = await lab.namespace('b')
    const stage = new Stage(lab, 'local', balancer, balancer, backend)
    await takeNic(balancer, nic, `${PLACES.balancer}/24`)
    await stage.container()
    await balancer.ip('route', 'add', PLACES.crowdNet, 'via', PLACES.client)
    await balancer.sysctl('net.ipv4.ip_forward', '1')
    return stage
  }

  get address(): string {
    return BACKENDS[this.shape]
  }

  /** Addresses of so many backends; one is where something listens. */
  backends(count: number): string[] {
    if (count === 1) return [this.address]
    return Array.from(
      { length: count },
      (_, at) => `10.1.${16 + ((at + 1) >> 8)}.${(at + 1) & 255}`,
    )
  }

  /** Has the balancer know them as neighbours, all of them the one container. */
  async populate(count: number): Promise<void> {
    const mac = await this.backend.mac(NIC)
    const lines = this.backends(count).map(
      (address) => `neigh replace ${address} lladdr ${mac} nud permanent dev ${BRIDGE}\n`,
    )
    await this.balancer.run('ip', ['-batch', '-'], { input: lines.join('') })
  }

  private async wire(): Promise<void> {
    const { lab, client, balancer, shape, address } = this
    const ends = shape === 'local' ? [PLACES.client] : [PLACES.client, address]
    // Before there are interfaces, which take it over: a redirect for each packet is no balancing.
    await balancer.sysctl('net.ipv4.conf.all.send_redirects', '0')
    await balancer.sysctl('net.ipv4.conf.default.send_redirects', '0')
    await lab.wire(
      { space: client, link: NIC, addresses: ends.map((end) => `${end}/24`) },
      { space: balancer, link: NIC, addresses: [`${PLACES.balancer}/24`] },
    )
    if (shape === 'local') await this.container()
    await client.ip('route', 'add', 'default', 'via', PLACES.balancer)
    await balancer.ip('route', 'add', PLACES.crowdNet, 'via', PLACES.client)
    await balancer.sysctl('net.ipv4.ip_forward', '1')
  }

  private async container(): Promise<void> {
    const { lab, balancer, backend, address } = this
    await lab.bridge(balancer, BRIDGE, [`${PLACES.gateway}/${BITS}`])
    const addresses = [`${address}/${BITS}`]
    await lab.plug(balancer, backend, { addresses, bridge: BRIDGE, hostLink: BACKEND_LINK })
    await backend.ip('route', 'add', 'default', 'via', PLACES.gateway)
  }

  /** The balancer receives through NAPI, as from a NIC. */
  private async offloads(whole: boolean): Promise<void> {
    for (const end of new Set([this.client, this.backend]))
      if (whole) await end.run('ethtool', ['-K', NIC, 'tx', 'off'])
    await this.balancer.run('ethtool', ['-K', NIC, 'gro', 'on'])
  }

  /** Neighbours are found before anything is counted. */
  async settle(): Promise<void> {
    const ping = ['-c', '1', '-W', '2']
    await this.client.run('ping', [...ping, PLACES.balancer])
    await this.balancer.run('ping', [...ping, this.address])
  }

  /** Options of the generator and of sockets, for `traffic`. */
  async ways({ dial = PLACES.vip }: { dial?: string | undefined }): Promise<string[]> {
    return Object.entries({
      client: this.client.path,
      backend: this.backend.path,
      ...{ dial, port: PORT, listen: PORT, from: PLACES.crowd, out: NIC },
      mac: await this.balancer.mac(NIC),
    }).map((pair) => pair.join('='))
  }

  async remove(): Promise<void> {
    for (const space of new Set([this.client, this.balancer, this.backend]))
      await this.lab.remove(space)
  }
}

/** Moves an interface of this process' namespace into another, where it is NIC. */
export async function takeNic(
  space: Namespace,
  nic: string,
  ...addresses: string[]
): Promise<void> {
  await run('ip', ['link', 'set', nic, 'down'])
  await run('ip', ['link', 'set', nic, 'netns', space.name, 'name', NIC])
  for (const address of addresses) await space.ip('address', 'add', address, 'dev', NIC)
  await space.ip('link', 'set', NIC, 'up')
}

/** Gives it back, without addresses. */
export async function giveNic(space: Namespace, nic: string): Promise<void> {
  await space.ip('link', 'set', NIC, 'down')
  await space.ip('link', 'set', NIC, 'netns', `${process.pid}`, 'name', nic)
}
