/**
 * Asks the engine's resolver, from within a container's namespace, which tasks of a service are to be
 * used. It forgets a task two seconds before that is told to stop; nothing else tells a worker so.
 */
import { createSocket, type Socket } from 'node:dgram'
import { randomInt } from 'node:crypto'
import { decode, encode } from 'dns-packet'
import { canonicalAddress } from '../../model/address.js'
import type { SocketOpener } from '../../model/sockets.js'

const RESOLVER = '127.0.0.11'
const PORT = 53
/** It answers what it knows within a millisecond; what it does not know, it asks others. */
const TIMEOUT_MS = 700
/** More than the largest answer over loopback: a thousand tasks are 16 kB. */
const ANSWER_BYTES = 65_000

/**
 * @param namespace of a container that is on the network
 * @returns         for each name that was answered, also with nothing, its IPv4 addresses; names that
 *                  got no answer in time are left out
 * @throws whatever `open` says of the namespace
 */
export async function askTasks(
  open: SocketOpener,
  namespace: string,
  names: readonly string[],
): Promise<Map<string, ReadonlySet<string>>> {
  if (names.length === 0) return new Map()
  // From its own address: such questions are not led to our own answers.
  const request = { namespace, transport: 'udp', address: RESOLVER, port: 0 } as const
  const fd = await open(request)
  const socket = createSocket('udp4')
  try {
    // It is bound: with a descriptor this takes effect at once.
    socket.bind({ fd })
    return await exchange(socket, names)
  } finally {
    // At once: a socket keeps its namespace alive.
    await new Promise<void>((resolve) => socket.close(resolve))
  }
}

function exchange(
  socket: Socket,
  names: readonly string[],
): Promise<Map<string, ReadonlySet<string>>> {
  const answers = new Map<string, ReadonlySet<string>>()
  const asked = new Map<number, string>()
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      resolve(answers)
    }
    const timer = setTimeout(done, TIMEOUT_MS)
    // An engine that is being restarted has no resolver: nothing is known, as with silence.
    socket.on('error', done)
    socket.on('message', (message) => {
      const answer = readAnswer(message)
      const name = answer && asked.get(answer.id)
      if (answer === undefined || name === undefined) return
      answers.set(name, answer.addresses)
      if (answers.size === asked.size) done()
    })
    for (const name of names) {
      let id = randomInt(65_536)
      while (asked.has(id)) id = randomInt(65_536)
      asked.set(id, name)
      socket.send(queryFor(id, name), PORT, RESOLVER, () => undefined)
    }
  })
}

function queryFor(id: number, name: string): Buffer {
  return encode({
    type: 'query',
    id,
    questions: [{ type: 'A', name }],
    additionals: [
      {
        ...{ type: 'OPT', name: '.', udpPayloadSize: ANSWER_BYTES },
        ...{ flags: 0, flag_do: false, extendedRcode: 0, ednsVersion: 0, options: [] },
      },
    ],
  })
}

/** Undefined for what is no answer, or none to believe: cut short, or an error of the resolver's. */
function readAnswer(message: Buffer): { id: number; addresses: Set<string> } | undefined {
  try {
    const { id = -1, type, answers = [], flag_tc: cut, rcode } = decode(message) as Answer
    if (type !== 'response' || cut) return undefined
    if (rcode !== 'NOERROR' && rcode !== 'NXDOMAIN') return undefined
    const addresses = answers.flatMap((answer) =>
      answer.type === 'A' ? canonicalAddress(answer.data) : [],
    )
    return { id, addresses: new Set(addresses) }
  } catch {
    return undefined
  }
}

/** dns-packet's types leave the rcode of a decoded message out. */
type Answer = ReturnType<typeof decode> & { readonly rcode?: string }
