/**
 * The agent's settings: the `agent:` section of the file with command-line overrides, parsed once
 * and then immutable. Changing them needs a restart.
 */
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { resolve } from 'node:path'
import { FairleadError } from './errors.js'
import { canonicalAddress, isAddress, parseListen, type ListenAddress } from './model/address.js'
import { check } from './sources/file/issues.js'
import { durationMs, parsePortRange, type PortRange } from './sources/file/fields.js'
import { parseFile, type ParsedFile } from './sources/file/parse.js'
import { readBounded } from './sources/file/read.js'
import { readFile, type FileReading } from './sources/file/reading.js'
import {
  agentSchema,
  DEFAULT_LIMITS,
  LOG_FORMATS,
  type AgentSection,
} from './sources/file/schema.js'
import type { TakeoverMode } from './sources/takeover.js'

/** Rows that the kernel maps are made for. */
export interface Limits {
  readonly services: number
  readonly backends: number
  readonly slots: number
  readonly vips: number
  readonly ports: number
  readonly flows: number
}

export interface DnsConfig {
  /** Listeners for the host itself, in the agent's namespace. Empty: none. */
  readonly listen: readonly ListenAddress[]
  /** Networks whose names the host's listeners answer, in order of lookup; absent: all. */
  readonly networks?: readonly string[]
  /** At most three; empty: nothing is forwarded. */
  readonly upstreams: readonly ListenAddress[]
  readonly timeoutMs: number
  /** Forwarded queries at a time. */
  readonly maxInFlight: number
  /** Suffix under which every name resolves as well; no leading or trailing dot. */
  readonly domain?: string
}

/** The node's edge: interfaces by which VIPs and published ports are reached from outside. */
export interface EdgeConfig {
  /** Globs over interfaces of the agent's namespace. */
  readonly interfaces: readonly string[]
  /** Where packets are seen first; `auto`: in the driver if it can, else behind it. */
  readonly mode: 'auto' | 'native' | 'generic' | 'tc'
  /** Absent: the addresses of the interfaces. */
  readonly addresses?: readonly string[]
  /** Agents of other nodes, whose tunnelled packets are taken. */
  readonly peers: readonly string[]
  /** Source ports for `return: snat`; absent: the programs' own. */
  readonly snatPorts?: PortRange
  /** New DSR flows in a second on one CPU beyond which no rows are made; absent: the default. */
  readonly statelessAbove?: number
}

/** The web page, and the API by TCP. */
export interface HttpConfig {
  readonly listen: ListenAddress
  /** Of the file that has the token. */
  readonly tokenPath: string
  /** Host names by which it is reached, besides addresses and `localhost`; lower case. */
  readonly names: readonly string[]
}

/** The container engine of this node. */
export interface DockerConfig {
  readonly socketPath: string
  readonly services: 'all' | 'labelled'
  /** Names are answered at each network's gateway. */
  readonly dns: boolean
  /** Containers that are answered where they ask the engine's resolver. */
  readonly resolver: 'all' | 'labelled' | 'none'
  /** Which of the engine's services are served; absent: as the kernel has IPVS or not. */
  readonly takeover?: TakeoverMode
  /** Services that count as labelled; lower case. */
  readonly labelled: readonly string[]
  /** The port by which a swarm's managers' agents tell those of workers; 0: they do not. */
  readonly exchange: number
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'
export type LogFormat = (typeof LOG_FORMATS)[number]

export interface Config {
  /** Absolute path of the file that all of this and the services come from. */
  readonly file: string
  readonly nodeName: string
  readonly socketPath: string
  /** Absent: no metrics listener. */
  readonly metricsListen?: ListenAddress
  /** Absent: no page, and the API on the socket alone. */
  readonly http?: HttpConfig
  /** With more backends than this, metrics are of services as a whole; absent: the default. */
  readonly metricsBackends?: number
  /** Handshakes that are timed in a second on one CPU at most; absent: the default. */
  readonly handshakes?: number
  /** False: containers are always reached by their bridge; absent: the default. */
  readonly redirectPeer?: boolean
  readonly statePath: string
  /** Directory on bpffs. */
  readonly pinPath: string
  /** cgroup v2 directory for the socket hooks; absent: found by the host. */
  readonly cgroupPath?: string
  /** Between two comparisons of all kernel rows with the desired ones. */
  readonly sweepMs: number
  /** How long connections to a draining or removed backend go on, if its service does not say. */
  readonly drainSeconds?: number
  readonly dns: DnsConfig
  /** Absent: nothing is reached from outside. */
  readonly edge?: EdgeConfig
  /** Absent: no engine is followed. */
  readonly docker?: DockerConfig
  readonly limits: Limits
  readonly log: { readonly level: LogLevel; readonly format: LogFormat }
}

/** What the command line may set over the file. */
export type Overrides = Partial<
  Pick<
    Config,
    'nodeName' | 'socketPath' | 'metricsListen' | 'statePath' | 'pinPath' | 'cgroupPath' | 'log'
  >
> & {
  /** Without `agent.docker` it says nothing. */
  readonly takeover?: TakeoverMode
  readonly logFormat?: LogFormat
}

/**
 * @throws FairleadError FILE when the file cannot be read or is not YAML, CONFIG when the section
 *         has a mistake; the message names file, line, column and field
 */
export function loadConfig(path: string, overrides: Overrides = {}): Config {
  const { text } = readBounded(path)
  const outcome = parseFile(path, text)
  if (!outcome.ok) {
    const lines = outcome.mistakes.map(({ place, reason }) => `${place}: ${reason}`)
    throw new FairleadError(outcome.mistakes[0]?.code ?? 'FILE', lines.join('\n'))
  }
  return configOf(path, outcome.file, overrides)
}

/**
 * As loadConfig(), and what else the file says. A large one is read in a thread of its own.
 *
 * @throws the same
 */
export async function readConfig(
  path: string,
  overrides: Overrides = {},
): Promise<{ readonly config: Config; readonly reading: FileReading }> {
  const task = { path: resolve(path), networks: [] }
  const reading = await readFile(task, new AbortController().signal)
  const checked = agentSchema.safeParse(reading.agent ?? {})
  // Who reads it here knows the places of mistakes.
  const bad = reading.mistakes.length > 0 || !checked.success
  const config = bad ? loadConfig(path, overrides) : configFrom(path, checked.data, overrides)
  return { config, reading }
}

/** @throws FairleadError CONFIG */
export function configOf(path: string, file: ParsedFile, overrides: Overrides = {}): Config {
  const checked = check(agentSchema, file.agent ?? {}, file.yaml, ['agent'])
  if (!checked.ok) {
    const lines = checked.mistakes.map(({ place, reason }) => `${place}: ${reason}`)
    throw new FairleadError('CONFIG', lines.join('\n'))
  }
  return configFrom(path, checked.value, overrides)
}

function configFrom(
  path: string,
  agent: AgentSection,
  { takeover, logFormat, ...overrides }: Overrides,
): Config {
  const metrics = agent.metrics === undefined ? undefined : parseListen(agent.metrics)
  return Object.freeze({
    file: resolve(path),
    nodeName: agent.node?.toLowerCase() ?? hostname().split('.')[0]?.toLowerCase() ?? 'node',
    socketPath: agent.socket ?? '/run/fairlead/fairlead.sock',
    ...(metrics === undefined ? {} : { metricsListen: metrics }),
    ...(agent.http && { http: httpOf(agent.http) }),
    ...(agent.metricsBackends !== undefined && { metricsBackends: agent.metricsBackends }),
    ...(agent.handshakes !== undefined && { handshakes: agent.handshakes }),
    ...(agent.redirectPeer !== undefined && { redirectPeer: agent.redirectPeer }),
    statePath: agent.state ?? '/var/lib/fairlead/state.json',
    pinPath: agent.pins ?? '/sys/fs/bpf/fairlead',
    ...(agent.cgroup === undefined ? {} : { cgroupPath: agent.cgroup }),
    sweepMs: durationMs(agent.sweep ?? '30s') ?? 30_000,
    ...(agent.drain !== undefined && { drainSeconds: (durationMs(agent.drain) ?? 0) / 1000 }),
    dns: dnsOf(agent.dns ?? {}),
    ...(agent.edge && { edge: edgeOf(agent.edge) }),
    ...(agent.docker && {
      docker: { ...dockerOf(agent.docker), ...(takeover !== undefined && { takeover }) },
    }),
    limits: limitsOf(agent.limits ?? {}),
    log: { level: agent.log?.level ?? 'info', format: logFormat ?? agent.log?.format ?? 'json' },
    ...overrides,
  })
}

function httpOf({ listen, token, names = [] }: NonNullable<AgentSection['http']>): HttpConfig {
  return {
    listen: listen === undefined ? { host: '127.0.0.1', port: 9752 } : parseListen(listen, 9752),
    tokenPath: token,
    names: names.map((name) => name.toLowerCase()),
  }
}

function edgeOf({
  interfaces,
  mode,
  addresses,
  peers = [],
  snatPorts: ports,
  statelessAbove,
}: NonNullable<AgentSection['edge']>): EdgeConfig {
  const snatPorts = ports === undefined ? undefined : parsePortRange(ports)
  return {
    interfaces: [...new Set(interfaces)],
    mode: mode ?? 'auto',
    peers: [...new Set(peers.map(canonicalAddress))],
    ...(snatPorts && { snatPorts }),
    ...(statelessAbove !== undefined && { statelessAbove }),
    ...(addresses && { addresses: [...new Set(addresses.map(canonicalAddress))] }),
  }
}

function dockerOf(given: NonNullable<AgentSection['docker']>): DockerConfig {
  return {
    socketPath: given.socket ?? '/var/run/docker.sock',
    services: given.services ?? 'all',
    dns: given.dns ?? false,
    resolver: given.resolver ?? 'labelled',
    exchange: given.exchange ?? 9754,
    ...(given.takeover && { takeover: given.takeover }),
    labelled: (given.labelled ?? []).map((name) => name.toLowerCase()),
  }
}

function limitsOf(given: NonNullable<AgentSection['limits']>): Limits {
  return {
    services: given.services ?? DEFAULT_LIMITS.services,
    backends: given.backends ?? DEFAULT_LIMITS.backends,
    slots: given.slots ?? DEFAULT_LIMITS.slots,
    vips: given.vips ?? DEFAULT_LIMITS.vips,
    ports: given.ports ?? DEFAULT_LIMITS.ports,
    flows: given.flows ?? DEFAULT_LIMITS.flows,
  }
}

function dnsOf(given: NonNullable<AgentSection['dns']>): DnsConfig {
  const listen = (given.listen ?? []).map((text) => parseListen(text, 53))
  const { networks, domain } = given
  const upstreams = given.upstreams?.map((text) => parseListen(text, 53)) ?? systemResolvers(listen)
  return {
    listen,
    ...(networks === undefined ? {} : { networks: networks.map((name) => name.toLowerCase()) }),
    upstreams,
    timeoutMs: durationMs(given.timeout ?? '2s') ?? 2000,
    maxInFlight: given.maxInFlight ?? 1024,
    ...(domain === undefined ? {} : { domain: domain.toLowerCase() }),
  }
}

/** Up to three nameservers of resolv.conf; never our own listeners, which would ask themselves. */
function systemResolvers(own: readonly ListenAddress[]): ListenAddress[] {
  return nameservers(readIfThere('/etc/resolv.conf'))
    .map((host) => ({ host, port: 53 }))
    .filter(({ host, port }) => !own.some((listen) => listen.host === host && listen.port === port))
    .slice(0, 3)
}

/** The addresses of `nameserver` lines, canonical; link-local ones with a zone are left out. */
export function nameservers(resolvConf: string): string[] {
  const found = resolvConf
    .split('\n')
    .map((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? '')
    .filter(isAddress)
  return [...new Set(found.map(canonicalAddress))]
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
