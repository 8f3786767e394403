/**
 * A backend whose health is told it. usage: healthPeer.js ID [CERTIFICATE KEY]
 *   80 and, with a certificate, 443: /health answers with the status told last (200), all else with ID
 *   stdin: a line `status N` sets it; `close 80` closes that port, `open 80` opens it again
 */
import { readFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createSecure } from 'node:https'
import { createInterface } from 'node:readline'

const [, , id = 'nobody', certificate, key] = process.argv
let status = 200
let checks = 0

const listener: RequestListener = (request, response) => {
  response.setHeader('connection', 'close')
  if (request.url === '/checks') response.end(`${checks}\n`)
  else if (request.url !== '/health') response.end(`${id}\n`)
  else {
    checks++
    response.writeHead(status).end()
  }
}
const plain = createServer(listener)
const listen = (): void => void plain.listen({ port: 80, host: '::' })
listen()
if (certificate !== undefined && key !== undefined) {
  const options = { cert: readFileSync(certificate), key: readFileSync(key) }
  createSecure(options, listener).listen({ port: 443, host: '::' })
}
createInterface({ input: process.stdin }).on('line', (line) => {
  const [word, number] = line.split(' ')
  if (word === 'status') status = Number(number)
  else if (word === 'close') plain.close()
  else listen()
  console.log(`done: ${line}`)
})
plain.once('listening', () => console.log('ready'))
