/** Listening sockets inside another network namespace, handed over by descriptor. */
import { openSocket } from 'libbpf-ts'
import { FairleadError } from '../errors.js'
import { formatListen } from '../model/address.js'
import type { SocketOpener } from '../model/sockets.js'
import { reasonOf } from '../reason.js'

/** @throws FairleadError HOST, naming address and namespace, with the kernel's refusal in `cause` */
export const openListener: SocketOpener = async ({ namespace, transport, address, port }) => {
  const family = address.includes(':') ? 6 : 4
  try {
    return await openSocket({
      ...(namespace !== undefined && { netns: namespace }),
      family,
      type: transport,
      address,
      port,
      reuseAddr: true,
      ...(family === 6 && { v6only: true }),
    })
  } catch (cause) {
    const at = formatListen({ host: address, port })
    const where = namespace === undefined ? '' : ` in ${namespace}`
    const why = reasonOf(cause)
    throw new FairleadError('HOST', `${transport} ${at}${where} cannot be opened: ${why}`, {
      cause,
    })
  }
}
