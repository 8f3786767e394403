/** What does not fit the tunnel to its backend: the answer on the wire, byte for byte. */
import t from 'tap'
import { EdgeLan, LAN } from '../lib/edgeLan.js'
import { addressBytes, concat, icmp, isV6, onesSum, pseudoHeader } from '../lib/packet.js'

t.setTimeout(240_000)

const MTU = 1500

/**
 * Four small datagrams that are answered, then one that fills a packet and may not be fragmented.
 * Prints the last one's frame as it left, and the error's as it came.
 */
const CLIENT = `
import json, socket, sys, time
host, size = sys.argv[1], int(sys.argv[2])
v6 = ':' in host
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(('eth0', 0))
wire.settimeout(5)
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
# IP_MTU_DISCOVER and IPV6_MTU_DISCOVER: a probe, whatever was learned.
s.setsockopt(41 if v6 else 0, 23 if v6 else 10, 3)
s.settimeout(5)
for _ in range(4):
    s.sendto(b'x', (host, 53))
    s.recv(100)
s.sendto(bytes(i % 251 for i in range(size)), (host, 53))
sent = error = None
deadline = time.time() + 5
while not (sent and error) and time.time() < deadline:
    frame, info = wire.recvfrom(2000)
    if info[2] == 4 and len(frame) == size + (62 if v6 else 42): sent = frame
    if info[2] != 4 and len(frame) > 300 and frame[20 if v6 else 23] == (58 if v6 else 1): error = frame
print(json.dumps([one.hex() if one else '' for one in (sent, error)]))
`

const mac = (frame: Buffer, at: number): string =>
  [...frame.subarray(at, at + 6)].map((byte) => byte.toString(16).padStart(2, '0')).join(':')

t.test('fragmentation needed, and packet too big', async (t) => {
  const lan = await EdgeLan.build(t)
  await lan.startTaker('node', 'native')
  await lan.startEntry('native', {
    backends: [{ address: [LAN.backend4, LAN.backend6], via: [LAN.node4, LAN.node6] }],
  })
  for (const [vip, client] of [
    [LAN.vip4, LAN.client4],
    [LAN.vip6, LAN.client6],
  ] as const) {
    const base = isV6(vip) ? 40 : 20
    const { stdout, stderr } = await lan.client.run(
      'python3',
      ['-c', CLIENT, vip, `${MTU - base - 8}`],
      { mayFail: true },
    )
    t.equal(stderr, '')
    const [sent, error] = (JSON.parse(stdout || '["",""]') as string[]).map((one) =>
      Buffer.from(one, 'hex'),
    )
    if (!sent?.length || !error?.length) throw new Error(`no answer about ${vip}: ${stdout}`)
    // The whole stays within 576 octets (RFC 1812), or the least IPv6 MTU (RFC 4443).
    const quote = sent.subarray(14, 14 + (isV6(vip) ? 1280 : 576) - base - 8)
    const told = Buffer.alloc(4)
    told.writeUInt32BE(MTU - base)
    const expected = icmp({
      ...{ src: vip, dst: client, dontFragment: true },
      ...{ ethSrc: mac(sent, 0), ethDst: mac(sent, 6) },
      ...(isV6(vip) ? { type: 2 } : { type: 3, code: 4 }),
      rest: concat(told, quote),
    })
    t.same(error, expected, vip)
    const body = error.subarray(14 + base)
    const pseudo = isV6(vip) ? pseudoHeader(vip, client, 58, body.length) : Buffer.alloc(0)
    t.equal(onesSum(pseudo, body), 0xffff, 'the checksum holds')
    t.same(sent.subarray(isV6(vip) ? 38 : 30).subarray(0, isV6(vip) ? 16 : 4), addressBytes(vip))
  }
  const { entry } = lan.agents
  const drops = await entry.metric('fairlead_drops_total', 'reason="too_big"', 'path="xdp"')
  t.equal(drops, 2, 'both are counted')
})
