/**
 * Checksums end to end on the tc path. A receiver whose peer sends finished checksums verifies them,
 * so each end's and each host side's offload is switched off in turn: a wrong sum is a lost packet.
 */
import t, { type Test } from 'tap'
import { type Namespace } from '../lib/netns.js'
import { Stage, VIP4, VIP6 } from '../lib/stage.js'

/** Dials; prints what the kernel says of a port that is refused. */
const refused = `
import socket, sys
host, kind = sys.argv[1], sys.argv[2]
s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET,
                  socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
s.settimeout(3)
try:
    s.connect((host, 9))
    s.send(b'x')
    s.recv(1)
    print('answered')
except Exception as error:
    print(type(error).__name__)
`
const datagram = `
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.sendto(b'x' * int(sys.argv[2]), (sys.argv[1], 53))
print(s.recv(100).decode().split()[0])
`

t.test('with each offload on and off', async (t) => {
  const stage = await Stage.build(t, 1)
  await stage.start(stage.definition(false))
  const [backend] = stage.backends
  if (!backend) throw new Error('no backend')
  const ends: { title: string; space: Namespace; link: string }[] = [
    { title: 'client', space: stage.client, link: 'eth0' },
    { title: "client's host side", space: stage.node, link: 'v-client' },
    { title: 'backend', space: backend.space, link: 'eth0' },
    { title: "backend's host side", space: stage.node, link: 'v-b0' },
  ]
  const set = (end: { space: Namespace; link: string }, state: 'on' | 'off') =>
    end.space.run('ethtool', ['-K', end.link, 'tx', state, 'rx', state])

  const works = async (t: Test): Promise<void> => {
    for (const vip of [VIP4, VIP6]) {
      const host = vip.includes(':') ? `[${vip}]` : vip
      t.equal((await stage.curl(`http://${host}/`)).stdout.trim(), backend.id, `TCP to ${vip}`)
      const size = (await stage.curl(`http://${host}/bulk?300000`)).stdout.length
      t.ok(size > 200_000, `a stream from ${vip}`)
      for (const bytes of ['1', '1200'])
        t.equal(
          (await stage.python(datagram, vip, bytes)).stdout.trim(),
          backend.id,
          `UDP of ${bytes} bytes to ${vip}`,
        )
      for (const kind of ['tcp', 'udp'])
        t.equal(
          (await stage.python(refused, vip, kind)).stdout.trim(),
          'ConnectionRefusedError',
          `${kind} to a port that ${vip} does not have`,
        )
      const ping = await stage.client.run('ping', ['-c1', '-W2', '-s1000', vip], { mayFail: true })
      t.equal(ping.code, 0, `echo from ${vip}`)
    }
  }

  await t.test('all on', works)
  for (const end of ends) {
    await set(end, 'off')
    await t.test(`${end.title} off`, works)
    await set(end, 'on')
  }
  for (const end of ends) await set(end, 'off')
  await t.test('all off', works)
})
