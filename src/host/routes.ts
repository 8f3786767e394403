/** Where packets of this node leave, by iproute2's JSON, and which ports its sockets are given. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { FairleadError } from '../errors.js'
import { canonicalAddress } from '../model/address.js'

export interface Route {
  readonly device: string
  /** The node's own address that it would send from. */
  readonly source: string
  /** The destination is the node itself. */
  readonly local: boolean
}

interface IpRoute {
  readonly type?: string
  readonly dst?: string
  readonly dev?: string
  readonly prefsrc?: string
}

const TIMEOUT_MS = 10_000
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024

/**
 * Routes of the agent's own namespace, by destination; one without a route is left out.
 *
 * @param destinations addresses, canonical
 * @throws FairleadError HOST when `ip` cannot be run
 */
export async function routesTo(destinations: readonly string[]): Promise<Map<string, Route>> {
  if (destinations.length === 0) return new Map()
  const batch = destinations.map((address) => `route get ${address}\n`).join('')
  const lines = (await ipBatch(batch)).split('\n').filter((line) => line.startsWith('['))
  const found = lines.flatMap((line) => JSON.parse(line) as IpRoute[])
  return new Map(
    found.flatMap(({ type, dst, dev, prefsrc }) =>
      dst === undefined || dev === undefined || prefsrc === undefined
        ? []
        : [
            [
              canonicalAddress(dst),
              { device: dev, source: canonicalAddress(prefsrc), local: type === 'local' },
            ] as const,
          ],
    ),
  )
}

/** Goes on after a destination without a route, and then exits as if all had failed. */
function ipBatch(input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { timeout: TIMEOUT_MS, maxBuffer: MAX_OUTPUT_BYTES, encoding: 'utf8' as const }
    const child = execFile('ip', ['-j', '-force', '-batch', '-'], options, (error, stdout) => {
      if (error === null || typeof error.code === 'number') resolve(stdout)
      else reject(new FairleadError('HOST', `ip -batch: ${error.message}`, { cause: error }))
    })
    // If it could not be started the callback says why.
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(input)
  })
}

interface Ports {
  readonly first: number
  readonly last: number
}

/** Of those ports how many the kernel gives to sockets that ask for none; 0 if it does not tell. */
export function portsOfSockets({ first, last }: Ports): number {
  const [from = 0, to = -1] = sysctl('ip_local_port_range').trim().split(/\s+/).map(Number)
  const reserved = parseRanges(sysctl('ip_local_reserved_ports'))
  let count = 0
  for (let port = Math.max(first, from); port <= Math.min(last, to); port++)
    if (!reserved.some((range) => port >= range.first && port <= range.last)) count++
  return count
}

/** As `8080,9148-9150`. */
export function parseRanges(text: string): Ports[] {
  return text
    .trim()
    .split(',')
    .flatMap((part) => {
      const [, from, to] = /^(\d+)(?:-(\d+))?$/.exec(part) ?? []
      return from === undefined ? [] : [{ first: Number(from), last: Number(to ?? from) }]
    })
}

function sysctl(name: string): string {
  try {
    return readFileSync(`/proc/sys/net/ipv4/${name}`, 'utf8')
  } catch {
    return ''
  }
}
