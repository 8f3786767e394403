/**
 * A backend that says who it is and whom it sees: `ID ADDRESS PORT`, for every line on TCP port 80 and
 * every datagram on UDP port 53. usage: responder.js ID [ADDRESS...], those that datagrams are
 * answered from, where the route would choose another.
 */
import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'

const [id = 'nobody', ...addresses] = process.argv.slice(2)
const plain = (address = ''): string => address.replace('::ffff:', '')

function listen(address: string): Promise<void> {
  const datagrams = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  datagrams.on('message', (_, from) => {
    datagrams.send(`${id} ${plain(from.address)} ${from.port}`, from.port, from.address)
  })
  return new Promise((resolve) => datagrams.bind(53, address, resolve))
}

const server = createServer({ noDelay: true }, (socket) => {
  const seen = `${id} ${plain(socket.remoteAddress)} ${socket.remotePort ?? 0}\n`
  socket.on('error', () => undefined)
  createInterface({ input: socket })
    .on('line', () => socket.write(seen))
    .on('error', () => undefined)
})
for (const address of addresses.length > 0 ? addresses : ['::']) await listen(address)
server.listen({ port: 80, host: '::' }, () => console.log('ready'))
