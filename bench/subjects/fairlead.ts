/** fairlead's programs, loaded by its own agent; the agent is stopped while traffic is counted. */
import { BpfMap } from 'libbpf-ts'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, type Definition } from '../../test/lib/agent.js'
import { BRIDGE, NIC, PLACES, PORT, type Stage } from '../frame/stage.js'
import type { Demand, InForce, Shape, Subject } from '../frame/subject.js'
import { otherVip } from './others.js'

const READY_MS = 120_000
const FOUND_MS = 60_000
const POLL_MS = 200
/** An hour and more, whatever a jiffy is. */
const KEPT_JIFFIES = 4_000_000

let agents = 0

interface Kind {
  readonly name: string
  readonly title: string
  readonly what: string
  readonly shape?: Shape
  readonly only?: Partial<Subject>
  /** What the agent's own section has, besides limits. */
  readonly agent?: object
  readonly network?: (stage: Stage) => object
  readonly service?: (stage: Stage) => object
  /** Its backend is a container of a bridge, which the agent has to find first. */
  readonly bridged?: boolean
}

const limits = ({ services, backends = 1, flows }: Demand) => ({
  services: services + 1024,
  backends: services + backends + 1024,
  ...(flows !== undefined && { flows }),
  vips: services * 4 + backends + 1024,
  // A service that the edge has as well takes twice as many rows.
  ports: services * 4 + 1024,
  slots: Math.max(65_536, (services + backends) * 8),
})

function definition(kind: Kind, stage: Stage, demand: Demand): Definition {
  const { services, backends = 1 } = demand
  // Objects of their own each: YAML writes one that is shared as an alias, as no file of people has.
  const own = (addresses: readonly string[]) => ({
    ports: [PORT, `${PORT}/udp`],
    backends: addresses.map((address) => ({ address })),
  })
  const others = Array.from({ length: services - 1 }, (_, at) => ({
    ...{ name: `other-${at}`, network: 'net1', vip: otherVip(at) },
    ...own([stage.address]),
  }))
  const measured = { name: 'web', network: 'net1', vip: PLACES.vip }
  return {
    agent: { limits: limits(demand), sweep: '1h', ...kind.agent },
    networks: [{ name: 'net1', subnets: [PLACES.subnet], ...kind.network?.(stage) }],
    services: [
      ...others,
      { ...measured, ...own(stage.backends(backends)), ...kind.service?.(stage) },
    ],
  }
}

/** Once the backend has been asked for, the agent knows its veth. */
async function hasVeth({ pins }: Agent): Promise<void> {
  using veths = BpfMap.openPinned(`${pins}/maps/veths4`)
  for (let waited = 0; waited < FOUND_MS; waited += POLL_MS) {
    for (const _ of veths.keys()) return
    await sleep(POLL_MS)
  }
  throw new Error('the agent has not found the backend')
}

/** A stopped agent cannot, and the count takes longer than its word holds. */
function keepVeths({ pins }: Agent): void {
  using leases = BpfMap.openPinned(`${pins}/maps/veth_leases`)
  const { until } = leases.get(0) as { until: number }
  leases.set(0, { until: (until + KEPT_JIFFIES) >>> 0 })
}

async function setUp(kind: Kind, stage: Stage, demand: Demand): Promise<InForce> {
  // Pins have the agent's name, and several may stand at a time.
  const agent = new Agent(stage.lab, stage.balancer, `${kind.name}-${agents++}`)
  agent.write(definition(kind, stage, demand))
  agent.start('--detach-on-exit')
  try {
    await agent.ready(READY_MS)
  } catch (error) {
    throw new Error(`${String(error)}: ${agent.lastWords()}`, { cause: error })
  }
  const { process: daemon } = agent
  return {
    quiesce: async () => {
      if (kind.bridged) await hasVeth(agent)
      daemon?.child.kill('SIGSTOP')
      if (kind.bridged) keepVeths(agent)
    },
    tearDown: async () => {
      daemon?.child.kill('SIGCONT')
      await agent.stop()
    },
  }
}

function subject(kind: Kind): Subject {
  const { name, title, what, shape = 'local', only } = kind
  return {
    ...{ name, title, what, shape, family: 'fairlead' as const },
    ...only,
    unavailable: () => Promise.resolve(undefined),
    setUp: (stage, demand) => setUp(kind, stage, demand),
  }
}

const edge = (mode: string, more: object = {}) => ({ edge: { interfaces: [NIC], mode, ...more } })
const exposed = { edge: true, attach: { bridge: BRIDGE } }
const outward = {
  shape: 'wire',
  only: { oneWay: true, sendsFrames: true, wholeChecksums: true },
} as const

export const fairlead: readonly Subject[] = [
  {
    name: 'fairlead-tc',
    bridged: true,
    title: 'fairlead, tc',
    what: "tc programs on the client's and the backend's interface",
    network: () => ({ attach: { bridge: BRIDGE, interfaces: [NIC] } }),
  },
  {
    name: 'fairlead-sock',
    title: 'fairlead, sockets',
    what: "socket hooks in the client's namespace, and nothing on interfaces",
    only: { socketsOnly: true },
    network: ({ client }: Stage) => ({ attach: { sockets: [client.path] } }),
  },
  {
    name: 'fairlead-sock-tc',
    title: 'fairlead, sockets and tc',
    what: "socket hooks, and tc on the same client's interface, as containers have both",
    only: { socketsOnly: true },
    network: ({ client }: Stage) => ({
      attach: { bridge: BRIDGE, interfaces: [NIC], sockets: [client.path] },
    }),
  },
  {
    name: 'fairlead-edge-tc',
    bridged: true,
    title: 'fairlead, edge by tc',
    what: 'the edge without XDP: tc on the NIC and on the bridge',
    agent: edge('tc'),
    network: () => exposed,
  },
  {
    name: 'fairlead-xdp',
    bridged: true,
    title: 'fairlead, XDP to a container',
    what: 'XDP in the driver, tc behind it, a container of this node',
    only: { wholeChecksums: true },
    agent: edge('native'),
    network: () => exposed,
  },
  {
    name: 'fairlead-xdp-generic',
    bridged: true,
    title: 'fairlead, generic XDP',
    what: 'the same with XDP behind the driver',
    only: { wholeChecksums: true },
    agent: edge('generic'),
    network: () => exposed,
  },
  {
    name: 'fairlead-dsr-mac',
    title: 'fairlead, XDP to the wire, DSR by MAC',
    what: 'XDP in the driver; the backend, a NIC away, answers as the VIP',
    ...outward,
    agent: edge('native'),
    network: () => ({ edge: true }),
    service: () => ({ return: 'dsr-mac' }),
  },
  {
    name: 'fairlead-dsr-tunnel',
    title: 'fairlead, XDP to the wire, DSR by tunnel',
    what: 'the same in IPIP',
    ...outward,
    agent: edge('native'),
    network: () => ({ edge: true }),
    service: () => ({ return: 'dsr-tunnel' }),
  },
  {
    name: 'fairlead-entry',
    title: 'fairlead, XDP to the wire, by entry node',
    what: 'translated, and in IPIP to the node that has the backend; replies come back',
    ...outward,
    agent: edge('native', { peers: ['192.0.2.10'] }),
    network: () => ({ edge: true }),
    service: ({ address }: Stage) => ({ backends: [{ address: '10.1.0.77', via: address }] }),
  },
  {
    name: 'fairlead-snat',
    title: 'fairlead, XDP to the wire, SNAT',
    what: "translated at both ends: the backend answers to the node's address",
    ...{ ...outward, only: { ...outward.only, fewFlows: true } },
    agent: edge('native'),
    network: () => ({ edge: true }),
    service: () => ({ return: 'snat' }),
  },
].map((kind: Kind) => subject(kind))

/** A file of so many services on the tc path; its tables have room for more. */
export function fairleadServices(stage: Stage, services: number): Definition {
  const kind: Kind = {
    ...{ name: 'rules', title: '', what: '' },
    network: () => ({ attach: { bridge: BRIDGE, interfaces: [NIC] } }),
  }
  const whole = definition(kind, stage, { services })
  return { ...whole, agent: { ...whole.agent, limits: limits({ services: 16_384 }) } }
}
