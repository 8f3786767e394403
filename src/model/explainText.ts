/** An explanation in words, a line a step. Pure. */
import { formatListen } from './address.js'
import type { BackendReason, ExplainedBackend, Explanation, Match } from './explain.js'
import type { FlowEnd } from './flows.js'

export interface Step {
  /** Stable: `packet`, `match`, `source`, `flow`, `affinity`, `choice`, `way`, `outcome`. */
  readonly step: string
  readonly text: string
}

export function stepsOf(of: Explanation): Step[] {
  const step = (name: string, text: string | undefined): Step[] =>
    text === undefined ? [] : [{ step: name, text }]
  return [
    ...step('packet', packetText(of)),
    ...step('match', matchText(of)),
    ...step('source', sourceText(of)),
    ...step('flow', flowText(of)),
    ...step('affinity', affinityText(of)),
    ...step('choice', choiceText(of)),
    ...step('way', wayText(of)),
    ...step('outcome', outcomeText(of)),
  ]
}

function packetText({ protocol, client, vip, first, path, network }: Explanation): string {
  const what =
    path === 'sock'
      ? `connect() to ${end(vip)}/${protocol} from ${end(client)}`
      : `${first ? 'first' : 'later'} ${protocol.toUpperCase()} packet from ${end(client)} to ${end(vip)}`
  const where = network === '' ? 'from outside' : `in network ${network}`
  const paths = { sock: 'socket path', tc: 'tc path', xdp: 'edge (XDP, or tc behind it)' }
  return `${what}, ${where}, on the ${paths[path]}`
}

function matchText({ match, service, vip }: Explanation): string {
  const texts: Record<Match, string> = {
    none: `${vip.address} is no address of ours here`,
    backend: `${vip.address} is a backend's address, dialled without a VIP`,
    port: `the VIP has port ${vip.port}`,
    any_port: 'every port of the VIP leads to one service',
    no_port: `the VIP has no port ${vip.port}`,
    published: `port ${vip.port} of this node is published`,
    not_published: `${vip.address} is this node's, and port ${vip.port} is not published`,
  }
  return service === undefined ? texts[match] : `${texts[match]}: service ${service}`
}

function sourceText({ source }: Explanation): string | undefined {
  if (source === undefined) return undefined
  return source === 'allowed'
    ? 'the source ranges let the client in'
    : 'the source ranges keep the client out'
}

function flowText({ flow, first }: Explanation): string | undefined {
  if (flow === undefined) return first ? undefined : 'there is no connection that it would be of'
  const to = flow.backend ?? 'a backend that is gone'
  const state = `${flow.state}${flow.embryonic ? ', embryonic' : ''}`
  const life = `idle ${flow.idleSeconds} s, expires in ${flow.expiresSeconds} s`
  const used = flow.used ? 'it decides' : 'it is over'
  return `a connection to ${to} is tracked (${state}; ${life}): ${used}`
}

function affinityText({ affinity }: Explanation): string | undefined {
  if (affinity === undefined) return undefined
  const { backend, secondsLeft, used, timeoutSeconds } = affinity
  if (backend === undefined)
    return `the client keeps no backend (for ${timeoutSeconds} s, had it one)`
  if (used) return `the client keeps ${backend} for ${secondsLeft} s more`
  return secondsLeft === 0
    ? `the client had ${backend}, longer ago than ${timeoutSeconds} s`
    : `the client had ${backend}, which takes no new connection now`
}

function choiceText({ choice, backend, backends }: Explanation): string | undefined {
  if (choice === undefined) return undefined
  const { algorithm, by, slot, slots, hash, placed } = choice
  const to = backend === undefined ? 'none' : end(backend)
  const of = slot === undefined ? '' : `slot ${slot} of ${slots ?? 0}`
  const texts = {
    flow: `the connection's: ${to}`,
    affinity: `the client's: ${to}`,
    hash: `${algorithm}: hash ${hash ?? ''} leads to ${of}: ${to}`,
    turn: `${algorithm}: ${placed ?? 0} connections placed, so ${of} is next: ${to}`,
    least: `${algorithm}: the fewest connections of ${inRing(backends)}, beginning at ${of}: ${to}`,
    lot: `${algorithm}: by lot among ${inRing(backends)}; ${to} is an example`,
  }
  return texts[by]
}

function inRing(backends: readonly ExplainedBackend[]): number {
  return backends.filter(({ slots }) => slots > 0).length
}

function wayText({ way, seenAs, backend }: Explanation): string | undefined {
  if (way === undefined) return undefined
  const by = way.interface === undefined ? '' : ` by ${way.interface}`
  const hop = way.nextHop === undefined ? '' : ` to ${way.nextHop}`
  const mac = way.mac === undefined ? '' : ` (${way.mac})`
  const state = way.state === undefined ? '' : `, ${way.state}`
  const veth = way.veth === undefined ? '' : `, past the bridge at ${way.veth}`
  const texts = {
    neighbour: `to the neighbour ${way.nextHop ?? ''}${mac}${by}${state}${veth}`,
    route: `by routing${hop}${mac}${by}${state}${veth}`,
    stack: 'through the stack of the kernel',
    socket: 'the socket is connected there; nothing is done per packet',
    hairpin: 'back to the container that sent it',
    entry: `in a tunnel${hop}; replies come back here`,
    'dsr-mac': `as dialled, to the backend's MAC${hop}; it answers by itself`,
    'dsr-tunnel': `as dialled, in a tunnel${hop}; it answers by itself`,
    snat: `with this node's address as its source${hop}${mac}${by}${state}`,
  }
  const seen =
    seenAs === undefined || backend === undefined ? '' : `; the backend sees ${end(seenAs)}`
  return `${texts[way.kind]}${seen}`
}

function outcomeText({ outcome, reason, backend, events }: Explanation): string {
  const also = events.length === 0 ? '' : ` (counted: ${events.join(', ')})`
  const why = reason === undefined ? '' : `: ${reason}`
  const to = outcome === 'translated' && backend !== undefined ? ` to ${end(backend)}` : ''
  return `${outcome}${to}${why}${also}`
}

export function backendText(reason: BackendReason): string {
  return backendTexts[reason]
}

const backendTexts: Record<BackendReason, string> = {
  chosen: 'chosen',
  possible: 'as likely as the one named',
  down: 'down: declared so, or by its check',
  draining: 'draining: keeps what it has',
  leaving: 'removed; keeps what it has for a while',
  family: 'of the other address family',
  unreached: 'no address of its family is dialled',
  weight: 'weight 0, and others have more',
  standby: 'stands by: others have a lower priority number',
  remote: 'others are on this node',
  overloaded: 'has as many connections as it may',
  flow: 'the connection has another',
  affinity: 'the client keeps another',
  hash: 'the hash leads to another',
  turn: 'others come first',
  least: 'another has fewer connections for its weight, or its turn among equals',
  not_asked: 'nothing was chosen',
  not_in_ring: 'has no slot in the ring',
}

function end({ address, port }: FlowEnd): string {
  return formatListen({ host: address, port })
}
