/** Where listeners' sockets come from: bound here, or handed over by descriptor. */

import { createSocket, type Socket, type SocketOptions } from 'node:dgram'
import { closeSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { family, type ListenAddress } from '../model/address.js'
import type { SocketOpener } from '../model/sockets.js'
import type { Family } from '../model/types.js'

/** @returns what differs between two namespaces at one path; undefined while there is none */
export type NamespaceIdentifier = (path: string) => Promise<number | undefined>

type Lookup = NonNullable<SocketOptions['lookup']>

/** Peers are literal addresses; node's own lookup would defer every single reply by a tick. */
function literalLookup(of: Family): Lookup {
  return (address, _options, done) => done(null, address, of)
}

export interface OpenRequest {
  readonly endpoint: ListenAddress
  readonly namespace: string | undefined
  readonly open: SocketOpener | undefined
}

async function descriptorOf(
  request: OpenRequest,
  transport: 'udp' | 'tcp',
): Promise<number | undefined> {
  const { endpoint, namespace, open } = request
  const { host, port } = endpoint
  if (open !== undefined) {
    return open({
      transport,
      address: host,
      port,
      ...(namespace === undefined ? {} : { namespace }),
    })
  }
  if (namespace !== undefined) throw new Error('sockets in other namespaces cannot be opened')
  return undefined
}

/** @throws the bind's error; nothing is left open */
export async function openUdp(request: OpenRequest): Promise<Socket> {
  const { host, port } = request.endpoint
  const fd = await descriptorOf(request, 'udp')
  const socket = createSocket({
    type: family(host) === 4 ? 'udp4' : 'udp6',
    ipv6Only: family(host) === 6,
    lookup: literalLookup(family(host)),
  })
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      const bound = (): void => {
        socket.off('error', reject)
        resolve()
      }
      if (fd === undefined) socket.bind({ address: host, port }, bound)
      else socket.bind({ fd }, bound)
    })
  } catch (error) {
    socket.close()
    // A descriptor that could not be adopted is still ours to close.
    if (fd !== undefined) closeSync(fd)
    throw error
  }
  return socket
}

/** @throws the bind's error; nothing is left open */
export async function openTcp(request: OpenRequest): Promise<Server> {
  const { host, port } = request.endpoint
  const fd = await descriptorOf(request, 'tcp')
  // A client that has closed its side still waits for its answers.
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  // A server that fails has closed the descriptor: a second close might hit somebody else's.
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    const listening = (): void => {
      server.off('error', reject)
      resolve()
    }
    if (fd === undefined) {
      server.listen({ host, port, ipv6Only: family(host) === 6 }, listening)
    } else server.listen({ fd }, listening)
  })
  return server
}
