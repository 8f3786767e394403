/** What follows the question mark. */
import type { z } from 'zod'
import { FairleadError } from '../errors.js'
import { type FlowFilter, parseEnd } from '../model/flows.js'
import type { flowParametersSchema } from './schema.js'

/** @throws FairleadError VALUE naming the parameter */
export function parseQuery<T>(shape: z.ZodType<T>, query: unknown): T {
  const result = shape.safeParse(query)
  if (result.success) return result.data
  const [issue] = result.error.issues
  const place = issue?.path.join('.') ?? ''
  throw new FairleadError('VALUE', `${place === '' ? '' : `${place}: `}${issue?.message ?? ''}`)
}

/** @throws FairleadError VALUE for an address that is none */
export function filterOf(asked: z.output<typeof flowParametersSchema>): FlowFilter {
  const { path, protocol, state, network, service, client, vip, backend } = asked
  return {
    ...(path !== undefined && { path }),
    ...(protocol !== undefined && { protocol }),
    ...(state !== undefined && { state }),
    ...(network !== undefined && { network }),
    ...(service !== undefined && { service }),
    ...(client !== undefined && { client: parseEnd(client) }),
    ...(vip !== undefined && { vip: parseEnd(vip) }),
    ...(backend !== undefined && { backend: parseEnd(backend) }),
  }
}
