/**
 * Datagrams of the scene. `serve PORT ID`: answers each with ID and who sent it. `ask HOST PORT COUNT`:
 * prints that many answers, each asked for from another port, and sent again when none comes.
 */
import { createSocket } from 'node:dgram'

const AGAIN_MS = 1_000
const TRIES = 8

function serve(port: number, id: string): void {
  const socket = createSocket('udp4')
  socket.on('message', (_, from) => socket.send(`${id} ${from.address}`, from.port, from.address))
  socket.bind(port, () => console.log('ready'))
}

async function ask(host: string, port: number): Promise<string> {
  const socket = createSocket('udp4')
  try {
    return await new Promise((resolve, reject) => {
      let tries = 0
      const send = (): void => {
        if (tries++ >= TRIES) reject(new Error('no answer'))
        else socket.send('who?', port, host)
      }
      const timer = setInterval(send, AGAIN_MS)
      socket.on('message', (text) => {
        clearInterval(timer)
        resolve(text.toString())
      })
      send()
    })
  } finally {
    socket.close()
  }
}

const [what, first = '', second = '', count = '1'] = process.argv.slice(2)
if (what === 'serve') serve(Number(first), second)
else for (let at = 0; at < Number(count); at++) console.log(await ask(first, Number(second)))
