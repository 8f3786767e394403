import t from 'tap'
import { closeSync, readlinkSync } from 'node:fs'
import { createServer, Socket } from 'node:net'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createSockets, netnsCookie, netnsInode, openSocket, sendPackets } from '../index.js'
import { codeOf, descriptors, makeNetns, rejectionOf, run, skip } from './fixture.js'

t.test('cookies and inodes tell namespaces apart', { skip }, (t) => {
  const netns = makeNetns(t)
  const own = readlinkSync('/proc/self/ns/net')
  t.equal(netnsCookie(), netnsCookie(process.pid))
  t.not(netnsCookie(netns), netnsCookie())
  t.equal(netnsCookie(netns), netnsCookie(netns))
  t.equal(`net:[${netnsInode()}]`, own)
  t.not(netnsInode(netns), netnsInode())
  t.equal(readlinkSync('/proc/self/ns/net'), own)
  for (const work of [netnsCookie, netnsInode]) {
    t.equal(
      codeOf(() => work('/nowhere')),
      'ENOENT',
    )
    t.equal(
      codeOf(() => work(0x7ffffffe)),
      'ENOENT',
    )
    t.equal(
      codeOf(() => work('')),
      'RangeError',
    )
    t.equal(
      codeOf(() => work(0)),
      'RangeError',
    )
    t.equal(
      codeOf(() => work(1.5)),
      'RangeError',
    )
    t.equal(
      codeOf(() => work({} as unknown as string)),
      'TypeError',
    )
  }
  t.equal(
    codeOf(() => netnsCookie('/dev/null')),
    'EINVAL',
  )
  t.equal(
    codeOf(() => netnsCookie('/proc/self/ns/mnt')),
    'EINVAL',
  )
  t.end()
})

t.test('a TCP listener in a namespace', { skip }, async (t) => {
  const netns = makeNetns(t)
  const fd = await openSocket({ netns, family: 4, type: 'tcp', address: '127.0.0.1', port: 7001 })
  const server = createServer((socket) => socket.end('from inside'))
  const listening = once(server, 'listening')
  server.listen({ fd })
  await listening
  t.teardown(() => server.close())
  const name = netns.replace('/run/netns/', '')
  const child = run('ip', 'netns', 'exec', name, 'ss', '-Hltn')
  t.match(child, '127.0.0.1:7001')
  t.notMatch(run('ss', '-Hltn'), '127.0.0.1:7001')
  const taken = openSocket({ netns, family: 4, type: 'tcp', address: '127.0.0.1', port: 7001 })
  t.equal(await rejectionOf(taken), 'EADDRINUSE')
})

t.test('a UDP socket for dgram', { skip }, async (t) => {
  const fd = await openSocket({ family: 6, type: 'udp', address: '::1', port: 0 })
  const socket = createSocket('udp6')
  const listening = once(socket, 'listening')
  socket.bind({ fd })
  await listening
  const client = createSocket('udp6')
  client.send('hello', socket.address().port, '::1')
  const [message] = (await once(socket, 'message')) as [Buffer]
  t.equal(message.toString(), 'hello')
  client.close()
  socket.close()
})

t.test('sockets that cannot be', { skip }, async (t) => {
  const netns = makeNetns(t)
  const good = { netns, family: 4, type: 'udp', address: '127.0.0.1', port: 53 } as const
  await rejectionOf(openSocket({ ...good, address: '192.0.2.1' }))
  const before = descriptors().length
  const wrong: [object, string][] = [
    [{ address: '192.0.2.1' }, 'EADDRNOTAVAIL'],
    [{ address: '::1' }, 'EINVAL'],
    [{ address: 'localhost' }, 'EINVAL'],
    [{ address: '' }, 'RangeError'],
    [{ address: 5 }, 'TypeError'],
    [{ family: 5 }, 'TypeError'],
    [{ type: 'sctp' }, 'TypeError'],
    [{ port: 65536 }, 'RangeError'],
    [{ port: -1 }, 'RangeError'],
    [{ port: '53' }, 'TypeError'],
    [{ backlog: -1 }, 'RangeError'],
    [{ v6only: 1 }, 'TypeError'],
    [{ reuseAddr: 'yes' }, 'TypeError'],
    [{ netns: '/nowhere' }, 'ENOENT'],
    [{ netns: '/dev/null' }, 'EINVAL'],
  ]
  for (const [change, code] of wrong) {
    t.equal(await rejectionOf(openSocket({ ...good, ...change })), code, JSON.stringify(change))
  }
  t.equal(await rejectionOf(openSocket(undefined as never)), 'TypeError')
  t.equal(descriptors().length, before)
  const free = await openSocket({ ...good, address: '192.0.2.1', freeBind: true })
  closeSync(free)
})

t.test('sockets that connect from within a namespace', { skip }, async (t) => {
  const netns = makeNetns(t)
  run('ip', '-n', netns.replace('/run/netns/', ''), 'link', 'set', 'lo', 'up')
  for (const [family, address] of [
    [4, '127.0.0.1'],
    [6, '::1'],
  ] as const) {
    const server = createServer((socket) => socket.end('from inside'))
    const listening = once(server, 'listening')
    server.listen({ fd: await openSocket({ netns, family, type: 'tcp', address, port: 7002 }) })
    await listening
    const [fd, unused] = await createSockets({ netns, family, type: 'tcp', count: 2 })
    closeSync(unused ?? -1)
    const client = new Socket({ fd, manualStart: true } as object)
    client.connect({ host: address, port: 7002 })
    const [text] = (await once(client, 'data')) as [Buffer]
    t.equal(text.toString(), 'from inside')
    client.destroy()
    server.close()
  }
})

t.test('sockets that cannot be created', { skip }, async (t) => {
  const netns = makeNetns(t)
  const good = { netns, family: 4, type: 'tcp', count: 3 } as const
  const sockets = await createSockets(good)
  t.equal(new Set(sockets).size, 3)
  sockets.forEach((fd) => closeSync(fd))
  const before = descriptors().length
  const wrong: [object, string][] = [
    [{ family: 5 }, 'TypeError'],
    [{ type: 'raw' }, 'TypeError'],
    [{ count: 0 }, 'RangeError'],
    [{ count: 1025 }, 'RangeError'],
    [{ count: '1' }, 'TypeError'],
    [{ netns: '/nowhere' }, 'ENOENT'],
    [{ netns: '/dev/null' }, 'EINVAL'],
  ]
  for (const [change, code] of wrong) {
    t.equal(await rejectionOf(createSockets({ ...good, ...change })), code, JSON.stringify(change))
  }
  t.equal(await rejectionOf(createSockets(undefined as never)), 'TypeError')
  t.equal(descriptors().length, before)
})

/** A datagram of one byte from 127.0.0.2 port 7000 to 7001, without checksum; an ICMPv6 message. */
const PACKETS = {
  4: [
    [0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 2, 127, 0, 0, 1],
    [0x1b, 0x58, 0x1b, 0x59, 0, 9, 0, 0, 120],
  ].flat(),
  6: [
    [0x60, 0, 0, 0, 0, 20, 58, 64, ...Array<number>(15).fill(0), 1],
    [...Array<number>(15).fill(0), 1, 1, 4, 0, 0],
    Array<number>(16).fill(0),
  ].flat(),
} as const

t.test('whole packets are sent from a namespace', { skip }, async (t) => {
  const netns = makeNetns(t)
  const socket = createSocket('udp4')
  t.teardown(() => socket.close())
  const fd = await openSocket({ netns, family: 4, type: 'udp', address: '127.0.0.1', port: 7001 })
  const message = once(socket, 'message')
  socket.bind({ fd })
  const packets = [PACKETS[4], PACKETS[6]].map((bytes) => Uint8Array.from(bytes))
  t.equal(await sendPackets(packets, netns), 2)
  const [text, from] = (await message) as [Buffer, { address: string; port: number }]
  t.same(
    [text.toString(), from.address, from.port],
    ['x', '127.0.0.2', 7000],
    'the source is ours to say',
  )
  const unroutable = Uint8Array.from(PACKETS[4])
  unroutable.set([192, 0, 2, 1], 16)
  t.equal(await sendPackets([unroutable], netns), 0, 'without a route it is left out')
  t.equal(await sendPackets([], netns), 0)
  const before = descriptors().length
  for (const [wrong, code] of [
    [undefined, 'TypeError'],
    [[undefined], 'TypeError'],
    [['text'], 'TypeError'],
    [[new Uint8Array(0)], 'RangeError'],
    [[new Uint8Array(20)], 'RangeError'],
    [[Uint8Array.from(PACKETS[4].slice(0, 19))], 'RangeError'],
    [[Uint8Array.from(PACKETS[6].slice(0, 39))], 'RangeError'],
  ] as const)
    t.equal(await rejectionOf(sendPackets(wrong as never, netns)), code)
  t.equal(await rejectionOf(sendPackets(packets, '/nowhere')), 'ENOENT')
  t.equal(descriptors().length, before)
})
