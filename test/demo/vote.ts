/**
 * The `vote` container of the scene: answers HTTP on port 80, both families, with its id; `/client`
 * answers with the address and port that the request came from. usage: vote.js ID
 */
import { createServer } from 'node:http'

const id = process.argv[2] ?? 'nobody'

createServer((request, response) => {
  const { remoteAddress = '', remotePort = 0 } = request.socket
  // A request a connection, so that every request is balanced.
  response.setHeader('connection', 'close')
  response.end(
    request.url === '/client'
      ? `${remoteAddress.replace('::ffff:', '')} ${remotePort}\n`
      : `${id}\n`,
  )
}).listen({ port: 80, host: '::' }, () => console.log('ready'))
