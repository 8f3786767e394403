/**
 * Segments outside the window of a connection, as reordering, offloads and strangers make them. Who
 * tracks windows calls them invalid and lets them through untranslated, so that the far end resets a
 * connection that is well. Here they are translated like any other: TCP itself knows what to do.
 */
import t from 'tap'
import { kernelCounter, Way } from '../lib/ways.js'

t.setTimeout(240_000)

/** Asks over one connection for every line; the first line is its own address and port. */
const asker = `
import socket, sys
s = socket.create_connection((sys.argv[1], 7), 5)
s.settimeout(5)
print(*s.getsockname()[:2])
for line in sys.stdin:
    try:
        s.sendall(line.encode())
        print(s.recv(100).split()[-1].decode())
    except OSError as error:
        print(type(error).__name__)
`

/** Sends one segment as it is told to: SRC SPORT DST DPORT SEQ FLAGS. */
const injector = `
import socket, struct, sys
src, sport, dst, dport, seq, flags = sys.argv[1:7]
v6 = ':' in src
family = socket.AF_INET6 if v6 else socket.AF_INET
def total(data):
    if len(data) % 2: data += b'\\0'
    s = sum(struct.unpack(f'!{len(data) // 2}H', data))
    while s >> 16: s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff
a, b = socket.inet_pton(family, src), socket.inet_pton(family, dst)
payload = b'' if int(flags) & 4 else b'outside the window'
length = 20 + len(payload)
def segment(check):
    return struct.pack('!HHIIBBHHH', int(sport), int(dport), int(seq), 12345, 5 << 4, int(flags),
                       1000, check, 0) + payload
pseudo = a + b + (struct.pack('!II', length, 6) if v6 else struct.pack('!HH', 6, length))
tcp = segment(total(pseudo + segment(0)))
if v6:
    ip = struct.pack('!IHBB', 6 << 28, length, 6, 64) + a + b
else:
    ip = struct.pack('!BBHHHBBH', 0x45, 0, 20 + length, 0, 0x4000, 64, 6, 0) + a + b
s = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
s.sendto(ip + tcp, (dst, 0))
`
const PSH_ACK = '24'
const RST = '4'

for (const name of ['tc', 'xdp'] as const) {
  t.test(`${name}: a segment outside the window resets nothing`, async (t) => {
    const way = await Way.build(t, name, 1)
    const [backend] = way.backends
    if (!backend) throw new Error('no backend')
    await way.echo()
    await way.start({ ports: [7] })
    for (const host of way.hosts) {
      const server = host.includes(':') ? backend.v6 : backend.v4
      const asking = way.python(asker, host)
      const [client = '', port = ''] = (await asking.line()).split(' ')
      t.equal(await asking.ask('before'), 'before', host)
      const counters = () =>
        Promise.all(
          [way.client, backend.space].flatMap((space) => [
            kernelCounter(space, 'TcpOutRsts'),
            kernelCounter(space, 'TcpInSegs'),
          ]),
        )
      const [clientRsts = 0, clientIn = 0, serverRsts = 0, serverIn = 0] = await counters()
      for (const seq of ['1', '2000000000', '4000000000']) {
        const forth = [client, port, host, '7', seq]
        await way.client.run('python3', ['-c', injector, ...forth, PSH_ACK])
        const back = [server, '7', client, port, seq]
        await backend.space.run('python3', ['-c', injector, ...back, PSH_ACK])
      }
      t.equal(await asking.ask('after'), 'after', `${host}: the connection is well`)
      const after = await counters()
      t.equal(after[0], clientRsts, `${host}: the client reset nothing`)
      t.equal(after[2], serverRsts, `${host}: nor did the backend`)
      t.ok((after[1] ?? 0) - clientIn >= 4, `${host}: the client did see them`)
      t.ok((after[3] ?? 0) - serverIn >= 4, `${host}: the backend too`)

      // RFC 5961: a reset outside the window ends nothing, so the flow must not end by it either.
      await way.client.run('python3', ['-c', injector, client, port, host, '7', '1', RST])
      await backend.space.run('python3', ['-c', injector, server, '7', client, port, '1', RST])
      t.equal(await asking.ask('still'), 'still', `${host}: after resets of no window`)
      await way.age(120)
      t.equal(await asking.ask('later'), 'later', `${host}: nor does it expire early`)
    }
  })
}
