/**
 * A client that lives through the whole scene: it starts before the agent and asks for URL over and
 * over, each time on a new connection. On every line of stdin it prints, as JSON, what happened since
 * the last one: {"ok": n, "failed": n, "ids": {id: n}, "errors": [...]}. usage: requests.js URL
 */
import { request } from 'node:http'
import { createInterface } from 'node:readline'

const url = process.argv[2] ?? ''
const pauseMs = 20

interface Tally {
  ok: number
  failed: number
  ids: Record<string, number>
  errors: string[]
}

const nothing = (): Tally => ({ ok: 0, failed: 0, ids: {}, errors: [] })
let tally = nothing()

function ask(): void {
  const begun = Date.now()
  const again = (): void => void setTimeout(ask, pauseMs)
  const failed = (error: Error): void => {
    tally.failed++
    const when = `${new Date(begun).toISOString()}, after ${Date.now() - begun} ms`
    if (tally.errors.length < 5) tally.errors.push(`${error.message} (begun ${when})`)
    again()
  }
  const sent = request(url, { agent: false, timeout: 3000 }, (response) => {
    let body = ''
    response
      .setEncoding('utf8')
      .on('data', (text: string) => (body += text))
      .on('end', () => {
        const id = body.trim()
        tally.ok++
        tally.ids[id] = (tally.ids[id] ?? 0) + 1
        again()
      })
      .on('error', failed)
  })
  sent.once('timeout', () => sent.destroy(new Error('timed out')))
  sent.once('error', failed)
  sent.end()
}

createInterface({ input: process.stdin }).on('line', () => {
  console.log(JSON.stringify(tally))
  tally = nothing()
})
ask()
