/** What every listener of the agent has in common: bounds, and how errors are answered. */
import { fastify, type FastifyInstance, type FastifyReply } from 'fastify'
import { FairleadError } from '../errors.js'
import { reasonOf } from '../reason.js'

/** No request has a body that means anything. */
const BODY_LIMIT_BYTES = 1024
const MAX_HEADER_BYTES = 8192
/** `network/service` is at most 131 bytes; percent-encoded, each may be three. */
const MAX_PARAMETER_LENGTH = 393
/** A scraper waits ten seconds by default; nobody has reason to hold a connection idle for longer. */
const TIMEOUT_MS = 15_000

/** @param onError told of errors that are answered with 500 */
export function newApp(onError?: (error: unknown) => void): FastifyInstance {
  const app = fastify({
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: TIMEOUT_MS,
    keepAliveTimeout: TIMEOUT_MS,
    forceCloseConnections: true,
    http: { maxHeaderSize: MAX_HEADER_BYTES, headersTimeout: TIMEOUT_MS },
    routerOptions: { maxParamLength: MAX_PARAMETER_LENGTH },
  })
  app.setNotFoundHandler((request, reply) =>
    answerError(reply, 404, 'ROUTE', `there is no ${request.method} ${request.url}`),
  )
  app.setErrorHandler((error, _request, reply) => {
    const message = reasonOf(error)
    const status = statusOf(error)
    if (status === 500) onError?.(error)
    return answerError(reply, status, codeOf(error, status), message)
  })
  return app
}

export function answerError(
  reply: FastifyReply,
  status: number,
  code: string,
  message: string,
): FastifyReply {
  return reply.code(status).send({ code, message })
}

function statusOf(error: unknown): number {
  if (error instanceof FairleadError) {
    if (error.code === 'REFERENCE') return 404
    if (error.code === 'BUSY') return 503
    return ['FILE', 'SCHEMA', 'VALUE'].includes(error.code) ? 422 : 500
  }
  // Fastify's own: too large, not JSON, an encoding that is none.
  const status = (error as { statusCode?: unknown }).statusCode
  return typeof status === 'number' && status >= 400 && status < 500 ? status : 500
}

function codeOf(error: unknown, status: number): string {
  if (error instanceof FairleadError) return error.code
  return status < 500 ? 'REQUEST' : 'INTERNAL'
}
