/** Who may ask by TCP, and what: reading alone, with the token, and by no web site's script. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isIP } from 'node:net'
import { answerError } from './app.js'
import type { Token } from './token.js'

export interface GuardOptions {
  readonly token: Token
  /** Host names by which the listener is reached, besides addresses and `localhost`; lower case. */
  readonly names: readonly string[]
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Needs no token: it tells nothing of the node. */
    open?: boolean
  }
}

/** Answers 405 to what is neither GET nor HEAD. */
export function guardMethods(app: FastifyInstance): void {
  app.addHook('onRequest', async (request, reply) => {
    if (request.method === 'GET' || request.method === 'HEAD') return
    reply.header('allow', 'GET, HEAD')
    await answerError(reply, 405, 'METHOD', `${request.method}: only reading is possible here`)
  })
}

/**
 * A name that an attacker's DNS points at this address (rebinding) makes a browser take the attacker's
 * page for ours: so a Host that is no address must be known. A script of another site may send
 * requests here, but then says where it is from.
 */
export function guard(app: FastifyInstance, { token, names }: GuardOptions): void {
  const known = new Set(['localhost', ...names])
  app.addHook('onRequest', async (request, reply) => {
    secure(reply)
    const host = nameOf(request.headers.host)
    if (!isAddress(host) && !known.has(host))
      return answerError(reply, 421, 'HOST_HEADER', 'this name is not one of agent.http.names')
    const { origin } = request.headers
    if (origin !== undefined && !sameHost(origin, request))
      return answerError(reply, 403, 'ORIGIN', 'scripts of other sites may not ask')
  })
  guardMethods(app)
  app.addHook('onRequest', async (request, reply) => {
    if (request.routeOptions.config.open || token.grants(request.headers.authorization)) return
    reply.header('www-authenticate', 'Bearer realm="fairlead"')
    await answerError(reply, 401, 'TOKEN', 'a token is needed: Authorization: Bearer TOKEN')
  })
}

function secure(reply: FastifyReply): void {
  reply.headers({
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cross-origin-resource-policy': 'same-origin',
    'cross-origin-opener-policy': 'same-origin',
    'cache-control': 'no-store',
  })
}

/** A proxy may have taken TLS off, so the scheme is not compared. */
function sameHost(origin: string, { headers }: FastifyRequest): boolean {
  return URL.canParse(origin) && new URL(origin).host === headers.host?.toLowerCase()
}

/** Without port and brackets; empty if there is none. */
function nameOf(host = ''): string {
  const [, bracketed, plain] = /^(?:\[([^\]]+)\]|([^:/@?#\s]+))(?::\d+)?$/.exec(host) ?? []
  return (bracketed ?? plain ?? '').toLowerCase()
}

function isAddress(host: string): boolean {
  return isIP(host) !== 0
}
