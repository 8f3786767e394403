/** Other people's names: order, time limits, loops, forgers, and local answers meanwhile. */
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { decode, encode, type Answer } from 'dns-packet'
import t, { type Test } from 'tap'
import {
  dig,
  exchange,
  freePort,
  pause,
  reply,
  RESPONSE,
  scene,
  serve,
  upstream,
  type Script,
} from './fixture.js'

const a = (name: string, data: string): Answer => ({ name, type: 'A', ttl: 60, data })
const says =
  (data: string): Script =>
  (query) =>
    reply(query, [a(query.questions?.[0]?.name ?? '', data)])
const fails =
  (rcode: number): Script =>
  (query) =>
    reply(query, [], rcode)
const silent: Script = () => undefined

t.test('in order, on to the next after SERVFAIL, REFUSED and silence', async (t) => {
  const first = await upstream(t, fails(RESPONSE.SERVFAIL))
  const second = await upstream(t, silent)
  const third = await upstream(t, says('192.0.2.3'))
  const upstreams = [first, second, third].map(({ address }) => address)
  const { port, seen } = await serve(t, { upstreams, timeoutMs: 100 })
  const { answer, status, flags } = await dig(port, 'ExAmple.com')
  t.same(answer, ['ExAmple.com. 60 IN A 192.0.2.3'])
  t.equal(status, 'NOERROR')
  t.ok(flags.includes('ra'))
  t.match(
    seen.exchanges.map(({ upstream: of, outcome }) => [of, outcome]),
    [
      [first.address, 'SERVFAIL'],
      [second.address, 'timeout'],
      [third.address, 'NOERROR'],
    ],
  )
  t.match(seen.answers, [{ source: 'forwarded', rcode: 'NOERROR', network: 'overlay1' }])
  t.equal(seen.waiting, 0)
})

t.test('the rcode is passed on', async (t) => {
  const none = await upstream(t, fails(RESPONSE.NXDOMAIN))
  const after = await upstream(t, says('192.0.2.1'))
  const one = await serve(t, { upstreams: [none.address, after.address] })
  t.equal((await dig(one.port, 'example.com')).status, 'NXDOMAIN')
  t.equal(after.udpQueries.length, 0, 'NXDOMAIN is an answer')
  const servfail = await upstream(t, fails(RESPONSE.SERVFAIL))
  const refused = await upstream(t, fails(RESPONSE.REFUSED))
  const two = await serve(t, { upstreams: [servfail.address, refused.address] })
  t.equal((await dig(two.port, 'example.com')).status, 'REFUSED', 'the last one’s')
  const dead = await serve(t, { upstreams: [`127.0.0.1:${await freePort()}`], timeoutMs: 200 })
  t.equal((await dig(dead.port, 'example.com')).status, 'SERVFAIL', 'nobody is there')
  t.equal((await dig(dead.port, '+norecurse', 'example.com')).status, 'REFUSED', 'not asked to')
})

t.test('the deadline ends it all', async (t) => {
  const mute = await upstream(t, silent)
  const upstreams = [mute.address, mute.address, mute.address]
  const { port } = await serve(t, { upstreams, timeoutMs: 20_000, deadlineMs: 3_000 })
  const started = performance.now()
  t.equal((await dig(port, 'example.com')).status, 'SERVFAIL')
  const ms = performance.now() - started
  t.ok(ms > 2_900 && ms < 20_000, `${ms} ms, not what one upstream has`)
})

t.test('known names never leave', async (t) => {
  const outside = await upstream(t, says('192.0.2.1'))
  const { port } = await serve(t, { upstreams: [outside.address] })
  for (const type of ['AAAA', 'MX', 'HTTPS', 'TXT']) await dig(port, 'pool', type)
  for (const name of ['nothere', 'x.overlay1', 'secret', 'vote.overlay2']) await dig(port, name)
  t.equal(outside.udpQueries.length, 0)
  await dig(port, 'example.com')
  t.equal(outside.udpQueries.length, 1)
})

t.test('TC from upstream: asked again by TCP; too large for the asker: TC', async (t) => {
  const big = Array.from({ length: 120 }, (_, at) => a('big.example', `192.0.2.${at}`))
  const outside = await upstream(t, (query, transport) =>
    transport === 'udp' ? { ...reply(query), flags: 0x0380 } : reply(query, big),
  )
  const { port } = await serve(t, { upstreams: [outside.address] })
  const ignored = await dig(port, '+ignore', 'big.example')
  t.ok(ignored.flags.includes('tc'))
  t.equal(outside.tcpQueries.length, 1)
  t.equal((await dig(port, 'big.example')).answer.length, 120)
})

t.test('EDNS: what the asker says to us is not passed on, that it speaks it is', async (t) => {
  const outside = await upstream(t, says('192.0.2.1'))
  const { port } = await serve(t, { upstreams: [outside.address] })
  await dig(port, '+noedns', 'example.com')
  await dig(port, '+dnssec', '+cookie', '+cdflag', 'example.com')
  t.match(outside.udpQueries[0], { additionals: [], flag_cd: false })
  t.match(outside.udpQueries[1], {
    additionals: [{ type: 'OPT', flag_do: true, options: [], udpPayloadSize: 1232 }],
    flag_cd: true,
  })
})

t.test('forged replies are not believed', async (t) => {
  const udp = createSocket('udp4')
  const other = createSocket('udp4')
  t.teardown(() => {
    udp.close()
    other.close()
  })
  udp.on('message', (bytes, from) => {
    const query = decode(bytes)
    const good = reply(query, [a('example.com', '192.0.2.1')])
    const bad = [a('example.com', '203.0.113.66')]
    const send = (message: Buffer): void => udp.send(message, from.port, from.address)
    send(encode({ ...good, answers: bad, id: ((query.id ?? 0) + 1) & 0xffff }))
    send(encode({ ...good, answers: bad, questions: [{ type: 'A', name: 'other.com' }] }))
    send(encode({ ...good, answers: bad, type: 'query' }))
    send(Buffer.from('nonsense'))
    other.send(encode({ ...good, answers: bad }), from.port, from.address)
    setTimeout(() => send(encode(good)), 30)
  })
  udp.bind(0, '127.0.0.1')
  await once(udp, 'listening')
  const { port, seen } = await serve(t, { upstreams: [`127.0.0.1:${udp.address().port}`] })
  t.same((await dig(port, 'example.com')).answer, ['example.com. 60 IN A 192.0.2.1'])
  t.same(seen.drops, ['unmatched', 'unmatched', 'unmatched', 'unmatched'])
})

t.test('ids and source ports are fresh for each question', async (t) => {
  const outside = await upstream(t, says('192.0.2.1'))
  const { port } = await serve(t, { upstreams: [outside.address] })
  for (let at = 0; at < 20; at++) await exchange(port, query(7, `n${at}.example`))
  t.ok(outside.sourcePorts.size > 10, `${outside.sourcePorts.size} ports`)
  t.ok(new Set(outside.udpQueries.map(({ id }) => id)).size > 15)
})

t.test('a loop ends by itself', async (t) => {
  const { port: first, server, seen } = await serve(t)
  await server.close()
  // Two of ours that name each other as upstream.
  const there = await freePort()
  const one = await serve(t, { upstreams: [`127.0.0.1:${there}`], timeoutMs: 300 })
  const two = await serve(t, { upstreams: [`127.0.0.1:${one.port}`], timeoutMs: 300 }, () =>
    scene([`127.0.0.1:${there}`]),
  )
  t.equal((await dig(one.port, 'example.com')).status, 'SERVFAIL')
  t.ok(one.seen.exchanges.length <= 2, `${one.seen.exchanges.length} exchanges`)
  t.ok(two.seen.exchanges.length <= 2)
  t.ok(first > 0 && seen.exchanges.length === 0)
})

t.test('an upstream that is a listener of ours is not asked', async (t) => {
  const port = await freePort()
  const { server, seen } = await serve(t, { upstreams: [`127.0.0.1:${port}`] }, () =>
    scene([`127.0.0.1:${port}`]),
  )
  t.match(server.problems(), [{ code: 'CONFIG', item: `upstream 127.0.0.1:${port}` }])
  t.equal((await dig(port, 'example.com')).status, 'REFUSED')
  t.same(seen.drops, ['no_upstream'])
})

t.test('equal questions share an exchange, each asker gets its own reply', async (t) => {
  const slow = await upstream(t, silent)
  const udp = createSocket('udp4')
  t.teardown(() => udp.close())
  let asked = 0
  udp.on('message', (bytes, from) => {
    asked += 1
    const message = encode(reply(decode(bytes), [a('same.example', '192.0.2.1')]))
    setTimeout(() => udp.send(message, from.port, from.address), 100)
  })
  udp.bind(0, '127.0.0.1')
  await once(udp, 'listening')
  const upstreams = [`127.0.0.1:${udp.address().port}`, slow.address]
  const { port, seen } = await serve(t, { upstreams })
  const replies = await Promise.all(
    ['same.example', 'SAME.example', 'same.EXAMPLE'].map((name, at) =>
      exchange(port, query(at + 1, name), 2000),
    ),
  )
  t.equal(asked, 1)
  t.equal(seen.mostWaiting, 3)
  t.match(
    replies.map((bytes) => bytes && decode(bytes)),
    [
      { id: 1, questions: [{ name: 'same.example' }] },
      { id: 2, questions: [{ name: 'SAME.example' }] },
      { id: 3, questions: [{ name: 'same.EXAMPLE' }] },
    ],
  )
})

t.test('a local question behind a burst does not wait for the burst to be asked', async (t) => {
  const hole = createSocket('udp4')
  t.teardown(() => hole.close())
  hole.bind(0, '127.0.0.1')
  await once(hole, 'listening')
  let arrived = 0
  hole.on('message', () => arrived++)
  const { port } = await serve(t, { upstreams: [`127.0.0.1:${hole.address().port}`] })
  const sockets = (): number =>
    process.getActiveResourcesInfo().filter((resource) => resource.startsWith('UDP')).length
  const asker = createSocket('udp4')
  t.teardown(() => asker.close())
  asker.bind(0, '127.0.0.1')
  await once(asker, 'listening')
  const before = sockets()
  t.ok(before >= 3, 'sockets are seen')
  // As many as fit into a socket's buffer of the smallest usual size.
  for (let at = 0; at < 200; at++) asker.send(query(at, `n${at}.example`), port, '127.0.0.1')
  asker.send(query(4242, 'vote'), port, '127.0.0.1')
  const [bytes] = (await once(asker, 'message')) as [Buffer]
  t.equal(bytes.readUInt16BE(0), 4242)
  const asked = sockets() - before
  t.ok(asked < 60, `${asked} of 200 had been asked`)
  for (let tries = 0; tries < 100 && arrived < 200; tries++) await pause(10)
  t.equal(arrived, 200, 'all are asked')
})

t.test('5,000 questions that nobody answers do not hold up local answers', async (t) => {
  const hole = createSocket('udp4')
  t.teardown(() => hole.close())
  hole.bind(0, '127.0.0.1')
  await once(hole, 'listening')
  const config = { upstreams: [`127.0.0.1:${hole.address().port}`], timeoutMs: 20_000 }
  const { port, seen } = await serve(t, { ...config, deadlineMs: 20_000 })
  const flood = createSocket('udp4')
  t.teardown(() => flood.close())
  for (let at = 0; at < 5000; at++) {
    flood.send(query(at, `n${at}.example`), port, '127.0.0.1')
    if (at % 50 === 49) await pause(2)
  }
  for (let at = 0; at < 100 && seen.answers.length < 5000 - 1024; at++) await pause(20)
  t.equal(seen.waiting, 1024, 'the cap')
  const refused = seen.drops.filter((reason) => reason === 'in_flight').length
  t.ok(refused > 3500, `${refused} refused at once`)
  await answered(t, port)
  t.equal(seen.waiting, 1024, 'which all wait still')
})

t.test('a real resolver as upstream', async (t) => {
  const at = await freePort()
  const child = spawn(
    'dnsmasq',
    [
      ...['--keep-in-foreground', '--no-resolv', '--no-hosts', '--conf-file=/dev/null'],
      ...['--pid-file=', '--bind-interfaces', '--listen-address=127.0.0.1', '--user=root'],
      ...[`--port=${at}`, '--address=/example.com/192.0.2.7', '--local=/nothere.test/'],
      ...['--txt-record=text.test,one,two', '--mx-host=mail.test,mx.test,10'],
    ],
    { stdio: 'ignore' },
  )
  const ended = once(child, 'exit')
  t.teardown(async () => {
    child.kill()
    await ended
  })
  await once(child, 'spawn')
  const { port } = await serve(t, { upstreams: [`127.0.0.1:${at}`] })
  let up = await dig(at, 'example.com')
  for (let tries = 0; tries < 20 && up.status === 'NONE'; tries++) {
    await pause(50)
    up = await dig(at, 'example.com')
  }
  for (const args of [
    ['example.com', 'A'],
    ['text.test', 'TXT'],
    ['mail.test', 'MX'],
    ['nothere.test', 'A'],
    ['+tcp', 'example.com', 'A'],
  ]) {
    const direct = await dig(at, ...args)
    const through = await dig(port, ...args)
    t.same(through.answer, direct.answer, args.join(' '))
    t.equal(through.status, direct.status)
  }
})

function query(id: number, name: string): Buffer {
  return encode({ type: 'query', id, flags: 0x0100, questions: [{ type: 'A', name }] })
}

/** Median of 500 local answers one after another, in ms. */
/** 500 questions for a name of ours, one after the other, each with its own answer. */
async function answered(t: Test, port: number): Promise<void> {
  const socket = createSocket('udp4')
  for (let at = 0; at < 500; at++) {
    socket.send(query(at, 'vote'), port, '127.0.0.1')
    const [bytes] = (await once(socket, 'message')) as [Buffer]
    if (bytes.readUInt16BE(0) !== at) t.fail('a reply out of turn')
  }
  socket.close()
}
