/** Backends that dial their own VIP, with real sockets, on both paths and in both families. */
import t from 'tap'
import { Stage, VIP4, VIP6 } from '../lib/stage.js'

const rounds = 1_000

/** Dials HOST over and over by TCP and UDP; prints how many answers each backend gave. */
const program = `
import collections, socket, sys
host, rounds = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ':' in host else socket.AF_INET
for kind in ('tcp', 'udp'):
    seen = collections.Counter()
    for _ in range(rounds):
        s = socket.socket(family, socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
        s.settimeout(5)
        try:
            s.connect((host, 80 if kind == 'tcp' else 53))
            s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
            data = s.recv(4096)
            while kind == 'tcp':
                part = s.recv(4096)
                if not part: break
                data += part
            seen[data.decode().split()[-1 if kind == 'tcp' else 0]] += 1
        except OSError as error:
            seen[type(error).__name__] += 1
        s.close()
    print(kind, *sorted(f'{name}={count}' for name, count in seen.items()))
`

for (const path of ['sock', 'tc'] as const) {
  for (const count of [1, 2]) {
    t.test(`the ${path} path, ${count} backends`, async (t) => {
      const stage = await Stage.build(t, count)
      const [backend] = stage.backends
      if (!backend) throw new Error('no backend')
      const network = {
        ...stage.network(false),
        attach: { bridge: 'br0', sockets: path === 'sock' ? [backend.space.path] : [] },
      }
      await stage.start({ networks: [network], services: [stage.service()] })
      for (const host of [VIP4, VIP6]) {
        const { stdout, stderr } = await backend.space.run(
          'python3',
          ['-c', program, host, String(rounds)],
          { timeoutMs: 60_000, mayFail: true },
        )
        const share = stage.backends.map(({ id }) => `${id}=${rounds / count}`).join(' ')
        const [tcp = '', udp = ''] = stdout.split('\n')
        t.equal(tcp, `tcp ${share}`, `${host} ${stderr}`)
        // A datagram socket that draws a port of an earlier one goes on with that one's flow.
        const got = [...udp.matchAll(/=(\d+)/g)].map(([, number]) => Number(number))
        t.equal(
          got.reduce((sum, number) => sum + number, 0),
          rounds,
          `${host} ${udp}`,
        )
        t.equal(got.length, count)
        for (const number of got) t.ok(Math.abs(number - rounds / count) <= rounds / 50, udp)
      }
    })
  }
}
