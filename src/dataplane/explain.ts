/**
 * Explains decisions: where a question belongs, what the programs' own code says of it, and the same
 * in the words of the model. Reads the kernel's maps and changes nothing.
 */
import { FairleadError } from '../errors.js'
import { listLinks, namespaceWithAddress } from '../host/links.js'
import { neighbourOf } from '../host/neighbours.js'
import { HOST_NAMESPACE } from '../host/namespaces.js'
import { routesTo } from '../host/routes.js'
import { Cidr, family, fromWords } from '../model/address.js'
import type { Explainer, Explanation, Question, Way } from '../model/explain.js'
import type { Network, Path, State } from '../model/types.js'
import { describe, type DescribeParts, verdictOf } from './describe.js'
import { ExplainRun, VERDICT, type Run, type RunPacket } from './explainRun.js'
import type { Installer } from './install.js'
import { OUTSIDE_NETWORK } from './outside.js'
import type { PinnedMaps } from './pinnedMaps.js'
import { flowsIncomplete, type ProgramSettings } from './programs.js'
import { bridgeScope } from './veths.js'

/** Of those that sockets take, for who does not say: it decides only where ports are hashed. */
const ANY_PORT = 49_152

/** A namespace whose sockets are balanced. */
export interface SocketNamespace {
  /** A path, or `host`. */
  readonly path: string
  readonly cookie: bigint
}

export interface ExplainParts {
  readonly maps: PinnedMaps
  readonly settings: ProgramSettings
  readonly installer: Installer
  readonly state: () => State | undefined
  /** Whether an interface of this node leads outside. */
  readonly hasEdge: boolean
  /** Of a network, by name. */
  readonly sockets: (network: string) => readonly SocketNamespace[]
  /** Where an address is handed its packets past its bridge; `scope` as Veths has it. */
  readonly vethOf: (scope: number, address: string) => string | undefined
}

/** Where a question belongs. */
interface Place {
  readonly path: Path
  /** Absent: the outside. */
  readonly network?: Network
  readonly id: number
  readonly netns?: bigint | undefined
}

export class KernelExplainer implements Explainer {
  readonly #parts: ExplainParts
  readonly #run: ExplainRun

  constructor(parts: ExplainParts) {
    this.#parts = parts
    this.#run = new ExplainRun(parts.settings, parts.maps)
  }

  async explain(question: Question): Promise<Explanation> {
    if (family(question.client.address) !== family(question.vip.address))
      throw new FairleadError('VALUE', 'the addresses are of two families')
    const place = await this.#place(question)
    const packet: RunPacket = {
      client: { address: question.client.address, port: question.client.port ?? ANY_PORT },
      vip: question.vip,
      protocol: question.protocol,
      first: question.established !== true,
    }
    if (place.path === 'sock') {
      const run = await this.#ask(packet, place)
      // What the hook leaves alone is seen by tc next, if the network has it.
      const left = run.found.drop === 0 && run.found.chosen === 0
      if (question.path === 'sock' || !left) return this.#describe(packet, place, run)
      return this.#explainPacket(packet, { ...place, path: 'tc' })
    }
    return this.#explainPacket(packet, place)
  }

  /** The first verdict would have to wait for the programs. */
  async prepare(): Promise<void> {
    await this.#run.prepare()
  }

  /** What becomes of one packet, in short. @param ifindex by which it came */
  async verdict(
    packet: RunPacket,
    network: Network | undefined,
    ifindex: number,
  ): Promise<Pick<Explanation, 'outcome' | 'reason' | 'backend'>> {
    const { installer } = this.#parts
    const id = network === undefined ? OUTSIDE_NETWORK : installer.ids.networks.get(network.name)
    const path = network === undefined ? 'xdp' : 'tc'
    const place: Place = { path, id: id ?? OUTSIDE_NETWORK, ...(network && { network }) }
    return verdictOf(this.#describing(), packet, path, await this.#ask(packet, place, ifindex))
  }

  async close(): Promise<void> {
    await this.#run.close()
  }

  async #explainPacket(packet: RunPacket, place: Place): Promise<Explanation> {
    const run = await this.#ask(packet, { ...place, netns: undefined })
    return this.#describe(packet, place, run)
  }

  async #ask(packet: RunPacket, { path, id, netns, network }: Place, by?: number): Promise<Run> {
    const { maps, settings } = this.#parts
    const ifindex = path === 'xdp' ? (by ?? (await interfaceTowards(packet.client.address))) : 0
    const place = {
      network: id,
      path: maps.constants.paths.indexOf(path),
      // Where it is does not matter: nothing leaves.
      bridge: network?.attachment.bridge === undefined ? 0 : 1,
      ifindex,
      ...(netns !== undefined && { netns }),
    }
    return this.#run.run(packet, place, flowsIncomplete(maps, settings.hook))
  }

  async #describe(packet: RunPacket, place: Place, run: Run): Promise<Explanation> {
    const { path, network } = place
    const explanation = describe(
      this.#describing(),
      packet,
      { path, network: network?.name ?? '' },
      run,
    )
    if (explanation.outcome !== 'translated') return explanation
    return { ...explanation, way: await this.#way(place, explanation, run) }
  }

  #describing(): DescribeParts {
    const { maps, settings, installer, state } = this.#parts
    return { maps, installer, settings, state: state() }
  }

  async #way({ path, id, network }: Place, { backend }: Explanation, { found }: Run): Promise<Way> {
    const to = backend?.address ?? ''
    if (path === 'sock') return { kind: 'socket' }
    if (found.verdict === VERDICT.hairpin) return { kind: 'hairpin' }
    if (found.verdict === VERDICT.redirect && network !== undefined) {
      const { namespace, bridge = '' } = network.attachment
      const neighbour = await neighbourOf(to, bridge, namespace)
      return { kind: 'neighbour', nextHop: to, ...neighbour, ...this.#vethOf(id, to) }
    }
    if (found.routed === 0) return { kind: 'stack' }
    return this.#wayOut(to, found)
  }

  /** At the edge: as the service's `return` has it. */
  async #wayOut(to: string, found: Run['found']): Promise<Way> {
    const { constants, ...maps } = { constants: this.#parts.maps.constants, all: this.#parts.maps }
    const id = found.chosen === 0 ? found.flow_backend : found.chosen
    const via = maps.all.get('vias').get(id) as { addr: number[]; kind: number } | undefined
    if (via?.kind === constants.via.entry) return { kind: 'entry', nextHop: fromWords(via.addr) }
    if (via?.kind === constants.via['dsr-tunnel'])
      return { kind: 'dsr-tunnel', nextHop: fromWords(via.addr) }
    if (via?.kind === constants.via['dsr-mac']) return { kind: 'dsr-mac', nextHop: to }
    const kind = via?.kind === constants.via.snat ? 'snat' : 'route'
    if (found.way_ifindex === 0) return { kind: 'stack', state: 'not forwarded' }
    const links = await listLinks()
    const name = links.find(({ ifindex }) => ifindex === found.way_ifindex)?.name
    const veth = this.#vethOf(bridgeScope(found.way_ifindex), fromWords(found.way_addr))
    const mac = Buffer.from(found.way_mac)
      .toString('hex')
      .replace(/..(?!$)/g, '$&:')
    return {
      kind,
      ...(name !== undefined && { interface: name }),
      nextHop: fromWords(found.way_addr),
      ...(found.way_result === 0 ? { mac, ...veth } : { state: 'its MAC is not known yet' }),
    }
  }

  #vethOf(scope: number, address: string): { veth: string } | undefined {
    const veth = this.#parts.vethOf(scope, address)
    return veth === undefined ? undefined : { veth }
  }

  async #place(question: Question): Promise<Place> {
    const { hasEdge, installer, sockets } = this.#parts
    const network = this.#network(question)
    if (network === undefined) {
      if (!hasEdge) throw new FairleadError('REFERENCE', 'no interface of this node leads outside')
      return { path: 'xdp', id: OUTSIDE_NETWORK }
    }
    if (question.path === 'xdp')
      throw new FairleadError('VALUE', 'path xdp is the outside: name no network with it')
    const id = installer.ids.networks.get(network.name)
    if (id === undefined)
      throw new FairleadError('REFERENCE', `network ${network.name} is not in the kernel`)
    const tc: Place = { path: 'tc', network, id }
    if (question.path === 'tc') return tc
    const scopes = sockets(network.name)
    const paths = scopes.map(({ path }) => (path === HOST_NAMESPACE ? undefined : path))
    const at = await namespaceWithAddress(question.client.address, paths)
    const scope = at === -1 ? undefined : scopes[at]
    if (scope !== undefined) return { ...tc, path: 'sock', netns: scope.cookie }
    if (question.path === undefined) return tc
    const who = `no namespace whose sockets are balanced in ${network.name}`
    throw new FairleadError('REFERENCE', `${who} has ${question.client.address}`)
  }

  /** @returns undefined for the outside */
  #network({ network, path, client, vip }: Question): Network | undefined {
    const state = this.#parts.state()
    const networks: State['networks'] = state?.networks ?? new Map()
    const services: State['services'] = state?.services ?? new Map()
    if (network !== undefined && network !== '') {
      const named = networks.get(network)
      if (named === undefined)
        throw new FairleadError('REFERENCE', `there is no network ${network}`)
      return named
    }
    if (network === '' || path === 'xdp') return undefined
    const all = [...networks.values()]
    const has = ({ subnets }: Network, address: string) =>
      subnets.some((subnet) => Cidr.parse(subnet).contains(address))
    const clients = all.filter((each) => has(each, client.address))
    if (clients.length === 0 && this.#parts.hasEdge) return undefined
    const dialled = (each: Network) =>
      [...services.values()].some(
        (one) => one.network === each.name && one.vips.includes(vip.address),
      )
    const candidates = clients.length === 0 ? all : clients
    const fitting = candidates.length > 1 ? candidates.filter(dialled) : candidates
    const [only, ...others] = fitting
    if (only !== undefined && others.length === 0) return only
    const names = candidates.map(({ name }) => name).join(', ')
    throw new FairleadError('VALUE', `network: name the one that is meant, of ${names || 'none'}`)
  }
}

/** By which interface packets of a client come, if they come the way that replies go. */
async function interfaceTowards(address: string): Promise<number> {
  const route = (await routesTo([address])).get(address)
  if (route === undefined || route.local) return 0
  return (await listLinks()).find(({ name }) => name === route.device)?.ifindex ?? 0
}
