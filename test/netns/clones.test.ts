/**
 * Frames that are translated in place while others hold them too: captures on every interface, segments
 * that are sent again, headers outside the linear area. A capture must show the frame as it was there.
 */
import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { capture } from '../lib/capture.js'
import type { Namespace } from '../lib/netns.js'
import { bulk } from '../lib/peer.js'
import { CLIENT4, Stage, VIP4, VIP6 } from '../lib/stage.js'

const STREAM_BYTES = 3_000_000
const JUMBO_MTU = 9000

/**
 * Sends one datagram of BYTES to VIP4 through a packet socket, whose frames above a page have only
 * the Ethernet header in their linear area. Prints the answer that a UDP socket of that port gets.
 */
const jumbo = `
import socket, struct, subprocess, sys
source, vip, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind((source, 0))
listener.settimeout(5)
port = listener.getsockname()[1]
listener.sendto(b'x', (vip, 53))
listener.recv(100)
near = subprocess.run(['ip', 'neigh', 'show', vip], capture_output=True, text=True).stdout.split()
mac = bytes.fromhex(near[near.index('lladdr') + 1].replace(':', ''))
def total(data):
    if len(data) % 2:
        data += b'\\0'
    value = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while value >> 16:
        value = (value & 0xffff) + (value >> 16)
    return value
ends = socket.inet_aton(source) + socket.inet_aton(vip)
body = b'y' * size
udp = struct.pack('!HHHH', port, 53, 8 + size, 0)
check = ~total(ends + struct.pack('!BBH', 0, 17, 8 + size) + udp + body) & 0xffff
udp = udp[:6] + struct.pack('!H', check)
ip = struct.pack('!BBHHHBBH', 0x45, 0, 28 + size, 7, 0, 64, 17, 0) + ends
ip = ip[:10] + struct.pack('!H', ~total(ip) & 0xffff) + ip[12:]
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(('eth0', 0))
wire.send(mac + wire.getsockname()[4] + b'\\x08\\x00' + ip + udp + body)
print(listener.recv(100).decode().split()[0])
`

/**
 * Holds frames of eth0 in a socket's queue, which shares them with whoever is next, and looks at them
 * when the transfer is over. Prints how many name VIP4 and how many BACKEND4.
 */
const holder = `
import socket, sys, time
vip, direct = [socket.inet_aton(one) for one in sys.argv[1:]]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
s.bind(('eth0', 3))
print('ready', flush=True)
time.sleep(2)
s.setblocking(False)
counts = [0, 0]
try:
    while True:
        ends = s.recv(100)[26:34]
        for at, one in enumerate((vip, direct)):
            counts[at] += one in (ends[:4], ends[4:])
except BlockingIOError:
    print('vip', counts[0], 'direct', counts[1], flush=True)
`

interface End {
  readonly space: Namespace
  readonly link: string
}

function sha256(chunks: Iterable<Uint8Array>): string {
  const hash = createHash('sha256')
  for (const chunk of chunks) hash.update(chunk)
  return hash.digest('hex')
}

async function sharing(t: Test, redirectPeer: boolean): Promise<void> {
  const stage = await Stage.build(t, 1)
  await stage.start({ ...stage.definition(false), agent: { redirectPeer } })
  const [backend] = stage.backends
  if (!backend) throw new Error('no backend')
  const { client, node } = stage
  const ends: End[] = [
    { space: client, link: 'eth0' },
    { space: node, link: 'v-client' },
    { space: node, link: 'v-b0' },
    { space: backend.space, link: 'eth0' },
  ]

  const streams = async (t: Test): Promise<void> => {
    for (const host of [VIP4, `[${VIP6}]`]) {
      const url = `http://${host}/`
      const down = ['-c', 'curl -sS --max-time 30 "$0" | sha256sum', `${url}bulk?${STREAM_BYTES}`]
      const got = await client.run('bash', down, { mayFail: true })
      t.equal(got.stdout.split(' ')[0], sha256(bulk(STREAM_BYTES)), `${host} down`)
      const up = 'head -c "$1" /dev/zero | curl -sS --max-time 30 -T - -X POST "$0"'
      const sent = await client.run('bash', ['-c', up, url, String(STREAM_BYTES)], {
        mayFail: true,
      })
      t.equal(sent.stdout.trim(), sha256([Buffer.alloc(STREAM_BYTES)]), `${host} up`)
    }
  }

  /** Every eleventh packet is lost where it arrives, so its segments are sent again. */
  const losing = async (state: 'on' | 'off'): Promise<void> => {
    for (const space of [client, backend.space])
      await (state === 'off'
        ? space.run('nft', ['delete', 'table', 'inet', 'loss'])
        : space.run('nft', [
            'add table inet loss; add chain inet loss in { type filter hook input priority 0; };' +
              'add rule inet loss in tcp dport != 22 numgen inc mod 11 == 0 drop',
          ]))
  }

  const offload = async (state: 'on' | 'off'): Promise<void> => {
    for (const { space, link } of ends)
      await space.run('ethtool', ['-K', link, 'tx', state, 'rx', state])
  }

  const captured = async (t: Test): Promise<void> => {
    const running = await Promise.all(
      ends.map(({ space, link }) => capture(stage.lab, space, link, ['tcp port 80'])),
    )
    await streams(t)
    const [own, hostSide, beyond, arrived] = await Promise.all(running.map((one) => one.stop()))
    const bytes = (seen: typeof own) => seen?.[0]?.bytes ?? 0
    t.ok(bytes(own) > 4 * STREAM_BYTES, 'the client captured it all')
    t.ok(bytes(hostSide) > 4 * STREAM_BYTES, 'the node too')
    // What enters the backend past its bridge is not seen there.
    const seen = redirectPeer ? 2 : 4
    t.ok(bytes(beyond) > seen * STREAM_BYTES, `on both sides: ${bytes(beyond)}`)
    t.ok(bytes(arrived) > 4 * STREAM_BYTES, 'and the backend')
  }

  for (const state of ['on', 'off'] as const) {
    await t.test(`offloads ${state}: captures on every interface`, async (t) => {
      await offload(state)
      await captured(t)
    })
    await t.test(`offloads ${state}: segments sent again, with captures`, async (t) => {
      await losing('on')
      await captured(t)
      await losing('off')
      const told = await client.run('nstat', ['-asz', 'TcpRetransSegs'])
      t.ok(Number(/TcpRetransSegs\s+(\d+)/.exec(told.stdout)?.[1]) > 10, told.stdout)
    })
  }

  await t.test('who shares a frame keeps it as it was', async (t) => {
    const holders = [client, backend.space].map((space) =>
      space.spawn('python3', ['-c', holder, VIP4, backend.v4]),
    )
    await Promise.all(holders.map((one) => one.printed(/ready/)))
    await stage.curl(`http://${VIP4}/bulk?100000`)
    const told = await Promise.all(holders.map((one) => one.printed(/vip (\d+) direct (\d+)/)))
    const counts = told.map(([, vip, direct]) => [Number(vip) > 10, Number(direct) > 10])
    t.same(counts[0], [true, false], 'the client knows the VIP alone')
    t.same(counts[1], [false, true], 'the backend knows itself alone')
  })

  await t.test('headers outside the linear area', async (t) => {
    for (const { space, link } of ends) await space.ip('link', 'set', link, 'mtu', `${JUMBO_MTU}`)
    await node.ip('link', 'set', 'br0', 'mtu', `${JUMBO_MTU}`)
    for (const bytes of ['5000', '8900']) {
      const told = await stage.python(jumbo, CLIENT4, VIP4, bytes)
      t.equal(told.stdout.trim(), backend.id, `${bytes} bytes: ${told.stderr}`)
    }
  })
}

for (const redirectPeer of [true, false])
  t.test(
    `frames that others hold too, ${redirectPeer ? 'past' : 'by'} the bridge`,
    { timeout: 110_000 },
    async (t) => sharing(t, redirectPeer),
  )
