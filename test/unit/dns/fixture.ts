/** States, servers and upstreams on loopback for the DNS tests. */
import { execFile } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { createServer, type Server } from 'node:net'
import { promisify } from 'node:util'
import { decode, encode, type DecodedPacket, type Packet } from 'dns-packet'
import type { Test } from 'tap'
import { DnsServer, type DnsServerOptions } from '../../../src/dns/server.js'
import type { DnsAnswered, DnsForwarded, DnsObserver } from '../../../src/model/observe.js'
import type { Network, Service, State } from '../../../src/model/types.js'
import * as states from '../../lib/states.js'
import { backend, network } from '../../lib/states.js'

export { backend, network }

/** On overlay1 if nothing else is given. */
export function service(name: string, given: Partial<Service> = {}): Service {
  return states.service(`overlay1/${name}`, given)
}

export function state(
  networks: readonly Network[],
  services: readonly Service[],
  revision = 1,
): State {
  return states.state(revision, networks, services)
}

/** The scene: `vote` behind VIPs of both families, `pool` by dnsrr, a second network. */
export function scene(listen: readonly string[] = [], revision = 7): State {
  return state(
    [
      network('overlay1', { subnets: ['10.0.0.0/24', 'fd00:1::/64'], dns: { listen } }),
      network('overlay2', { subnets: ['10.0.2.0/24'] }),
    ],
    [
      service('vote', {
        vips: ['10.0.0.9', 'fd00:1::9'],
        aliases: ['ballot'],
        ports: [{ protocol: 'tcp', port: 80, targetPort: 8080, name: 'http' }],
        ttlSeconds: 3,
        backends: [
          backend('10.0.0.10', { slot: '1', hostname: 'c0ffee' }),
          backend('fd00:1::10', { slot: '1', hostname: 'c0ffee' }),
          backend('10.0.0.11', { slot: '2' }),
        ],
      }),
      service('pool', {
        mode: 'dnsrr',
        ports: [{ protocol: 'udp', port: 53, targetPort: 5353, name: 'dns' }],
        backends: [
          backend('10.0.0.5', { weight: 7 }),
          backend('10.0.0.6', { slot: 'b', weight: 3 }),
          backend('10.0.0.7', { state: 'draining' }),
          backend('10.0.0.8', { state: 'down' }),
        ],
      }),
      service('secret', { network: 'overlay2', vips: ['10.0.2.9'] }),
      service('vote', { network: 'overlay2', vips: ['10.0.2.10'] }),
    ],
    revision,
  )
}

export class Recorder implements DnsObserver {
  readonly answers: DnsAnswered[] = []
  readonly drops: string[] = []
  readonly exchanges: DnsForwarded[] = []
  waiting = 0
  mostWaiting = 0
  answered(answer: DnsAnswered): void {
    this.answers.push(answer)
  }
  dropped(reason: string): void {
    this.drops.push(reason)
  }
  forwarded(exchange: DnsForwarded): void {
    this.exchanges.push(exchange)
  }
  inFlight(count: number): void {
    this.waiting = count
    this.mostWaiting = Math.max(this.mostWaiting, count)
  }
}

/** A port that was free for UDP and TCP a moment ago. */
export async function freePort(address = '127.0.0.1'): Promise<number> {
  for (let attempt = 0; attempt < 20; attempt++) {
    const tcp = createServer()
    const port = await new Promise<number>((resolve, reject) => {
      tcp.once('error', reject)
      tcp.listen({ host: address, port: 0 }, () => {
        const at = tcp.address()
        resolve(typeof at === 'object' && at !== null ? at.port : 0)
      })
    })
    const udp = createSocket(address.includes(':') ? 'udp6' : 'udp4')
    const free = await new Promise<boolean>((resolve) => {
      udp.once('error', () => resolve(false))
      udp.bind({ address, port }, () => resolve(true))
    })
    await new Promise((resolve) => udp.close(resolve as () => void))
    await new Promise((resolve) => tcp.close(resolve))
    if (free) return port
  }
  throw new Error('no port is free for both UDP and TCP')
}

export interface Running {
  readonly server: DnsServer
  readonly port: number
  readonly seen: Recorder
}

/** A server whose only listener is overlay1's, on 127.0.0.1. */
export async function serve(
  t: Test,
  config: Partial<DnsServerOptions['config']> = {},
  made?: (listen: readonly string[]) => State,
): Promise<Running> {
  const port = await freePort()
  const seen = new Recorder()
  const server = new DnsServer({
    config: { hostListen: [], upstreams: [], ...config },
    observer: seen,
  })
  t.teardown(() => server.close())
  await server.apply((made ?? scene)([`127.0.0.1:${port}`]))
  const [listener] = server.listeners()
  if (listener?.open !== true)
    throw new Error(`not listening: ${listener?.reason ?? 'no listener'}`)
  return { server, port, seen }
}

const run = promisify(execFile)

export interface DigReply {
  readonly status: string
  readonly flags: readonly string[]
  /** Lines of a section with single spaces between fields. */
  readonly answer: readonly string[]
  readonly authority: readonly string[]
  readonly additional: readonly string[]
  readonly question: string
  readonly edns: string | undefined
  readonly text: string
}

/** dig without its own defaults of EDNS cookies and retries, unless asked for. */
export async function dig(port: number, ...args: string[]): Promise<DigReply> {
  const { stdout } = await run(
    'dig',
    ['@127.0.0.1', '-p', String(port), '+tries=1', '+time=10', '+nocookie', ...args],
    { timeout: 15_000 },
  ).catch((error: unknown) => error as { stdout: string })
  return parseDig(stdout)
}

export function parseDig(text: string): DigReply {
  const section = (name: string): string[] =>
    (new RegExp(`;; ${name} SECTION:\\n([^]*?)\\n\\n`).exec(text)?.[1] ?? '')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.replace(/\s+/g, ' '))
  return {
    status: /status: (\w+)/.exec(text)?.[1] ?? 'NONE',
    flags: /flags: ([\w ]*);/.exec(text)?.[1]?.split(' ') ?? [],
    answer: section('ANSWER'),
    authority: section('AUTHORITY'),
    additional: section('ADDITIONAL'),
    question: section('QUESTION')[0] ?? '',
    edns: /; EDNS: (.*)/.exec(text)?.[1],
    text,
  }
}

/** What an upstream says: a packet, or nothing at all. */
export type Script = (query: DecodedPacket, transport: 'udp' | 'tcp') => Packet | undefined

export interface Upstream {
  readonly address: string
  readonly udpQueries: DecodedPacket[]
  readonly tcpQueries: DecodedPacket[]
  readonly sourcePorts: Set<number>
}

/** A small server of its own on loopback. */
export async function upstream(t: Test, script: Script): Promise<Upstream> {
  const port = await freePort()
  const made = { udpQueries: [], tcpQueries: [], sourcePorts: new Set<number>() } as Omit<
    Upstream,
    'address'
  >
  const udp = createSocket('udp4')
  udp.on('message', (bytes, from) => {
    const query = decode(bytes)
    made.udpQueries.push(query)
    made.sourcePorts.add(from.port)
    const reply = script(query, 'udp')
    if (reply !== undefined) udp.send(encode(reply), from.port, from.address)
  })
  await new Promise<void>((resolve) => udp.bind({ address: '127.0.0.1', port }, resolve))
  const tcp: Server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk: Buffer) => {
      const query = decode(chunk.subarray(2))
      made.tcpQueries.push(query)
      const reply = script(query, 'tcp')
      if (reply === undefined) return
      const bytes = encode(reply)
      const prefix = Buffer.alloc(2)
      prefix.writeUInt16BE(bytes.length)
      // In two pieces, as a stream may deliver it.
      socket.write(Buffer.concat([prefix, bytes.subarray(0, 5)]))
      setTimeout(() => socket.end(bytes.subarray(5)), 5)
    })
  })
  await new Promise<void>((resolve) => tcp.listen({ host: '127.0.0.1', port }, resolve))
  t.teardown(async () => {
    await new Promise((resolve) => udp.close(resolve as () => void))
    await new Promise((resolve) => tcp.close(resolve))
  })
  return { address: `127.0.0.1:${port}`, ...made }
}

export const RESPONSE = { NOERROR: 0, SERVFAIL: 2, NXDOMAIN: 3, REFUSED: 5 } as const

/** The usual reply to a query. */
export function reply(
  query: DecodedPacket,
  answers: Packet['answers'] = [],
  flags = RESPONSE.NOERROR as number,
): Packet {
  return {
    type: 'response',
    id: query.id ?? 0,
    flags: 0x0180 | flags,
    questions: query.questions ?? [],
    answers,
  }
}

/** One message by UDP and its reply; undefined after `waitMs` of silence. */
export async function exchange(
  port: number,
  message: Buffer,
  waitMs = 300,
): Promise<Buffer | undefined> {
  const socket = createSocket('udp4')
  try {
    return await new Promise((resolve) => {
      const timer = setTimeout(() => resolve(undefined), waitMs)
      socket.on('message', (bytes) => {
        clearTimeout(timer)
        resolve(bytes)
      })
      socket.send(message, port, '127.0.0.1')
    })
  } finally {
    socket.close()
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
