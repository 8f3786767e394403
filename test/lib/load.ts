/**
 * Continuous load on VIPs that echo.js serves. For each HOST of the arguments: a new TCP connection
 * and a new UDP socket over and over, each asking once; and one TCP connection that is kept and asks
 * all the time, always of the same backend. With `--transfer BYTES` there are, instead of that one,
 * downloads of so many bytes, four at a time. On every line of stdin it prints a Tally of what
 * happened since the last one. usage: load.js [--pause MS] [--transfer BYTES] HOST...
 */
import { createSocket } from 'node:dgram'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { reasonOf } from '../../src/reason.js'

export interface Tally {
  ok: number
  /** Answers on kept connections. */
  kept: number
  /** Downloads that came whole. */
  transfers: number
  failed: number
  /** Milliseconds of the slowest. */
  slowest: number
  /** Answers by the backend's id. */
  ids: Record<string, number>
  errors: string[]
}

const PORT = 7
/** Longer than a SYN that is sent again twice; what comes later than this has failed. */
const TIMEOUT_MS = 8_000
const TRANSFERS = 4

const { values, positionals: hosts } = parseArgs({
  allowPositionals: true,
  options: {
    pause: { type: 'string', default: '20' },
    transfer: { type: 'string' },
  },
})
const pauseMs = Number(values.pause)

const nothing = (): Tally => ({
  ok: 0,
  kept: 0,
  transfers: 0,
  failed: 0,
  slowest: 0,
  ids: {},
  errors: [],
})
let tally = nothing()

function answered(answer: string, question: string, started: number): string {
  const [id = '', ...rest] = answer.trim().split(' ')
  if (rest.join(' ') !== question) throw new Error(`asked "${question}", answered "${answer}"`)
  tally.ids[id] = (tally.ids[id] ?? 0) + 1
  tally.slowest = Math.max(tally.slowest, Math.round(performance.now() - started))
  return id
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

let serial = 0

/** One question on a connection of its own. */
async function askTcp(host: string): Promise<void> {
  const question = `tcp ${serial++}`
  const started = performance.now()
  const answer = await new Promise<string>((resolve, reject) => {
    let text = ''
    const socket = connect({ host, port: PORT }, () => socket.write(`${question}\n`))
    const timer = setTimeout(() => socket.destroy(new Error('timed out')), TIMEOUT_MS)
    socket.setEncoding('utf8').on('data', (part: string) => {
      text += part
      if (text.endsWith('\n')) socket.end()
    })
    socket.on('error', reject).on('close', () => {
      clearTimeout(timer)
      resolve(text)
    })
  })
  answered(answer, question, started)
  tally.ok++
}

/** One datagram from a socket of its own; not sent again. */
async function askUdp(host: string): Promise<void> {
  const question = `udp ${serial++}`
  const started = performance.now()
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
  try {
    const answer = await new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('timed out')), TIMEOUT_MS)
      socket.on('error', reject).on('message', (text) => {
        clearTimeout(timer)
        resolve(text.toString())
      })
      socket.connect(PORT, host, () => socket.send(question))
    })
    answered(answer, question, started)
    tally.ok++
  } finally {
    socket.close()
  }
}

/** Asks on one connection until that ends, which it should not. */
function keep(host: string): Promise<never> {
  return new Promise((_, reject) => {
    const socket = connect({ host, port: PORT })
    const lines = createInterface({ input: socket })
    let backend: string | undefined
    let question = ''
    let started = 0
    const ask = () => {
      question = `kept ${serial++}`
      started = performance.now()
      socket.write(`${question}\n`)
    }
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error('kept: timed out')))
    socket.on('connect', ask).on('error', reject)
    socket.on('close', () => reject(new Error(`kept: ${host} closed the connection`)))
    lines.on('line', (line) => {
      const id = answered(line, question, started)
      if (backend !== undefined && id !== backend) reject(new Error(`kept: ${backend}, now ${id}`))
      backend = id
      tally.kept++
      setTimeout(ask, pauseMs)
    })
  })
}

async function transfer(host: string, bytes: number): Promise<void> {
  const received = await new Promise<number>((resolve, reject) => {
    let count = 0
    const socket = connect({ host, port: PORT }, () => socket.write(`get ${bytes}\n`))
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error('transfer: timed out')))
    socket.on('data', (part) => (count += part.length))
    socket.on('error', reject).on('close', () => resolve(count))
  })
  if (received !== bytes) throw new Error(`transfer: ${received} bytes of ${bytes}`)
  tally.transfers++
}

async function forever(what: string, action: () => Promise<void>): Promise<never> {
  for (;;) {
    try {
      await action()
    } catch (error) {
      tally.failed++
      const reason = reasonOf(error)
      const at = new Date().toISOString().slice(14, 23)
      if (tally.errors.length < 10) tally.errors.push(`${at} ${what}: ${reason}`)
    }
    await pause(pauseMs)
  }
}

createInterface({ input: process.stdin }).on('line', () => {
  console.log(JSON.stringify(tally))
  tally = nothing()
})
for (const host of hosts) {
  void forever(`tcp ${host}`, () => askTcp(host))
  void forever(`udp ${host}`, () => askUdp(host))
  const bytes = Number(values.transfer ?? 0)
  if (bytes === 0) void forever(`kept ${host}`, () => keep(host))
  else
    for (let i = 0; i < TRANSFERS; i++)
      void forever(`transfer ${host}`, () => transfer(host, bytes))
}
console.log('loading')
