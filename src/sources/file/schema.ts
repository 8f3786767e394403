/**
 * The file's shape: the one source of truth for what may be written, from which the JSON Schema for
 * editors is made. What holds across fields and items is checked in parse.ts.
 */
import { z } from 'zod'
import { ALGORITHMS } from '../../model/types.js'
import { TAKEOVERS } from '../takeover.js'
import {
  absolutePath,
  address,
  checkedText,
  choice,
  cidr,
  dottedName,
  duration,
  expectation,
  fields,
  integer,
  label,
  list,
  listenAddress,
  oneOrMore,
  portRange,
} from './fields.js'

const MAX_NETWORKS = 4096
export const MAX_SERVICES = 100_000
const MAX_BACKENDS_OF_ONE = 65_536
const MAX_VIPS = 16
const MAX_GLOBS = 256
const STATUS_EXPECTED = 'a status 100..599, or a range such as 200-299'
/** A day. Longer would outlive any mistake's correction. */
const MAX_TTL_MS = 86_400_000
const PORT = /^(?:(\d{1,5}):)?(\d{1,5})(?:\/(tcp|udp))?$/i

const STATUS = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/

/** An engine's names, which may have dots and capitals. */
const SERVICE_NAME = /^(?:[\w.-]{1,128}\/)?[\w.-]{1,128}$/

/** `pretty` is for people. */
export const LOG_FORMATS = ['json', 'pretty'] as const

export const PROTOCOLS = ['tcp', 'udp'] as const

/** `[port:]targetPort[/protocol]`, or undefined if it is not. */
export function parsePort(
  text: string,
): { port: number; targetPort: number; protocol: 'tcp' | 'udp' } | undefined {
  const match = PORT.exec(text)
  if (match === null) return undefined
  const targetPort = Number(match[2])
  const port = match[1] === undefined ? targetPort : Number(match[1])
  if (Math.min(port, targetPort) < 1 || Math.max(port, targetPort) > 65535) return undefined
  return { port, targetPort, protocol: match[3]?.toLowerCase() === 'udp' ? 'udp' : 'tcp' }
}

/** A code, or `from-to`; undefined if it is neither. */
export function parseStatus(value: number | string): [number, number] | undefined {
  const match = STATUS.exec(`${value}`)
  if (match === null) return undefined
  const from = Number(match[1])
  const to = match[2] === undefined ? from : Number(match[2])
  return from <= to ? [from, to] : undefined
}

function flag(description: string) {
  return z
    .boolean({ error: ({ input }) => expectation('true or false', input) })
    .meta({ description })
}

function glob(description: string) {
  return checkedText(
    'a pattern of 1..4096 characters',
    (value) => value.length > 0 && value.length <= 4096 && !value.includes('\0'),
    description,
  )
}

const interfaceName = checkedText(
  'an interface name (1..15 characters, no / and no blank)',
  (value) => /^[^\s/]{1,15}$/.test(value) && value !== '.' && value !== '..',
  'Bridge that joins the containers; every veth port of it is attached',
)

const attach = fields(
  {
    namespace: absolutePath('Network namespace that holds the bridge and interfaces').optional(),
    bridge: interfaceName.optional(),
    interfaces: list(
      glob('Pattern over interface names; * and ? are wild'),
      MAX_GLOBS,
      'Interfaces attached besides the bridge ports',
    ).optional(),
    sockets: list(
      glob('Pattern over network namespace paths, or host'),
      MAX_GLOBS,
      "Network namespaces whose sockets are balanced; host is the agent's own",
    ).optional(),
  },
  'Where on this node the containers of the network are reached',
)

export const networkSchema = fields(
  {
    name: label('Name of the network; names resolve as service.network'),
    subnets: list(cidr('Range of the network'), 2, 'One range per family').min(1, {
      error: 'must have at least one range',
    }),
    pool: list(cidr('Range'), 64, 'Ranges for automatic VIPs; default: the subnets').optional(),
    reserved: list(
      address('Address'),
      65_536,
      'Addresses that never become automatic VIPs',
    ).optional(),
    attach: attach.optional(),
    dns: fields({
      listen: list(
        listenAddress(53, 'address, address:port or [address]:port; port 53 by default'),
        16,
        "Where names are answered, inside the network's namespace",
      ).optional(),
    }).optional(),
    edge: flag("VIPs are reached by the node's edge interfaces too; default false").optional(),
  },
  'A network: one scope of names and addresses',
)

const portSchema = z
  .union([
    integer(1, 65535, 'TCP port'),
    checkedText(
      '[port:]targetPort[/tcp|/udp], ports 1..65535',
      (value) => parsePort(value) !== undefined,
      '[port:]targetPort[/protocol]',
    ),
    fields({
      port: integer(1, 65535, 'Port of the VIP'),
      targetPort: integer(1, 65535, 'Port of the backends; default: the same').optional(),
      protocol: choice(PROTOCOLS, 'Default tcp').optional(),
      name: label('Name in SRV records: _name._protocol.service').optional(),
    }),
  ])
  .meta({ description: 'A port of the service' })

const backendSchema = z
  .union([
    address('Address of the backend'),
    fields({
      address: oneOrMore(address('Address'), 2, 'One address, or one per family'),
      weight: integer(0, 65535, 'Share of new connections; default 1').optional(),
      state: choice(
        ['active', 'draining', 'down'],
        'draining keeps the connections it has; down takes none; default active',
      ).optional(),
      slot: label('slot.service resolves to this backend').optional(),
      hostname: dottedName('Name that PTR gives').optional(),
      via: oneOrMore(
        address('Address'),
        2,
        "Address of its node's agent, one per family",
      ).optional(),
      node: label('Name of the node it is on, for locality').optional(),
      priority: integer(
        0,
        65535,
        'Only the least number of which a backend is usable takes connections; default 0',
      ).optional(),
    }),
  ])
  .meta({ description: 'A backend of the service' })

/** What goes into a request's head must not end it. */
function printable(expected: string, pattern: RegExp, description: string) {
  return checkedText(
    expected,
    (value) => value.length <= 1024 && /^[\x21-\x7e]+$/.test(value) && pattern.test(value),
    description,
  )
}

const statusSchema = z
  .union([z.number(), z.string()], { error: ({ input }) => expectation(STATUS_EXPECTED, input) })
  .refine((value) => parseStatus(value) !== undefined, {
    error: ({ input }) => expectation(STATUS_EXPECTED, input),
  })
  .meta({ description: 'A code, or from-to' })

const healthSchema = fields(
  {
    type: choice(['tcp', 'http', 'https', 'exec'], 'How backends are checked'),
    port: integer(1, 65535, 'Default: the target of the first TCP port').optional(),
    interval: duration(100, 3_600_000, 'From check to check; default 5s').optional(),
    timeout: duration(
      10,
      3_600_000,
      'When a check has failed, at most the interval; default 2s, or the interval if shorter',
    ).optional(),
    rise: integer(1, 1000, 'Successes in a row that bring a backend back; default 2').optional(),
    fall: integer(1, 1000, 'Failures in a row that take it out; default 3').optional(),
    quorum: integer(
      1,
      1_000_000_000,
      'Least weight of healthy backends of a family; with less, the service refuses',
    ).optional(),
    path: printable('a path that begins with /', /^\//, 'What is asked for; default /').optional(),
    host: printable(
      'a host name, perhaps with :port',
      /^[\w.:[\]-]+$/,
      "Host header and TLS server name; default: the backend's address",
    ).optional(),
    status: oneOrMore(statusSchema, 16, 'Codes of a healthy backend; default 200-399').optional(),
    verify: z
      .boolean({ error: ({ input }) => expectation('true or false', input) })
      .meta({ description: 'Whether the certificate must be valid for host; default false' })
      .optional(),
    command: list(
      checkedText(
        'text of 1..4096 characters',
        (value) => value.length > 0 && value.length <= 4096 && !value.includes('\0'),
        'Program or argument; {address} and {port} are replaced',
      ),
      64,
      'Program and arguments, run without a shell; exit 0 is healthy',
    )
      .min(1, { error: 'must name a program' })
      .optional(),
  },
  'How backends are checked; absent: they are not',
)

const MAX_AFFINITY_MS = 30 * 86_400_000

const affinitySchema = fields(
  {
    timeout: duration(1000, MAX_AFFINITY_MS, "Since the client's last new connection"),
    prefix4: integer(
      1,
      32,
      'Leading bits of an IPv4 address that make a client; default 32',
    ).optional(),
    prefix6: integer(1, 128, 'The same for IPv6; default 128').optional(),
  },
  'A client keeps its backend',
)

const thresholdsSchema = fields(
  {
    upper: integer(1, 4_294_967_295, 'Connections at which a backend takes no more'),
    lower: integer(
      1,
      4_294_967_295,
      'It takes them again when it has fewer than this; default: three quarters of upper',
    ).optional(),
  },
  'How many connections one backend may have',
)

const sourceRangesSchema = fields(
  {
    allow: list(cidr('Range'), 1024, 'If there are any, nobody else may').optional(),
    deny: list(cidr('Range'), 1024, 'These may not').optional(),
  },
  'Which clients may connect; of all ranges that have an address the longest prefix decides',
)

function idle(of: string, fallback: string) {
  return duration(1000, 2_592_000_000, `${of}; default ${fallback}`).optional()
}

const timeoutsSchema = fields(
  {
    syn: idle('TCP, until the client has answered', '60s'),
    established: idle('TCP, until both sides have closed', '8000s'),
    closing: idle('TCP, once both sides have closed or one has reset', '30s'),
    udp: idle('UDP', '120s'),
    reset: flag(
      'Reset both ends of a TCP connection that was idle too long; default false',
    ).optional(),
  },
  'How long a connection may be idle before it is forgotten',
)

function drain(fallback: string) {
  return duration(
    0,
    2_592_000_000,
    `How long connections to a draining or removed backend go on; default ${fallback}`,
  ).optional()
}

export const serviceSchema = fields(
  {
    name: label('Name of the service'),
    network: label('Network it belongs to').optional(),
    networks: list(label('Network'), 64, 'Networks it belongs to, instead of network').optional(),
    mode: choice(['vip', 'dnsrr'], 'vip: balanced behind an address; dnsrr: by DNS').optional(),
    vip: z
      .union([
        z.literal('auto', { error: ({ input }) => expectation('auto', input) }),
        address('The VIP'),
        list(address('VIP'), MAX_VIPS),
      ])
      .meta({ description: 'auto (default), an address, or a list of addresses' })
      .optional(),
    ports: list(portSchema, 1024, 'Absent or empty: every TCP and UDP port').optional(),
    publish: list(
      portSchema,
      256,
      "Ports of the node's addresses that lead to the backends",
    ).optional(),
    return: choice(
      ['entry', 'dsr-mac', 'dsr-tunnel', 'snat'],
      'How replies from other nodes get back to clients outside; default entry',
    ).optional(),
    algorithm: choice(ALGORITHMS, 'How connections are spread; default rr').optional(),
    tableSize: integer(
      3,
      1_048_573,
      'Slots of the table of maglev (default 65537) or sh (default 4093); prime',
    ).optional(),
    locality: choice(
      ['any', 'prefer-local'],
      'prefer-local: backends of this node, while there are usable ones; default any',
    ).optional(),
    affinity: affinitySchema.optional(),
    thresholds: thresholdsSchema.optional(),
    sourceRanges: sourceRangesSchema.optional(),
    ttl: duration(0, MAX_TTL_MS, 'Time that resolvers may keep answers; default 5s').optional(),
    aliases: list(label('Alias'), 64, 'Further names of the service').optional(),
    backends: list(backendSchema, MAX_BACKENDS_OF_ONE, 'May be empty: refused at once').optional(),
    health: healthSchema.optional(),
    timeouts: timeoutsSchema.optional(),
    drain: drain("the agent's"),
  },
  'A service on one or several networks',
)

function limit(rows: string, max: number, fallback: number) {
  return integer(16, max, `Most ${rows}; default ${fallback}`).optional()
}

/** Defaults are those of maps.h. */
export const DEFAULT_LIMITS = {
  services: 16_384,
  backends: 65_536,
  slots: 1_048_576,
  vips: 32_768,
  ports: 65_536,
  flows: 262_144,
} as const

export const agentSchema = fields(
  {
    node: label('Name of this node; default: the host name up to its first dot').optional(),
    socket: absolutePath("The API's unix socket").optional(),
    metrics: listenAddress(undefined, 'Where /metrics is served; absent: nowhere').optional(),
    metricsBackends: integer(
      0,
      10_000_000,
      'With more backends than this, metrics are of services as a whole; default 10000',
    ).optional(),
    http: fields(
      {
        listen: listenAddress(9752, 'address or address:port; default 127.0.0.1:9752').optional(),
        token: absolutePath('File with the token that requests bring along; mode 0600'),
        names: list(
          dottedName('Host name by which the listener is reached'),
          16,
          'Besides addresses and localhost',
        ).optional(),
      },
      'The web page, and the API by TCP, to read; absent: nowhere',
    ).optional(),
    handshakes: integer(
      0,
      1_000_000,
      'Handshakes that are timed in a second on one CPU at most, 0: none; default 1000',
    ).optional(),
    redirectPeer: flag(
      'Containers are handed their packets past the bridge and its veth; default true',
    ).optional(),
    state: absolutePath('File that keeps automatic VIPs over restarts').optional(),
    pins: absolutePath('Directory on bpffs for maps and links').optional(),
    sweep: duration(
      500,
      3_600_000,
      'How often every row of the kernel maps is compared with what it should be; default 30s',
    ).optional(),
    drain: drain('draining: until they end, removed: not at all'),
    docker: fields(
      {
        socket: absolutePath("The engine's unix socket; default /var/run/docker.sock").optional(),
        services: choice(
          ['all', 'labelled'],
          'all: compose services too; labelled: only what has a fairlead label; default all',
        ).optional(),
        dns: flag(
          "Names are answered at each network's gateway, port 53; default false",
        ).optional(),
        resolver: choice(
          ['all', 'labelled', 'none'],
          "Containers that are answered where they ask the engine's resolver; default labelled",
        ).optional(),
        exchange: integer(
          0,
          65_535,
          "Port by which the agents of a swarm's managers tell those of workers; 0: they do not; default 9754",
        ).optional(),
        takeover: choice(
          TAKEOVERS,
          "Which of the engine's services are served here; default all, labelled where the kernel has IPVS",
        ).optional(),
        labelled: list(
          checkedText(
            'service, or network/service',
            (value) => SERVICE_NAME.test(value),
            'Name of a service',
          ),
          4096,
          'Services that count as labelled, for nodes that cannot see their labels',
        ).optional(),
      },
      'Containers of the Docker engine of this node; absent: not looked at',
    ).optional(),
    cgroup: absolutePath('cgroup v2 directory for the socket hooks; default: found').optional(),
    dns: fields({
      listen: list(
        listenAddress(53, 'address, address:port or [address]:port; port 53 by default'),
        16,
        'Where names are answered for the host itself',
      ).optional(),
      networks: list(
        label('Network'),
        64,
        'Networks the host may see, in order of lookup; default: all',
      ).optional(),
      upstreams: list(
        listenAddress(53, 'Resolver'),
        3,
        "Where other names are asked; default: /etc/resolv.conf's; []: nowhere",
      ).optional(),
      timeout: duration(100, 30_000, 'Wait for one upstream; default 2s').optional(),
      maxInFlight: integer(1, 65_536, 'Most forwarded queries at a time; default 1024').optional(),
      domain: dottedName('Suffix under which every name resolves as well').optional(),
    }).optional(),
    edge: fields(
      {
        interfaces: list(
          glob('Pattern over interface names; * and ? are wild'),
          MAX_GLOBS,
          'Interfaces by which the node is reached from outside',
        ).min(1, { error: 'must name an interface' }),
        mode: choice(
          ['auto', 'native', 'generic', 'tc'],
          'XDP in the driver (native) or behind it (generic), or no XDP; default auto',
        ).optional(),
        addresses: list(
          address('Address of this node'),
          64,
          "Where ports are published; default: the interfaces' addresses",
        ).optional(),
        peers: list(
          address('Address of another node'),
          1024,
          'Agents of other nodes whose tunnelled packets are taken; default none',
        ).optional(),
        snatPorts: portRange(
          'Source ports for return: snat, which nothing else on the node may use; default 16384-32767',
        ).optional(),
        statelessAbove: integer(
          0,
          100_000_000,
          'New DSR connections in a second on one CPU beyond which sh and maglev keep no row; default 50000; 0: never',
        ).optional(),
      },
      'Traffic from outside; absent: there is none',
    ).optional(),
    limits: fields(
      {
        services: limit('services', 1_048_576, DEFAULT_LIMITS.services),
        backends: limit('backends', 1_048_576, DEFAULT_LIMITS.backends),
        slots: limit('slots of all rings', 16_777_216, DEFAULT_LIMITS.slots),
        vips: limit('VIPs and backend addresses of one family', 1_048_576, DEFAULT_LIMITS.vips),
        ports: limit('ports of one family', 4_194_304, DEFAULT_LIMITS.ports),
        flows: limit('tracked connections of one family', 16_777_216, DEFAULT_LIMITS.flows),
      },
      'Rows that the kernel maps are made for',
    ).optional(),
    log: fields({
      level: choice(['debug', 'info', 'warn', 'error'], 'Default info').optional(),
      format: choice(LOG_FORMATS, 'Default json; pretty: for a terminal').optional(),
    }).optional(),
  },
  'Settings of the agent; changing them needs a restart',
)

const version = z.literal(1, { error: ({ input }) => expectation('1', input) })

/** The outline: items are checked one by one, so that a bad one leaves the others alone. */
export const outlineSchema = fields({
  version,
  agent: z.unknown().optional(),
  networks: list(z.unknown(), MAX_NETWORKS).nullish(),
  services: list(z.unknown(), MAX_SERVICES).nullish(),
})

/** The whole, for the JSON Schema. */
export const fileSchema = fields({
  version: version.meta({ description: 'Version of this format' }),
  agent: agentSchema.optional(),
  networks: list(networkSchema, MAX_NETWORKS).optional(),
  services: list(serviceSchema, MAX_SERVICES).optional(),
})

export type AgentSection = z.infer<typeof agentSchema>
export type NetworkEntry = z.infer<typeof networkSchema>
export type HealthEntry = z.infer<typeof healthSchema>
export type ServiceEntry = z.infer<typeof serviceSchema>

/** The file's JSON Schema (draft 2020-12), for editors; laid out as prettier does. */
export function jsonSchemaText(): string {
  const schema = z.toJSONSchema(fileSchema, { io: 'input' })
  const text = JSON.stringify({ title: 'fairlead configuration', ...schema }, null, 2)
  const oneLine = (list: string): string =>
    list.replace(/\s*\n\s*/g, ' ').replace(/^\[ | \]$/g, (e) => e.trim())
  return `${text.replace(/\[[^[\]{}]*\]/g, oneLine)}\n`
}
