/**
 * A backend for load.ts: answers every line on TCP port 7 and every datagram on UDP port 7 with its id
 * and what it was sent. `get N` is answered with N bytes, 16 KiB every 20 ms. On every line of stdin
 * it prints how many connections it has. usage: echo.js ID [ADDRESS...],
 * addresses that datagrams are received on, and answered from; by itself all.
 */
import { createSocket } from 'node:dgram'
import { createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'

const [id = 'nobody', ...addresses] = process.argv.slice(2)
const CHUNK = Buffer.alloc(16_384, 'x')
const CHUNK_EVERY_MS = 20

function send(socket: Socket, bytes: number): void {
  if (bytes <= 0 || socket.destroyed) {
    socket.end()
    return
  }
  socket.write(CHUNK.subarray(0, Math.min(bytes, CHUNK.length)))
  setTimeout(() => send(socket, bytes - CHUNK.length), CHUNK_EVERY_MS)
}

const server = createServer({ allowHalfOpen: false, noDelay: true }, (socket) => {
  socket.on('error', () => undefined)
  createInterface({ input: socket })
    .on('line', (line) => {
      const bytes = /^get (\d+)$/.exec(line)?.[1]
      if (bytes === undefined) socket.write(`${id} ${line}\n`)
      else send(socket, Number(bytes))
    })
    .on('error', () => undefined)
})
/** A socket that is bound to no address answers from the one of the route. */
function receive(address: string): Promise<void> {
  const datagrams = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  datagrams.on('message', (text, from) => {
    datagrams.send(`${id} ${text.toString()}`, from.port, from.address)
  })
  return new Promise((resolve) => datagrams.bind(7, address, resolve))
}
createInterface({ input: process.stdin }).on('line', () => {
  server.getConnections((_, count) => console.log(`connections ${count}`))
})
await Promise.all((addresses.length > 0 ? addresses : ['::']).map(receive))
server.listen({ port: 7, host: '::' }, () => console.log('ready'))
