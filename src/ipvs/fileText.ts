/** The file that plans amount to, as text with comments: a person goes on from there. Pure. */
import { family } from '../model/address.js'
import type { BackendPlan, Converted, Note, ServicePlan } from './convert.js'

export interface FileParts {
  /** As messages call the rules. */
  readonly from: string
  readonly network: string
  /** Patterns over interfaces by which clients come in and servers answer; empty: not told. */
  readonly interfaces: readonly string[]
  readonly converted: readonly Converted[]
}

export function fileText(parts: FileParts): string {
  return [...head(parts), ...agent(parts), ...networks(parts), ...services(parts), ''].join('\n')
}

export function noteText({ line, kind, text }: Note): string {
  return `line ${line}, ${kind}: ${text}`
}

function plansOf({ converted }: FileParts): ServicePlan[] {
  return converted.flatMap(({ plan }) => plan ?? [])
}

function head(parts: FileParts): string[] {
  const count = plansOf(parts).length
  const dropped = parts.converted.filter(({ plan }) => plan === undefined)
  return [
    `# Made of IPVS rules (${parts.from.replace(/\s+/g, ' ')}) by fairlead import ipvs: ${count} services.`,
    '# Other ports of a VIP are refused, which IPVS leaves to the node. Servers are not checked; see health.',
    ...dropped.flatMap(({ notes }) => notes.map((note) => `# ${noteText(note)}`)),
    'version: 1',
  ]
}

function agent({ interfaces }: FileParts): string[] {
  if (interfaces.length > 0)
    return ['agent:', `  edge: { interfaces: [${interfaces.map(quoted).join(', ')}] }`]
  return [
    '# For clients outside, name the interfaces by which they come in and servers answer:',
    '# agent:',
    '#   edge: { interfaces: [eth0] }',
  ]
}

/** VIPs may lie outside its subnets; of these it needs one a family. */
function networks(parts: FileParts): string[] {
  const vips = plansOf(parts).map(({ vip }) => vip)
  const subnets = ([4, 6] as const).flatMap((of) => {
    const vip = vips.find((each) => family(each) === of)
    return vip === undefined ? [] : [quoted(`${vip}/${of === 4 ? 32 : 128}`)]
  })
  if (subnets.length === 0) return ['networks: []']
  return [
    'networks:',
    `  - name: ${quoted(parts.network)}`,
    `    subnets: [${subnets.join(', ')}]`,
    '    pool: []',
    "    # The node's own processes are balanced too, as by IPVS.",
    '    attach: { sockets: [host] }',
    '    edge: true',
  ]
}

function services({ network, converted }: FileParts): string[] {
  const blocks = converted.flatMap(({ plan, notes }) =>
    plan === undefined ? [] : service(network, plan, notes),
  )
  return blocks.length === 0 ? ['services: []'] : ['services:', ...blocks]
}

function service(network: string, plan: ServicePlan, notes: readonly Note[]): string[] {
  const { ports, algorithm, affinity, thresholds, backends } = plan
  return [
    ...(notes.length === 0 ? [] : notes.map((note) => `  # ${noteText(note)}`)),
    `  - name: ${quoted(plan.name)}`,
    `    network: ${quoted(network)}`,
    `    vip: ${quoted(plan.vip)}`,
    ...(ports.length === 0 ? [] : [`    ports: [${ports.map(quoted).join(', ')}]`]),
    ...(plan.return === undefined ? [] : [`    return: ${plan.return}`]),
    `    algorithm: ${algorithm}`,
    ...(affinity === undefined ? [] : [`    affinity: ${affinityText(affinity, plan.vip)}`]),
    ...(thresholds === undefined ? [] : [`    thresholds: ${mapping({ ...thresholds })}`]),
    // As long as IPVS remembers them.
    ...(plan.udp ? ['    timeouts: { udp: 300s }'] : []),
    ...(backends.length === 0
      ? ['    backends: []']
      : ['    backends:', ...backends.map((backend) => `      - ${backendText(backend)}`)]),
  ]
}

function affinityText(
  { timeout, prefix }: NonNullable<ServicePlan['affinity']>,
  vip: string,
): string {
  return mapping({ timeout, ...(prefix !== undefined && { [`prefix${family(vip)}`]: prefix }) })
}

function backendText({ address, weight, priority }: BackendPlan): string {
  if (weight === 1 && priority === undefined) return quoted(address)
  return mapping({
    address,
    ...(weight !== 1 && { weight }),
    ...(priority !== undefined && { priority }),
  })
}

function mapping(fields: Readonly<Record<string, string | number>>): string {
  const parts = Object.entries(fields).map(([key, value]) => `${key}: ${quoted(`${value}`)}`)
  return `{ ${parts.join(', ')} }`
}

/** What YAML would read as something else, or not at all, in quotes. */
function quoted(text: string): string {
  const plain = /^(?:\d{1,10}|[\w./-]+)$/.test(text) && !/^[-.]/.test(text)
  const word = /^(?:y|n|yes|no|on|off|true|false|null|~|[\d.e_+-]+e[\d+-]+|0[xo]\w+)$/i.test(text)
  return plain && !word ? text : `'${text.replaceAll("'", "''")}'`
}
