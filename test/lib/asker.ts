/**
 * A client of responder.js. usage: asker.js JOBS, a JSON list of Job; prints a JSON list of Answer[].
 * Each dial has a socket of its own and asks three times, so that packets of a known flow are among
 * them. Jobs, and the dials of a job, follow one another.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export interface Job {
  readonly host: string
  readonly protocol: 'tcp' | 'udp'
  readonly dials: number
  /** Keep connections until the job is done. */
  readonly hold?: boolean
  /** Source ports, one a dial; else the kernel chooses. */
  readonly ports?: readonly number[]
}

/** Who answered and what it saw, and where the answers came from; or what went wrong. */
export interface Answer {
  readonly id: string
  readonly client: string
  readonly peer: string
}

const TIMEOUT_MS = 5_000
const ROUNDS = 3

function answerOf(texts: readonly string[], peer: string): Answer {
  const [text = ''] = texts
  const [id = '', client = ''] = text.trim().split(' ')
  if (texts.some((one) => one !== text)) return { id: `differs: ${texts.join()}`, client, peer }
  return { id, client, peer }
}

async function dialTcp(job: Job, dial: number, held: Socket[]): Promise<Answer> {
  const localPort = job.ports?.[dial]
  const local = localPort === undefined ? {} : { localPort }
  const socket = connect({ host: job.host, port: 80, noDelay: true, ...local })
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  await once(socket, 'connect', { signal })
  const texts: string[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const heard = once(socket, 'data', { signal })
    socket.write('who\n')
    texts.push(String((await heard)[0]))
  }
  const peer = `${socket.remoteAddress ?? ''} ${socket.remotePort ?? 0}`
  if (job.hold) held.push(socket)
  else socket.destroy()
  return answerOf(texts, peer)
}

async function dialUdp(job: Job, dial: number): Promise<Answer> {
  const socket = createSocket(job.host.includes(':') ? 'udp6' : 'udp4')
  try {
    await new Promise<void>((resolve) => socket.bind(job.ports?.[dial] ?? 0, resolve))
    const texts: string[] = []
    let peer = ''
    for (let round = 0; round < ROUNDS; round++) {
      const heard = once(socket, 'message', { signal: AbortSignal.timeout(TIMEOUT_MS) })
      socket.send('who', 53, job.host)
      const [text, from] = (await heard) as [Buffer, { address: string; port: number }]
      texts.push(text.toString())
      peer = `${from.address} ${from.port}`
    }
    return answerOf(texts, peer)
  } finally {
    socket.close()
  }
}

async function run(job: Job): Promise<Answer[]> {
  const answers: Answer[] = []
  const held: Socket[] = []
  for (let dial = 0; dial < job.dials; dial++) {
    try {
      answers.push(await (job.protocol === 'tcp' ? dialTcp(job, dial, held) : dialUdp(job, dial)))
    } catch (error) {
      answers.push({ id: String(error), client: '', peer: '' })
    }
  }
  for (const socket of held) socket.destroy()
  return answers
}

if (process.argv[1] === import.meta.filename) {
  const results: Answer[][] = []
  for (const job of JSON.parse(process.argv[2] ?? '[]') as Job[]) results.push(await run(job))
  process.stdout.write(JSON.stringify(results))
}
