/**
 * Short connections from few local ports, one after the other: every SYN meets what the port's last
 * connection left, here and at the backend. Others let it run into that and wait a second for the
 * next SYN, or send it to the same backend for ever.
 */
import t from 'tap'
import { kernelCounter, Way } from '../lib/ways.js'

t.setTimeout(180_000)

const PORTS = 24
const CONNECTIONS = 240

/** For every line, so many requests from the namespace's few ports; prints who answered and the slowest. */
const asker = `
import collections, json, socket, struct, sys, time
host, count = sys.argv[1], int(sys.argv[2])
for line in sys.stdin:
    seen, ports, slowest = collections.Counter(), set(), 0
    for i in range(count):
        begin = time.monotonic()
        try:
            s = socket.create_connection((host, 80), 5)
            ports.add(s.getsockname()[1])
            s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
            data = b''
            while part := s.recv(4096): data += part
            seen[data.split()[-1].decode()] += 1
            # The server has closed, so TIME_WAIT is at the backend; every third ends by a reset.
            if i % 3 == 0:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            s.close()
        except OSError as error:
            seen[type(error).__name__] += 1
        slowest = max(slowest, time.monotonic() - begin)
    print(json.dumps([seen, len(ports), slowest]))
`

for (const name of ['sock', 'tc', 'xdp'] as const) {
  t.test(`${name}: no connection waits, and a new backend gets its share`, async (t) => {
    const way = await Way.build(t, name, 3)
    await way.client.sysctl('net.ipv4.ip_local_port_range', `50000 ${50000 + PORTS - 1}`)
    await way.start({ backends: way.rows(0, 1) })
    const retransmitted = await kernelCounter(way.client, 'TcpExtTCPSynRetrans')
    for (const host of way.hosts) {
      const asking = way.python(asker, host, `${CONNECTIONS}`)
      const round = async (what: string, backends: number) => {
        const [seen, ports, slowest] = JSON.parse(await asking.ask('', 60_000)) as [
          Record<string, number>,
          number,
          number,
        ]
        t.ok(ports <= PORTS, `${ports} ports`)
        t.same(
          seen,
          Object.fromEntries(
            way.backends.slice(0, backends).map(({ id }) => [id, CONNECTIONS / backends]),
          ),
          `${host}: ${what}, slowest ${Math.round(slowest * 1000)} ms`,
        )
      }
      await round('two backends', 2)
      await way.apply({ backends: way.rows(0, 1, 2) })
      await round('and a third', 3)
      await way.apply({ backends: way.rows(0, 1) })
    }
    const again = await kernelCounter(way.client, 'TcpExtTCPSynRetrans')
    t.equal(again - retransmitted, 0, 'no SYN was sent twice')
    const told = await way.agent.metrics()
    const drops = told.split('\n').filter((line) => /^fairlead_drops_total.* [1-9]/.test(line))
    t.same(drops, [], 'nothing was dropped')
  })
}
