/**
 * More flows than the table has room for, and SYNs and datagrams of clients that do not exist: who is
 * talking goes on talking, and who comes is served.
 */
import t from 'tap'
import { Way } from '../lib/ways.js'

t.setTimeout(180_000)

const CAPACITY = 2_048
const LIVE = 48
/** Rows of flows of one packet; the agent makes no smaller table. */
const EMBRYONIC = 1_024

/**
 * Keeps TCP connections that all ask for every line, and meanwhile does what the line says: `fill N`
 * starts N flows of two exchanges each; `syn N` and `udp N` send as many of clients that do not
 * exist. Prints how many answers there were, and how many of them went wrong.
 */
const crowd = `
import socket, struct, sys
host, live = sys.argv[1], int(sys.argv[2])
v6 = ':' in host
family = socket.AF_INET6 if v6 else socket.AF_INET
talking = [socket.create_connection((host, 7), 5) for _ in range(live)]
for s in talking: s.settimeout(5)
good, wrong, port, serial = 0, {}, 10000, 0
def count(action):
    global good
    try:
        action()
        good += 1
    except OSError as error:
        wrong[type(error).__name__] = wrong.get(type(error).__name__, 0) + 1
def talk(s):
    global serial
    serial += 1
    s.sendall(b'%d\\n' % serial)
    if s.recv(100).split()[-1] != b'%d' % serial: raise OSError('another answer')
def everybody():
    for s in talking: count(lambda: talk(s))
def fill():
    global port
    port += 1
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.bind(('', port))
        for _ in range(2):
            s.sendto(b'x', (host, 7))
            s.recv(100)
def total(data):
    s = sum(struct.unpack(f'!{len(data) // 2}H', data))
    while s >> 16: s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff
raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
own = talking[0].getsockname()[0]
def flood(what):
    global port
    port += 1
    src = own.rsplit('::' if v6 else '.', 1)[0] + (f'::{0xee00 + port % 4:x}' if v6 else f'.{240 + port % 4}')
    a, b = socket.inet_pton(family, src), socket.inet_pton(family, host)
    if what == 'syn':
        protocol, size = 6, 20
        head = lambda check: struct.pack('!HHIIBBHHH', port, 7, port, 0, 5 << 4, 2, 1000, check, 0)
    else:
        protocol, size = 17, 10
        head = lambda check: struct.pack('!HHHH', port, 9, 10, check) + b'x '
    pseudo = a + b + (struct.pack('!II', size, protocol) if v6 else struct.pack('!HH', protocol, size))
    ip = (struct.pack('!IHBB', 6 << 28, size, protocol, 64) if v6 else
          struct.pack('!BBHHHBBH', 0x45, 0, 20 + size, 0, 0x4000, 64, protocol, 0)) + a + b
    raw.sendto(ip + head(total(pseudo + head(0))), (host, 0))
def come():
    with socket.create_connection((host, 7), 5) as s:
        s.settimeout(5)
        talk(s)
everybody()
print(good, wrong)
for line in sys.stdin:
    what, many = line.split()
    good, wrong = 0, {}
    for i in range(int(many)):
        if what == 'fill': count(fill)
        else: flood(what)
        if i % 128 == 0:
            everybody()
            count(come)
    everybody()
    print(good, wrong)
`

for (const name of ['tc', 'xdp'] as const) {
  t.test(`${name}: live flows survive twice the table's capacity, and floods`, async (t) => {
    const way = await Way.build(t, name, 2)
    await way.echo()
    // Nobody listens to the datagrams of the flood: answers would wait for neighbours that are not.
    await way.start({ ports: [7, '7/udp', '9/udp'] }, { limits: { flows: CAPACITY } })
    for (const [at, host] of way.hosts.entries()) {
      const family = at === 0 ? 4 : 6
      const talking = way.python(crowd, host, `${LIVE}`)
      t.equal(await talking.line(), `${LIVE} {}`, host)
      /** How many answers there are when nothing goes wrong. */
      const answers = (many: number) => Math.ceil(many / 128) * (LIVE + 1) + LIVE
      const flows = 2 * CAPACITY + 256
      const filled = await talking.ask(`fill ${flows}`, 90_000)
      t.equal(filled, `${flows + answers(flows)} {}`, `${host}: twice the capacity`)
      const entries = await way.agent.metric('fairlead_map_entries', `map="flows${family}"`)
      t.ok(entries <= CAPACITY && entries > CAPACITY / 2, `${host}: ${entries} rows`)
      const many = 4 * EMBRYONIC
      for (const what of ['syn', 'udp']) {
        const flooded = await talking.ask(`${what} ${many}`, 90_000)
        t.equal(flooded, `${answers(many)} {}`, `${host}: a flood, ${what}`)
      }
      await talking.daemon.stop()
    }
    const drops = (await way.agent.metrics())
      .split('\n')
      .filter((line) => /^fairlead_drops_total.* [1-9]/.test(line))
    t.same(drops, [], 'nothing was dropped')
  })
}
