/**
 * Sockets connected to a backend that is removed are ended, in the namespaces asked for; others are
 * not. By a program where the kernel can, and by their addresses, as on kernels before 6.5.
 */
import { join } from 'node:path'
import { BpfObject, probe } from 'libbpf-ts'
import t, { type Test } from 'tap'
import { OrphanSockets } from '../../src/dataplane/orphans.js'
import { canEndSockets, endSockets } from '../../src/host/endSockets.js'
import { silent } from '../../src/host/log.js'
import type { Daemon } from '../lib/netns.js'
import { sleep } from '../lib/netns.js'
import type { SockPath } from '../lib/sockPath.js'
import { address4, address6, SockScene } from '../lib/sockScene.js'

const NETWORK = 7
const OBJECTS = join(import.meta.dirname, '../../bpf')
const VIPS = ['10.60.0.1', 'fd60::1'] as const

t.setTimeout(240_000)

/**
 * Two TCP and two UDP sockets a VIP, one of each a direct one to the first backend, and an IPv6 socket
 * with an IPv4 peer; then, on every line of stdin, what a use of each says.
 */
const CLIENT = `
import errno, socket, sys
socks = []
def dial(kind, host, port):
    sock = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, kind)
    sock.settimeout(5)
    sock.connect((host, port))
    socks.append(sock)
for vip in ${JSON.stringify(VIPS)} + ['::ffff:${VIPS[0]}']:
    for kind, port in ((socket.SOCK_STREAM, 80), (socket.SOCK_DGRAM, 53)):
        for _ in range(2):
            dial(kind, vip, port)
for host in '${address4(1)}', '${address6(1)}':
    dial(socket.SOCK_STREAM, host, 8080)
    dial(socket.SOCK_DGRAM, host, 5353)
def use(sock):
    try:
        if sock.type == socket.SOCK_DGRAM:
            sock.send(b'mute')
            return 'fine'
        sock.settimeout(0.2)
        sock.recv(1)
        return 'closed'
    except socket.timeout:
        return 'fine'
    except OSError as error:
        return errno.errorcode[error.errno]
print('connected', flush=True)
for line in sys.stdin:
    print(line.strip(), ' '.join(use(sock) for sock in socks), flush=True)
`

/** What each use says: those by VIP, TCP and UDP, and the direct ones. */
async function said(client: Daemon, word: string) {
  client.child.stdin?.write(`${word}\n`)
  const [, text = ''] = await client.printed(new RegExp(`^${word} (.*)$`, 'm'), 30_000)
  const words = text.split(' ')
  const by = (udp: number) => words.slice(0, 12).filter((_, at) => (at >> 1) % 2 === udp)
  return { tcp: by(0).sort(), udp: by(1).sort(), direct: words.slice(12) }
}

const FINE = {
  tcp: Array(6).fill('fine'),
  udp: Array(6).fill('fine'),
  direct: Array(4).fill('fine'),
}

function load(t: Test, name: string, path: SockPath): BpfObject {
  const object = BpfObject.open(`${OBJECTS}/${name}.bpf.o`)
  t.teardown(() => object.close())
  for (const [name, map] of path.object.maps) {
    if (name.includes('.') || !object.maps.has(name)) continue
    if (object.map(name).maxEntries !== map.maxEntries) object.resize(name, map.maxEntries)
    object.reuse(name, map)
  }
  object.load()
  return object
}

for (const way of ['abort', 'orphans'] as const) {
  const skip =
    way === 'abort' && !probe().sockDestroy
      ? 'this kernel ends no sockets from programs (6.5)'
      : way === 'orphans' && !(await canEndSockets())
        ? 'this kernel has no INET_DIAG_DESTROY'
        : false
  t.test(`sockets of a removed backend end, by ${way}.bpf.o`, { skip }, async (t) => {
    const scene = await SockScene.build(t, 2)
    const path = await scene.balance(t, () => 1)
    const elsewhere = await scene.container('other', 101)
    for (const space of [scene.client, elsewhere]) path.scope(space, NETWORK)
    path.service({
      id: 1,
      network: NETWORK,
      vips: VIPS,
      ports: [
        ['tcp', 80, 8080],
        ['udp', 53, 5353],
      ],
      backends: [1, 2, 101, 102],
    })
    let ended = 0
    const object = load(t, way, path)
    const orphans = new OrphanSockets({
      load: () => Promise.resolve(object),
      ...(way === 'orphans' && {
        end: async (...args: Parameters<typeof endSockets>) => (ended += await endSockets(...args)),
      }),
      namespaces: () => [scene.client.path],
      log: silent,
    })
    t.teardown(async () => orphans.close())
    const client = scene.start(CLIENT)
    const other = scene.start(CLIENT, elsewhere)
    await Promise.all([client.printed(/connected/), other.printed(/connected/)])
    /** And the second look. */
    const look = async () => {
      orphans.look()
      await sleep(1500)
    }
    await look()
    t.same(await said(client, 'first'), FINE, 'none while all backends are there')
    const sums = [1, 2, 101, 102].map((id) => Number(path.object.map('sock_actives').get(id)))
    t.same(sums, [4, 4, 2, 2], 'TCP connections of both clients are counted')
    for (const id of [1, 101]) path.backend(id, id === 1 ? address4(1) : address6(1), 0)
    await look()
    const half = (end: string) => [end, end, end, 'fine', 'fine', 'fine']
    if (way === 'orphans') t.equal(ended, 6, 'each was named once')
    else {
      const counts = object.map('.bss').get(0) as Record<string, bigint>
      t.same([counts['aborted_tcp'], counts['aborted_udp']], [3n, 3n])
    }
    const { tcp, udp, direct } = await said(client, 'second')
    t.same(tcp, half('ECONNABORTED'))
    t.same(udp, half('EDESTADDRREQ'))
    t.same(direct, FINE.direct, 'who dialled the backend itself stays')
    t.same(await said(other, 'first'), FINE, 'and who is in another namespace')
    await Promise.all([client.stop(), other.stop()])
  })
}
