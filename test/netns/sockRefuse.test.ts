/** Kernels without bpf_set_retval (before 6.1 for these hooks): refused all the same, as EPERM. */
import t from 'tap'
import { SockPath } from '../lib/sockPath.js'
import { type Failure, SockScene } from '../lib/sockScene.js'

await t.test('without bpf_set_retval a refusal is EPERM', async (t) => {
  const scene = await SockScene.build(t, 0)
  const path = SockPath.load(t, { has_set_retval: 0 })
  path.service({
    id: 1,
    network: 1,
    vips: ['10.60.0.1', 'fd60::1'],
    anyPort: true,
    backends: [],
  })
  await path.attach()
  path.scope(scene.client, 1)
  const failures = await scene.python<Failure[]>(`
out([failure(socket.socket(family_of(vip), SOCK_STREAM).connect, (vip, 80))
     for vip in ('10.60.0.1', 'fd60::1')] +
    [failure(datagram_socket(family_of(vip)).sendto, b'?', (vip, 53))
     for vip in ('10.60.0.1', 'fd60::1')])`)
  t.strictSame(
    failures.map(([name]) => name),
    Array(4).fill('EPERM'),
  )
  t.equal(path.drops('DROP_NO_BACKEND'), 4)
})
