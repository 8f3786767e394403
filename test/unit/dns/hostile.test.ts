/** What an enemy or an accident may send: refused or dropped and counted, never the end of us. */
import { decode, encode, type Packet, type RecordType } from 'dns-packet'
import t from 'tap'
import { Forwarder, Waiting } from '../../../src/dns/forward.js'
import { decodeQuestion, HEADER_BYTES, peekQuery } from '../../../src/dns/query.js'
import { Responder } from '../../../src/dns/responder.js'
import { buildZone } from '../../../src/dns/zone.js'
import { seeded } from '../../lib/seeded.js'
import { dig, exchange, Recorder, scene, serve } from './fixture.js'

function responder(seen: Recorder): Responder {
  const forwarder = new Forwarder({
    upstreams: [],
    timeoutMs: 1,
    deadlineMs: 1,
    maxInFlight: 1,
    waiting: new Waiting(1, () => undefined),
    observer: seen,
  })
  const zone = buildZone(scene(), undefined, { negativeTtlSeconds: 5, forwardSingleLabel: false })
  return new Responder(
    zone,
    { networks: ['overlay1'] },
    {
      network: 'overlay1',
      forwarder,
      observer: seen,
      random: Math.random,
    },
  )
}

function ask(bytes: Buffer): { reply: Buffer | undefined; drops: readonly string[] } {
  const seen = new Recorder()
  let reply: Buffer | undefined
  responder(seen).handle(bytes, 'udp', (sent) => (reply = sent))
  return { reply, drops: seen.drops }
}

function question(extra: Packet = {}, name = 'vote'): Buffer {
  return encode({
    type: 'query',
    id: 77,
    flags: 0x0100,
    questions: [{ type: 'A', name }],
    ...extra,
  })
}

function patched(bytes: Buffer, at: number, ...values: number[]): Buffer {
  const copy = Buffer.from(bytes)
  copy.set(values, at)
  return copy
}

const header = (counts: number[], rest: number[]): Buffer =>
  Buffer.from([0, 77, 1, 0, ...counts.flatMap((count) => [count >> 8, count & 255]), ...rest])

t.test('dropped in silence', (t) => {
  const cases: [string, Buffer, string][] = [
    ['nothing', Buffer.alloc(0), 'short'],
    ['half a header', question().subarray(0, 11), 'short'],
    ['a response', question({ type: 'response' }), 'response'],
    ['more than a query can need', Buffer.concat([question(), Buffer.alloc(4096)]), 'oversized'],
  ]
  for (const [what, bytes, reason] of cases) {
    t.same(ask(bytes), { reply: undefined, drops: [reason] }, what)
  }
  t.end()
})

t.test('refused', (t) => {
  const label = (length: number): number[] => [length, ...new Array<number>(length).fill(97)]
  const opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]
  const vote = [4, 118, 111, 116, 101, 0, 0, 1, 0, 1]
  const long = Array.from({ length: 4 }, () => label(63)).flat()
  const cases: [string, Buffer, number, string][] = [
    ['no question', header([0, 0, 0, 0], []), 1, 'malformed'],
    ['two questions', header([2, 0, 0, 0], [...vote, ...vote]), 1, 'malformed'],
    ['65535 questions', header([65535, 0, 0, 0], vote), 1, 'malformed'],
    ['an answer', header([1, 1, 0, 0], vote), 1, 'malformed'],
    ['65535 additionals', header([1, 0, 0, 65535], vote), 1, 'malformed'],
    ['a pointer to itself', header([1, 0, 0, 0], [0xc0, 12, 0, 1, 0, 1]), 1, 'malformed'],
    ['pointers in a ring', header([1, 0, 0, 0], [0xc0, 14, 0xc0, 12, 0, 1, 0, 1]), 1, 'malformed'],
    ['a pointer to the header', header([1, 0, 0, 0], [1, 97, 0xc0, 0, 0, 1, 0, 1]), 1, 'malformed'],
    ['a label type of the future', header([1, 0, 0, 0], [0x41, 1, 0, 0, 1, 0, 1]), 1, 'malformed'],
    ['a name without an end', header([1, 0, 0, 0], label(20)), 1, 'malformed'],
    ['a name too long', header([1, 0, 0, 0], [...long, 0, 0, 1, 0, 1]), 1, 'malformed'],
    ['no type', question().subarray(0, -3), 1, 'malformed'],
    ['bytes behind', Buffer.concat([question(), Buffer.alloc(1)]), 1, 'malformed'],
    ['two OPT', header([1, 0, 0, 2], [...vote, ...opt, ...opt]), 1, 'malformed'],
    ['half an OPT', header([1, 0, 0, 1], [...vote, ...opt.slice(0, 8)]), 1, 'malformed'],
    [
      'OPT pointing past',
      header([1, 0, 0, 1], [...vote, ...opt.slice(0, 9), 9, 9]),
      1,
      'malformed',
    ],
    ['a looping additional', header([1, 0, 0, 1], [...vote, 0xc0, 22, 0, 1, 0, 1]), 1, 'malformed'],
    ['an opcode', patched(question(), 2, 0x29), 4, 'opcode'],
    ['class CH', patched(question(), 21, 3), 5, 'class'],
    ['class ANY', patched(question(), 21, 255), 5, 'class'],
  ]
  for (const [what, bytes, rcode, reason] of cases) {
    const { reply, drops } = ask(bytes)
    t.same(drops, [reason], what)
    t.equal(reply && decode(reply).id, 77)
    t.equal(reply && reply.readUInt16BE(2) & 0x800f, 0x8000 | rcode)
  }
  t.end()
})

t.test('odd but allowed', (t) => {
  const vote = [4, 118, 111, 116, 101, 0, 0, 1, 0, 1]
  const opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]
  const other = [0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 2, 1, 2]
  const signed = ask(header([1, 0, 0, 2], [...vote, ...opt, ...other]))
  t.match(signed.reply && decode(signed.reply), { answers: [{ data: '10.0.0.9' }] })
  const root = ask(question({}, '.'))
  t.equal(root.reply && root.reply.readUInt16BE(2) & 15, 5, 'the root is not ours')
  const dotted = header([1, 0, 0, 0], [6, 49, 46, 118, 111, 116, 101, 0, 0, 1, 0, 1])
  t.same(ask(dotted).drops, ['no_upstream'], 'a label with a dot in it is not two labels')
  t.end()
})

t.test('50,000 mutations of good queries', (t) => {
  const random = seeded(20_240_601)
  const below = (limit: number): number => Math.floor(random() * limit)
  const opt = {
    type: 'OPT' as const,
    name: '.',
    udpPayloadSize: 1232,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  }
  const names = ['vote', 'tasks.pool', '_http._tcp.vote', '9.0.0.10.in-addr.arpa', 'a.b.overlay1']
  const seeds = names.flatMap((name) => [
    question({}, name),
    question({ additionals: [opt] }, name),
    question({ type: 'response', answers: [{ name, type: 'A', data: '10.0.0.1' }] }, name),
  ])
  const seen = new Recorder()
  const target = responder(seen)
  let replies = 0
  let wrong = 0
  let differing = 0
  for (let round = 0; round < 50_000; round++) {
    let bytes = Buffer.from(seeds[below(seeds.length)] ?? question())
    for (let edits = below(6); edits >= 0; edits--) {
      const kind = below(5)
      const at = below(bytes.length)
      if (kind === 0) bytes = bytes.subarray(0, at)
      else if (kind === 1) bytes = Buffer.concat([bytes, Buffer.from([below(256), below(256)])])
      else if (kind === 2) bytes.set([0xc0 | below(64), below(256)].slice(0, bytes.length - at), at)
      else if (bytes.length > 0) bytes[at] = below(256)
      if (bytes.length === 0) break
    }
    const sent = bytes
    if (!readersAgree(sent)) differing += 1
    target.handle(sent, round % 2 === 0 ? 'udp' : 'tcp', (reply) => {
      replies += 1
      const good = reply.readUInt16BE(0) === sent.readUInt16BE(0) && decodes(reply)
      if (!good) wrong += 1
    })
  }
  t.equal(wrong, 0, 'every reply is well-formed and carries the id')
  t.equal(differing, 0, 'what we find in the bytes is what dns-packet reads from them')
  t.notOk(seen.drops.includes('internal'))
  t.ok(replies > 5000 && replies < 50_000, `${replies} replies`)
  t.ok(seen.drops.length > 5000, `${seen.drops.length} counted`)
  t.end()
})

t.test('a query read twice gives the same key whatever its letters', (t) => {
  const keys = ['vote', 'VOTE', 'vOtE'].map((name) => {
    const peeked = peekQuery(question({}, name))
    return peeked.kind === 'query' ? peeked.key : undefined
  })
  t.equal(new Set(keys).size, 1)
  t.type(keys[0], 'string')
  t.end()
})

t.test('the server lives on', async (t) => {
  const { port, seen } = await serve(t)
  t.equal(await exchange(port, Buffer.from([1, 2, 3]), 100), undefined)
  t.equal((await exchange(port, header([1, 0, 0, 0], [0xc0, 12])))?.readUInt16BE(2), 0x8101)
  t.equal(await exchange(port, question({ type: 'response' }), 100), undefined)
  t.same((await dig(port, 'vote')).answer, ['vote. 3 IN A 10.0.0.9'])
  t.same(seen.drops, ['short', 'malformed', 'response'])
  t.match(seen.answers[0], { type: 'NONE', rcode: 'FORMERR', source: 'refused' })
})

function decodes(bytes: Buffer): boolean {
  // dns-packet itself cannot read every question that we echo; the counts must still be honest.
  if ((bytes.readUInt16BE(2) & 0x800f) === 0x8001) return true
  try {
    decode(bytes)
    return true
  } catch {
    return false
  }
}

/** Our walk over the question against dns-packet's, where both take the message. */
function readersAgree(bytes: Buffer): boolean {
  const peeked = peekQuery(bytes)
  if (peeked.kind !== 'query' || !peeked.plain) return true
  const read = decodeQuestion(bytes)
  if (read?.class !== 'IN') return true
  const { name, type } = read
  const again = encode({ type: 'query', questions: [{ name, type: type as RecordType }] })
  return again.toString('latin1', HEADER_BYTES) === peeked.key
}
