/** `address:port` and `[address]:port`, as listeners and upstreams are written. */

import { isIP } from 'node:net'
import { FairleadError } from '../errors.js'

export interface Endpoint {
  readonly family: 4 | 6
  /** A literal, never a name. */
  readonly address: string
  /** 0..65535 */
  readonly port: number
}

const FORM = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/

/**
 * @param text a port left out is 53; a bare IPv6 address needs no brackets then
 * @throws FairleadError VALUE
 */
export function parseEndpoint(text: string): Endpoint {
  const [, bracketed, bare, digits = '53'] = FORM.exec(text) ?? []
  const address = bracketed ?? bare ?? text
  const family = isIP(address)
  const port = Number(digits)
  if ((family !== 4 && family !== 6) || port > 65_535) {
    throw new FairleadError('VALUE', `${text} is not address:port or [address]:port`)
  }
  return { family, address, port }
}

export function endpointText({ family, address, port }: Endpoint): string {
  return family === 6 ? `[${address}]:${port}` : `${address}:${port}`
}
