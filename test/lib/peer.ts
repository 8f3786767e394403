/**
 * A backend: HTTP on port 80 and UDP on port 53, both families. usage: peer.js ID
 *   GET /          its id
 *   GET /client    the address and port that the request came from
 *   GET /bulk?N    N bytes, the same for every peer; POST /bulk: SHA-256 of what was sent
 *   UDP            `ID ADDRESS PORT` for every datagram
 */
import { createHash } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { createServer } from 'node:http'
import { pipeline, Readable } from 'node:stream'

const id = process.argv[2] ?? 'nobody'
const plain = (address = ''): string => address.replace('::ffff:', '')

/** `total` bytes whose content a truncation, swap or repetition would change. */
export function* bulk(total: number): Generator<Buffer> {
  let block = createHash('sha512').update('fairlead').digest()
  for (let sent = 0; sent < total;) {
    const chunk = Buffer.alloc(Math.min(65_536, total - sent))
    for (let at = 0; at < chunk.length; at += block.length) {
      block.copy(chunk, at)
      block.writeUInt32LE((block.readUInt32LE(0) + 2_654_435_761) >>> 0, 0)
    }
    block = Buffer.from(block)
    sent += chunk.length
    yield chunk
  }
}

function serve(): void {
  const server = createServer((request, response) => {
    const { remoteAddress, remotePort = 0 } = request.socket
    // A request a connection, so that every request is balanced.
    response.setHeader('connection', 'close')
    const url = request.url ?? '/'
    if (request.method === 'POST') {
      const hash = createHash('sha256')
      request.on('data', (part: Buffer) => hash.update(part))
      request.on('end', () => response.end(`${hash.digest('hex')}\n`))
    } else if (url.startsWith('/bulk?')) {
      pipeline(Readable.from(bulk(Number(url.slice(6)))), response, () => undefined)
    } else {
      response.end(url === '/client' ? `${plain(remoteAddress)} ${remotePort}\n` : `${id}\n`)
    }
  })
  const datagrams = createSocket('udp6')
  datagrams.on('message', (_, from) => {
    datagrams.send(`${id} ${plain(from.address)} ${from.port}`, from.port, from.address)
  })
  datagrams.bind(53, () => server.listen({ port: 80, host: '::' }, () => console.log('ready')))
}

if (process.argv[1] === import.meta.filename) serve()
