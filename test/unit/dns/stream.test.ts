/** DNS over TCP: messages in pieces and in heaps, and peers that misbehave. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { decode, encode, type DecodedPacket } from 'dns-packet'
import t, { type Test } from 'tap'
import { pause, reply, serve, upstream } from './fixture.js'

function framed(id: number, name: string): Buffer {
  const query = encode({ type: 'query', id, flags: 0x0100, questions: [{ type: 'A', name }] })
  const prefix = Buffer.alloc(2)
  prefix.writeUInt16BE(query.length)
  return Buffer.concat([prefix, query])
}

class Client {
  readonly replies: DecodedPacket[] = []
  closed = false
  #received: Buffer = Buffer.alloc(0)
  readonly #ended = (): void => {
    this.closed = true
  }

  private constructor(readonly socket: Socket) {
    socket.on('error', () => undefined)
    for (const event of ['end', 'close']) socket.on(event, this.#ended)
    socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk])
      for (;;) {
        if (this.#received.length < 2) return
        const end = 2 + this.#received.readUInt16BE(0)
        if (this.#received.length < end) return
        this.replies.push(decode(this.#received.subarray(2, end)))
        this.#received = this.#received.subarray(end)
      }
    })
  }

  static async open(t: Test, port: number): Promise<Client> {
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
    t.teardown(() => socket.destroy())
    await once(socket, 'connect')
    return new Client(socket)
  }

  async until(what: () => boolean, ms = 3000): Promise<boolean> {
    const end = performance.now() + ms
    while (!what() && performance.now() < end) await pause(5)
    return what()
  }
}

t.test('many in one piece, one in many pieces', async (t) => {
  const { port } = await serve(t)
  const client = await Client.open(t, port)
  client.socket.write(Buffer.concat(Array.from({ length: 300 }, (_, at) => framed(at, 'vote'))))
  t.ok(await client.until(() => client.replies.length === 300))
  t.same(
    client.replies.map(({ id }) => id),
    Array.from({ length: 300 }, (_, at) => at),
  )
  for (const byte of framed(301, 'tasks.vote')) {
    client.socket.write(Buffer.from([byte]))
    await pause(1)
  }
  t.ok(await client.until(() => client.replies.length === 301))
  t.equal(client.replies.at(-1)?.answers?.length, 2)
})

t.test('a local answer overtakes a forwarded one; all come before the end', async (t) => {
  const outside = await upstream(t, (query, transport) =>
    transport === 'udp' ? { ...reply(query), flags: 0x0380 } : reply(query),
  )
  const { port } = await serve(t, { upstreams: [outside.address] })
  const client = await Client.open(t, port)
  client.socket.end(Buffer.concat([framed(1, 'example.com'), framed(2, 'vote')]))
  t.ok(await client.until(() => client.closed))
  t.same(
    client.replies.map(({ id }) => id),
    [2, 1],
  )
})

t.test('idle, also when bytes trickle in', async (t) => {
  const { port, seen } = await serve(t, { idleMs: 150 })
  const idle = await Client.open(t, port)
  const slow = await Client.open(t, port)
  const query = framed(1, 'vote')
  for (let at = 0; at < query.length && !slow.closed; at++) {
    slow.socket.write(query.subarray(at, at + 1))
    await pause(30)
  }
  t.ok(await idle.until(() => idle.closed && slow.closed))
  t.same(seen.drops, ['idle', 'idle'])
})

t.test('too many connections: those there are stay', async (t) => {
  const { port, seen } = await serve(t, { maxConnections: 2 })
  const first = await Client.open(t, port)
  await Client.open(t, port)
  const third = await Client.open(t, port)
  t.ok(await third.until(() => third.closed))
  t.same(seen.drops, ['connections'])
  first.socket.write(framed(1, 'vote'))
  t.ok(await first.until(() => first.replies.length === 1))
})

t.test('a length that no query has ends the connection', async (t) => {
  const { port, seen } = await serve(t)
  const client = await Client.open(t, port)
  client.socket.write(Buffer.from([0xff, 0xff, 1, 2, 3]))
  t.ok(await client.until(() => client.closed))
  t.same(seen.drops, ['oversized'])
})

t.test('a peer that does not read is not read from', async (t) => {
  const { port, seen } = await serve(t, { idleMs: 400 })
  const client = await Client.open(t, port)
  client.socket.pause()
  const many = Buffer.concat(Array.from({ length: 2000 }, (_, at) => framed(at, '_http._tcp.vote')))
  for (let at = 0; at < 100; at++) client.socket.write(many)
  let before = -1
  for (let look = 0; look < 50 && seen.answers.length !== before; look++) {
    before = seen.answers.length
    await pause(200)
  }
  t.equal(seen.answers.length, before, `stopped after ${before}`)
  t.ok(before > 0 && before < 200_000)
})
