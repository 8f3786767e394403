/**
 * Ends sockets of any process by their addresses: SOCK_DESTROY of sock_diag(7), by `ss`. Root, and a
 * kernel with INET_DIAG_DESTROY, are needed.
 */
import { createSocket } from 'node:dgram'
import { formatListen } from '../model/address.js'
import type { Protocol } from '../model/types.js'
import { run } from './run.js'

export interface Endpoint {
  readonly address: string
  readonly port: number
}

/** Named whole, so that no other can be meant. */
export interface ConnectedSocket {
  readonly protocol: Protocol
  readonly local: Endpoint
  readonly remote: Endpoint
}

/** The kernel takes 64 KiB of filter. */
const AT_ONCE = 64
/** Discard: nobody need be there. */
const PORT = 9

/**
 * @returns how many were ended: some may have ended by themselves
 * @throws FairleadError HOST
 */
export async function endSockets(
  namespace: string | undefined,
  sockets: readonly ConnectedSocket[],
): Promise<number> {
  let ended = 0
  for (const protocol of ['tcp', 'udp'] as const) {
    const those = sockets.filter((socket) => socket.protocol === protocol)
    for (let at = 0; at < those.length; at += AT_ONCE) {
      const filter = those
        .slice(at, at + AT_ONCE)
        .flatMap((socket, i) => [
          ...(i === 0 ? [] : ['or']),
          ...['(', 'src', text(socket.local), 'and', 'dst', text(socket.remote), ')'],
        ])
      const kind = protocol === 'tcp' ? '--tcp' : '--udp'
      const args = ['--kill', '--no-header', '--numeric', kind, ...filter]
      ended += (await run(namespace, 'ss', args)).split('\n').filter((line) => line !== '').length
    }
  }
  return ended
}

function text({ address, port }: Endpoint): string {
  return formatListen({ host: address, port })
}

/** Tries it on a socket of its own. */
export async function canEndSockets(): Promise<boolean> {
  const socket = createSocket('udp4')
  socket.on('error', () => undefined)
  try {
    const remote = { address: '127.0.0.1', port: PORT }
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.connect(remote.port, remote.address, resolve)
    })
    const local = socket.address()
    return (await endSockets(undefined, [{ protocol: 'udp', local, remote }])) === 1
  } catch {
    return false
  } finally {
    socket.close()
  }
}
