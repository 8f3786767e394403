/**
 * Connections that are silent for long. Others forget them after minutes and then answer with silence;
 * here they live past TCP's own keepalive, and one that was forgotten is reset. Time is not waited
 * for: rows are made to look old.
 */
import t from 'tap'
import { Way } from '../lib/ways.js'

/** IPVS: established 900 s, CLOSE_WAIT 60 s. Linux asks idle peers for life after 7,200 s. */
const PAST_KEEPALIVE = 7_300
const PAST_OURS = 8_100

t.setTimeout(240_000)

/** Asks over one connection for every line; prints the answer or what went wrong, and the time. */
const asker = `
import socket, sys, time
s = socket.create_connection((sys.argv[1], 7), 5)
s.settimeout(5)
def ask():
    begin = time.monotonic()
    try:
        s.sendall(b'hello\\n')
        said = s.recv(100).split()[-1].decode()
    except OSError as error:
        said = type(error).__name__
    print(said, round(time.monotonic() - begin, 3))
ask()
for line in sys.stdin: ask()
`

/** Closes its side at once and then reads on, for as long as it takes. */
const reader = `
import socket, sys
s = socket.create_connection((sys.argv[1], 9), 5)
s.shutdown(socket.SHUT_WR)
s.settimeout(20)
print('half closed')
data = b''
try:
    while part := s.recv(100): data += part
except OSError as error:
    data = type(error).__name__.encode()
print(data.decode())
`

/** Waits for the other side to close and for a line, then answers. */
const lateServer = `
import socket, sys
server = socket.create_server(('::', 9), family=socket.AF_INET6, dualstack_ipv6=True)
print('ready', flush=True)
while True:
    s, _ = server.accept()
    while s.recv(100): pass
    print('closed', flush=True)
    sys.stdin.readline()
    s.sendall(b'late')
    s.close()
`

for (const name of ['tc', 'xdp'] as const) {
  t.test(`${name}: idle for longer than others keep a flow`, async (t) => {
    const way = await Way.build(t, name, 1)
    await way.echo()
    const late = way.backends[0]?.space.spawn('python3', ['-u', '-c', lateServer])
    if (!late) throw new Error('no backend')
    await late.printed(/ready/)
    await way.start({ ports: [7, 9] })
    let closed = 0
    for (const host of way.hosts) {
      const asking = way.python(asker, host)
      t.match(await asking.line(), /^hello /, host)
      const reading = way.python(reader, host)
      t.equal(await reading.line(), 'half closed')
      await late.printed(new RegExp(`(closed\\n){${++closed}}`))

      await way.age(PAST_KEEPALIVE)
      t.match(await asking.ask(), /^hello /, `${host}: data flows after ${PAST_KEEPALIVE} s`)
      await way.age(PAST_KEEPALIVE)
      late.child.stdin?.write('\n')
      t.equal(await reading.line(), 'late', `${host}: one side closed long ago`)

      await way.age(PAST_OURS)
      const [said = '', seconds] = (await asking.ask()).split(' ')
      t.equal(said, 'ConnectionResetError', `${host}: reset, not silence`)
      t.ok(Number(seconds) < 5, `${host}: after ${seconds} s`)
    }
    const label = 'reason="no_flow"'
    t.ok((await way.agent.metric('fairlead_drops_total', label)) >= 2, 'and counted')
  })
}
