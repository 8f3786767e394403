/** One check of one backend: by a connection, a request or a program. Keeps nothing. */
import { closeSync } from 'node:fs'
import { request } from 'node:http'
import { Socket, isIP } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { family } from '../../model/address.js'
import type { CheckResult } from '../../model/observe.js'
import type { Family, HealthCheck } from '../../model/types.js'
import { execute } from './exec.js'
import { reasonOf } from '../../reason.js'

/** What the host does for probes; both work from within a network namespace. */
export interface ProbeOpener {
  /**
   * @param namespace path; absent: the agent's own
   * @returns descriptor of a TCP socket that is neither bound nor connected, the caller's
   * @throws  whatever says why not
   */
  socket(namespace: string | undefined, of: Family): Promise<number>
  /** The program and arguments that run `command` there. */
  command(namespace: string | undefined, command: readonly string[]): readonly string[]
}

export interface Target {
  readonly namespace?: string
  readonly network: string
  readonly service: string
  readonly address: string
}

export interface Outcome {
  readonly result: CheckResult
  /** Why it is not `ok`. */
  readonly error?: string
}

export const OK: Outcome = { result: 'ok' }
type Requested = Extract<HealthCheck, { readonly type: 'http' | 'https' }>

/** Settles soon after `signal` aborts; never rejects, and leaves nothing open. */
export async function probe(
  target: Target,
  check: HealthCheck,
  opener: ProbeOpener,
  signal: AbortSignal,
): Promise<Outcome> {
  if (check.type === 'exec') return execute(target, check, opener, signal)
  let fd: number
  try {
    fd = await opener.socket(target.namespace, family(target.address))
  } catch (error) {
    return { result: 'error', error: messageOf(error) }
  }
  if (signal.aborted) {
    closeSync(fd)
    return { result: 'timeout', error: 'no socket in time' }
  }
  // Reading starts by itself once it is connected; before, it would fail with ENOTCONN.
  const socket = new Socket({ fd, manualStart: true } as { fd: number })
  socket.on('error', () => undefined)
  try {
    return await untilAborted(socket, exchange(socket, target, check), signal)
  } finally {
    socket.destroy()
  }
}

function untilAborted(
  socket: Socket,
  done: Promise<Outcome>,
  signal: AbortSignal,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const abort = (): void => {
      const error = socket.connecting ? 'no connection in time' : 'no answer in time'
      resolve({ result: 'timeout', error })
    }
    signal.addEventListener('abort', abort, { once: true })
    void done.then((outcome) => {
      signal.removeEventListener('abort', abort)
      resolve(outcome)
    })
  })
}

async function exchange(
  socket: Socket,
  target: Target,
  check: Exclude<HealthCheck, { readonly type: 'exec' }>,
): Promise<Outcome> {
  const connected = await new Promise<Outcome>((resolve) => {
    socket.once('connect', () => resolve(OK))
    socket.once('error', (error) => resolve(failure(error)))
    socket.connect({ host: target.address, port: check.port })
  })
  return connected !== OK || check.type === 'tcp' ? connected : answered(socket, target, check)
}

/** Only the head of the response is waited for. */
function answered(socket: Socket, target: Target, check: Requested): Promise<Outcome> {
  return new Promise((resolve) => {
    const stream = check.type === 'https' ? secured(socket, target, check) : socket
    const asking = request({
      createConnection: () => stream,
      path: check.path,
      setHost: false,
      headers: { host: hostHeader(target, check), 'user-agent': 'fairlead', connection: 'close' },
    })
    asking.once('response', (response) => {
      const { statusCode: status = 0 } = response
      const good = check.statuses.some(([from, to]) => status >= from && status <= to)
      resolve(good ? OK : { result: 'status', error: `status ${status}` })
      response.on('error', () => undefined).destroy()
    })
    asking.on('error', (error) => resolve(failure(error)))
    // A switch of protocols is no response to node, and no error.
    asking.once('close', () => resolve({ result: 'protocol', error: 'no response' }))
    asking.end()
  })
}

function secured(socket: Socket, target: Target, check: Requested): Socket {
  const name = (check.host ?? '').replace(/:\d+$/, '')
  return connectTls({
    socket,
    rejectUnauthorized: check.verify,
    // Server names are never addresses (RFC 6066); without one, certificates are for the address.
    ...(name !== '' && isIP(name) === 0 ? { servername: name } : { host: target.address }),
  })
}

function hostHeader({ address }: Target, { type, host, port }: Requested): string {
  if (host !== undefined) return host
  const name = address.includes(':') ? `[${address}]` : address
  return port === (type === 'https' ? 443 : 80) ? name : `${name}:${port}`
}

/** Our own troubles, which say nothing about the backend. */
const OWN = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL', 'EACCES', 'EPERM'])
const REFUSALS = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ENETDOWN'])
const CERTIFICATE = /^(CERT_|UNABLE_TO_|DEPTH_ZERO|SELF_SIGNED|ERR_TLS_CERT|HOSTNAME_)/

function failure(error: Error & { readonly code?: unknown }): Outcome {
  const code = typeof error.code === 'string' ? error.code : ''
  const reason = messageOf(error)
  if (REFUSALS.has(code)) return { result: 'refused', error: reason }
  if (code === 'ETIMEDOUT') return { result: 'timeout', error: reason }
  if (CERTIFICATE.test(code)) return { result: 'certificate', error: reason }
  return { result: OWN.has(code) ? 'error' : 'protocol', error: reason }
}

/** Short, on one line. */
export function messageOf(error: unknown): string {
  const text = reasonOf(error)
  return text.replace(/\s+/g, ' ').trim().slice(0, 200)
}
