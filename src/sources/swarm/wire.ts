/** What a manager's agent tells the agents of other nodes: lines of JSON; an empty one says nothing new. */
import { z } from 'zod'
import { FairleadError } from '../../errors.js'
import type { SwarmService } from './cluster.js'

/** What the swarm says of itself. */
export interface Told {
  readonly services: readonly SwarmService[]
  /** Addresses of its nodes, canonical. */
  readonly nodes: readonly string[]
}

export const VERSION = 1
export const MAX_LINE_BYTES = 32 << 20

const port = z.object({
  protocol: z.enum(['tcp', 'udp']),
  port: z.int().min(1).max(65_535),
  targetPort: z.int().min(1).max(65_535),
})

const task = z.object({
  address: z.union([z.ipv4(), z.ipv6()]),
  state: z.enum(['active', 'draining', 'down']),
  slot: z.string().exactOptional(),
  node: z.string().exactOptional(),
  nodeAddress: z.union([z.ipv4(), z.ipv6()]).exactOptional(),
  id: z.string().exactOptional(),
})

const service = z.object({
  name: z.string(),
  networkId: z.string(),
  mode: z.enum(['vip', 'dnsrr']),
  vip: z.union([z.ipv4(), z.ipv6()]).exactOptional(),
  labels: z.record(z.string(), z.string()),
  publish: z.array(port),
  tasks: z.array(task),
})

const line = z.object({
  version: z.literal(VERSION),
  services: z.array(service),
  nodes: z.array(z.union([z.ipv4(), z.ipv6()])),
})

/** Labels of others than ours stay where they are. */
export function lineOf({ services, nodes }: Told): string {
  const ours = services.map((each) => ({
    ...each,
    labels: Object.fromEntries(
      Object.entries(each.labels).filter(([key]) => key.startsWith('fairlead.')),
    ),
  }))
  return JSON.stringify({ version: VERSION, services: ours, nodes })
}

/** @throws FairleadError SCHEMA */
export function readLine(text: string): Told {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new FairleadError('SCHEMA', 'a manager told what is not JSON', { cause })
  }
  const checked = line.safeParse(value)
  if (checked.success) return { services: checked.data.services, nodes: checked.data.nodes }
  const [issue] = checked.error.issues
  throw new FairleadError('SCHEMA', `a manager told ${issue?.path.join('.')} ${issue?.message}`)
}
