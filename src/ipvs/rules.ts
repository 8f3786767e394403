/**
 * The rules of IPVS, as `ipvsadm-save -n` writes them and `ipvsadm-restore` reads them (ipvsadm(8)).
 * Pure: from text to virtual services, or what is wrong with which line.
 */
import { canonicalAddress, family, isAddress } from '../model/address.js'
import type { Family } from '../model/types.js'

export type Forwarding = 'nat' | 'direct' | 'tunnel'

/** What a virtual service takes: packets to an address and port, or those with a mark. */
export type Taken =
  | {
      readonly protocol: 'tcp' | 'udp' | 'sctp'
      readonly address: string
      /** 0: every port. */
      readonly port: number
    }
  | { readonly mark: number; readonly family: Family }

export interface RealServer {
  /** Counted from 1. */
  readonly line: number
  readonly address: string
  /** 0: the one that was dialled. */
  readonly port: number
  readonly forwarding: Forwarding
  /** Of a tunnel. */
  readonly encapsulation: string
  readonly weight: number
  /** 0: none. */
  readonly upper: number
  /** 0: three quarters of `upper`. */
  readonly lower: number
}

export interface VirtualService {
  readonly line: number
  readonly taken: Taken
  readonly scheduler: string
  readonly flags: readonly string[]
  /** Of persistence, in seconds. */
  readonly persistence?: number
  /** Leading bits of a client's address; undefined: all. */
  readonly prefix?: number
  /** A netmask with holes. */
  readonly mask?: string
  readonly engine?: string
  readonly onePacket: boolean
  readonly servers: readonly RealServer[]
}

/** What is wrong with a line. */
export interface BadLine {
  readonly line: number
  readonly reason: string
}

export type Rules =
  | { readonly ok: true; readonly services: readonly VirtualService[] }
  | { readonly ok: false; readonly bad: readonly BadLine[] }

/** Long names of options; the value is what kind of argument they take. */
const OPTIONS: Readonly<Record<string, 'none' | 'value' | 'optional'>> = {
  ...{ 'add-service': 'none', 'add-server': 'none', ipv6: 'none', numeric: 'none' },
  ...{ 'tcp-service': 'value', 'udp-service': 'value', 'sctp-service': 'value' },
  ...{ 'fwmark-service': 'value', scheduler: 'value', 'sched-flags': 'value' },
  ...{ persistent: 'optional', netmask: 'value', pe: 'value', ops: 'none' },
  ...{ 'real-server': 'value', masquerading: 'none', gatewaying: 'none', ipip: 'none' },
  ...{ weight: 'value', 'u-threshold': 'value', 'l-threshold': 'value' },
  ...{ 'tun-type': 'value', 'tun-port': 'value' },
  ...{ 'tun-nocsum': 'none', 'tun-csum': 'none', 'tun-remcsum': 'none' },
}

const SHORT: Readonly<Record<string, string>> = {
  ...{ A: 'add-service', a: 'add-server', 6: 'ipv6', n: 'numeric' },
  ...{ t: 'tcp-service', u: 'udp-service', f: 'fwmark-service', s: 'scheduler' },
  ...{ b: 'sched-flags', p: 'persistent', M: 'netmask', o: 'ops', r: 'real-server' },
  ...{ m: 'masquerading', g: 'gatewaying', i: 'ipip', w: 'weight', x: 'u-threshold' },
  ...{ y: 'l-threshold' },
}

const DEFAULT_SCHEDULER = 'wlc'
const DEFAULT_PERSISTENCE = 300
const MAX_PERSISTENCE = 31 * 86_400
const MAX_INT = 2_147_483_647
const PROTOCOLS = ['tcp', 'udp', 'sctp'] as const
const METHODS: Readonly<Record<string, Forwarding>> = {
  ...{ masquerading: 'nat', gatewaying: 'direct', ipip: 'tunnel' },
}
const TUNNELS = ['ipip', 'gue', 'gre']

type Options = ReadonlyMap<string, string>

/** Thrown for a line that says nothing that can be understood. */
class Mistake extends Error {}

export function parseRules(text: string): Rules {
  const bad: BadLine[] = []
  const services = new Map<string, VirtualService & { servers: RealServer[] }>()
  text.split(/\r?\n/).forEach((content, index) => {
    const words = content.trim().split(/\s+/)
    if (words[0] === '' || words[0]?.startsWith('#')) return
    try {
      addLine(words, index + 1, services)
    } catch (error) {
      if (!(error instanceof Mistake)) throw error
      bad.push({ line: index + 1, reason: error.message })
    }
  })
  return bad.length > 0 ? { ok: false, bad } : { ok: true, services: [...services.values()] }
}

function addLine(
  given: readonly string[],
  line: number,
  services: Map<string, VirtualService & { servers: RealServer[] }>,
): void {
  const words = given[0] === 'ipvsadm' ? given.slice(1) : given
  const options = optionsOf(words)
  const taken = takenBy(options)
  const key = JSON.stringify(taken)
  const service = services.get(key)
  if (options.has('add-service') === options.has('add-server'))
    throw new Mistake(`${shown(words[0])} is neither -A (a service) nor -a (a server of one)`)
  if (options.has('add-service')) {
    if (service !== undefined)
      throw new Mistake(`the service is there already, since line ${service.line}`)
    services.set(key, { ...serviceOf(options, taken, line), servers: [] })
    return
  }
  if (service === undefined) throw new Mistake('no line above adds the service of this server')
  const server = serverOf(options, taken, line)
  const before = service.servers.find(
    ({ address, port }) => address === server.address && port === server.port,
  )
  if (before !== undefined)
    throw new Mistake(`the server is there already, since line ${before.line}`)
  service.servers.push(server)
}

function optionsOf(words: readonly string[]): Options {
  const options = new Map<string, string>()
  for (let at = 0; at < words.length; at++) {
    const { name, attached } = nameOf(words[at] ?? '')
    const kind = OPTIONS[name]
    if (kind === undefined) throw new Mistake(`${shown(words[at])} is not known`)
    if (options.has(name)) throw new Mistake(`--${name} stands twice`)
    const next = words[at + 1]
    const follows = next !== undefined && !/^-./.test(next)
    if (kind === 'none' && attached !== undefined)
      throw new Mistake(`${shown(words[at])}: --${name} has no value`)
    if (kind === 'value' && attached === undefined && !follows)
      throw new Mistake(`--${name} has no value`)
    const takes = kind !== 'none' && attached === undefined && follows
    if (takes) at++
    options.set(name, attached ?? (takes ? next : ''))
  }
  return options
}

/** `-w`, `-w3`, `--weight`, `--weight=3` */
function nameOf(word: string): { name: string; attached?: string } {
  const [, long, given] = /^--([\w-]+)(?:=(.*))?$/.exec(word) ?? []
  if (long !== undefined) return { name: long, ...(given !== undefined && { attached: given }) }
  const [, short = '', rest = ''] = /^-(\w)=?(.*)$/.exec(word) ?? []
  return { name: SHORT[short] ?? '', ...(rest !== '' && { attached: rest }) }
}

function takenBy(options: Options): Taken {
  const mark = options.get('fwmark-service')
  const named = PROTOCOLS.filter((protocol) => options.has(`${protocol}-service`))
  if (named.length + (mark === undefined ? 0 : 1) !== 1)
    throw new Mistake('must name one service: by -t, -u, --sctp-service or -f')
  if (mark !== undefined)
    return {
      mark: integer('-f', mark, 1, 4_294_967_295),
      family: options.has('ipv6') ? 6 : 4,
    }
  const [protocol = 'tcp'] = named
  const place = placeOf(options.get(`${protocol}-service`) ?? '')
  if (place.port === 0 && !options.has('persistent') && options.has('add-service'))
    throw new Mistake('port 0, every port, needs persistence (-p)')
  return { protocol, ...place }
}

function serviceOf(options: Options, taken: Taken, line: number): Omit<VirtualService, 'servers'> {
  refuse(options, ['real-server', 'weight', ...Object.keys(METHODS), 'tun-type'], '-a')
  const persistent = options.get('persistent')
  const engine = options.get('pe')
  const flags = options.get('sched-flags')
  return {
    ...{ line, taken },
    scheduler: options.get('scheduler') ?? DEFAULT_SCHEDULER,
    flags: flags?.split(',').filter((flag) => flag !== '') ?? [],
    ...(persistent !== undefined && {
      persistence:
        persistent === '' ? DEFAULT_PERSISTENCE : integer('-p', persistent, 1, MAX_PERSISTENCE),
      ...granularity(options.get('netmask'), familyOf(taken)),
    }),
    ...(engine !== undefined && { engine }),
    onePacket: options.has('ops'),
  }
}

function granularity(mask: string | undefined, of: Family): { prefix?: number; mask?: string } {
  if (mask === undefined) return {}
  if (of === 6) return { prefix: integer('-M', mask, 1, 128) }
  if (!isAddress(mask) || family(canonicalAddress(mask)) !== 4)
    throw new Mistake(`-M: ${shown(mask)} is no netmask`)
  const bits = mask
    .split('.')
    .map((part) => Number(part).toString(2).padStart(8, '0'))
    .join('')
  const prefix = (/^1*/.exec(bits) ?? [''])[0].length
  return bits.includes('01') ? { prefix, mask } : { prefix }
}

function serverOf(options: Options, taken: Taken, line: number): RealServer {
  refuse(options, ['scheduler', 'persistent', 'netmask', 'pe', 'ops', 'sched-flags'], '-A')
  const text = options.get('real-server')
  if (text === undefined) throw new Mistake('must name the server (-r)')
  const methods = Object.keys(METHODS).filter((name) => options.has(name))
  if (methods.length > 1) throw new Mistake('must have one forwarding method: -m, -g or -i')
  // ipvsadm's default is -g.
  const forwarding = METHODS[methods[0] ?? 'gatewaying'] ?? 'direct'
  const place = placeOf(text, 'port' in taken ? taken.port : 0)
  const encapsulation = options.get('tun-type') ?? 'ipip'
  if (!TUNNELS.includes(encapsulation))
    throw new Mistake(`--tun-type: ${shown(encapsulation)} is not one of ${TUNNELS.join(', ')}`)
  return {
    ...{ line, address: place.address, forwarding, encapsulation },
    // A packet that is not translated keeps its port, whatever is written.
    port: forwarding === 'nat' ? place.port : 'port' in taken ? taken.port : 0,
    weight: integer('-w', options.get('weight') ?? '1', 0, MAX_INT),
    upper: integer('-x', options.get('u-threshold') ?? '0', 0, MAX_INT),
    lower: integer('-y', options.get('l-threshold') ?? '0', 0, MAX_INT),
  }
}

function refuse(options: Options, names: readonly string[], belongs: string): void {
  const found = names.find((name) => options.has(name))
  if (found !== undefined) throw new Mistake(`--${found} belongs to ${belongs}`)
}

/** `192.0.2.1:80`, `[2001:db8::1]:80`, or an address alone. */
function placeOf(text: string, port = 0): { address: string; port: number } {
  if (isAddress(text)) return { address: canonicalAddress(text), port }
  const [, bracketed, plain, given] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d+))?$/.exec(text) ?? []
  const address = bracketed ?? plain ?? ''
  if (!isAddress(address))
    throw new Mistake(`${shown(text)} is no address and port in numbers (save with -n)`)
  return {
    address: canonicalAddress(address),
    port: given === undefined ? port : integer('port', given, 0, 65_535),
  }
}

export function familyOf(taken: Taken): Family {
  return 'mark' in taken ? taken.family : family(taken.address)
}

function integer(what: string, text: string, least: number, most: number): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : NaN
  if (!(value >= least && value <= most))
    throw new Mistake(`${what}: ${shown(text)} is no integer ${least}..${most}`)
  return value
}

function shown(text: string | undefined): string {
  return JSON.stringify((text ?? '').slice(0, 80))
}
