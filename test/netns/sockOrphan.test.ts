/** Sockets connected to a backend that is removed are ended, in the namespace read; others are not. */
import { join } from 'node:path'
import { BpfObject, type Link, probe } from 'libbpf-ts'
import t from 'tap'
import { SockScene } from '../lib/sockScene.js'

const NETWORK = 7
const ABORT = join(import.meta.dirname, '../../bpf/abort.bpf.o')
const VIPS = ['10.60.0.1', 'fd60::1'] as const
/** A socket of IPv6 may dial IPv4, as those of many run times do. */
const DIALLED = [...VIPS, `::ffff:${VIPS[0]}`]

if (!probe().sockDestroy) {
  t.plan(0, 'this kernel ends no sockets from programs (6.5)')
  process.exit(0)
}

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

const object = BpfObject.open(ABORT)
t.teardown(() => object.close())
for (const [name, map] of path.object.maps) {
  if (name.includes('.') || !object.maps.has(name)) continue
  if (object.map(name).maxEntries !== map.maxEntries) object.resize(name, map.maxEntries)
  object.reuse(name, map)
}
object.load()
const links: Link[] = []
for (const name of ['abort_tcp', 'abort_udp']) links.push(await object.program(name).attachIter())
t.teardown(() => {
  for (const link of links) link.close()
})
const aborted = () => object.map('.bss').get(0) as Record<string, bigint>

/** Two TCP and two UDP sockets for each that is dialled; then, on a line of stdin, what a use of each says. */
const CLIENT = `
import errno, socket, sys
socks = []
for kind, port in ((socket.SOCK_STREAM, 80), (socket.SOCK_DGRAM, 53)):
    for vip in ${JSON.stringify(DIALLED)}:
        for _ in range(2):
            sock = socket.socket(socket.AF_INET6 if ':' in vip else socket.AF_INET, kind)
            sock.settimeout(5)
            sock.connect((vip, port))
            socks.append(sock)
print('connected', flush=True)
sys.stdin.readline()
def use(sock):
    try:
        if sock.type == socket.SOCK_DGRAM:
            sock.send(b'x')
            return 'fine'
        sock.settimeout(0.3)
        sock.recv(1)
        return 'closed'
    except socket.timeout:
        return 'fine'
    except OSError as error:
        return errno.errorcode[error.errno]
out([use(sock) for sock in socks])
`

await t.test('sockets of a removed backend', async (t) => {
  const client = scene.start(CLIENT)
  const other = scene.start(CLIENT, elsewhere)
  await Promise.all([client.printed(/connected/), other.printed(/connected/)])
  const read = async () => {
    for (const link of links) await link.read(scene.client.path)
  }
  await read()
  t.same(aborted(), { aborted_tcp: 0n, aborted_udp: 0n }, 'none while all backends are there')
  const sums = [1, 2, 101, 102].map((id) => Number(path.object.map('sock_actives').get(id)))
  t.same(sums, [4, 4, 2, 2], 'TCP connections of both clients are counted')
  for (const id of [1, 101]) path.backend(id, id === 1 ? '10.50.0.1' : 'fd50::1', 0)
  await read()
  t.same(aborted(), { aborted_tcp: 3n, aborted_udp: 3n }, 'only of the namespace that is read')
  client.child.stdin?.write('\n')
  const [, text] = await client.printed(/(\[.*\])/)
  const said = JSON.parse(text ?? '') as string[]
  const [tcp, udp] = [said.slice(0, 6), said.slice(6)]
  t.same(tcp.sort(), [...Array<string>(3).fill('ECONNABORTED'), 'fine', 'fine', 'fine'])
  t.same(udp.sort(), [...Array<string>(3).fill('EDESTADDRREQ'), 'fine', 'fine', 'fine'])
  other.child.stdin?.write('\n')
  const [, rest] = await other.printed(/(\[.*\])/)
  t.ok((JSON.parse(rest ?? '') as string[]).every((word) => word === 'fine'))
  await Promise.all([client.stop(), other.stop()])
})
