/** Datagrams and pings beyond the MTU through a VIP, with real sockets on the tc path. */
import t from 'tap'
import { Stage, VIP4, VIP6 } from '../lib/stage.js'

const server = `
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(('::', 5400))
print('ready', flush=True)
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(data[::-1], peer)
`

/** Sends datagrams of growing size; prints how many came back reversed and from the VIP. */
const client = `
import os, socket, sys
host = sys.argv[1]
s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
good = 0
for size in range(1400, 9000, 100):
    data = os.urandom(size)
    s.sendto(data, (host, 54))
    try:
        back, peer = s.recvfrom(65536)
    except OSError as error:
        print(size, error)
        continue
    good += back == data[::-1] and peer[:2] == (host, 54)
print(good)
`

t.test('datagrams of up to 9,000 bytes, and pings of 4,000', async (t) => {
  const stage = await Stage.build(t)
  for (const { space } of stage.backends)
    await space.spawn('python3', ['-c', server]).printed(/ready/)
  const ports = [80, '54:5400/udp']
  await stage.start(stage.definition(false, stage.service({ ports })))
  for (const host of [VIP4, VIP6]) {
    const { stdout, stderr } = await stage.python(client, host)
    t.equal(stdout, '76\n', `${host} ${stderr}`)
    const ping = await stage.client.run('ping', ['-c', '3', '-i', '0.2', '-s', '4000', host], {
      mayFail: true,
    })
    t.match(ping.stdout, / 0% packet loss/, host)
  }
})
