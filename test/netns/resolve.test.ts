/** The clients that people have, resolving through an agent from inside a container. */
import t from 'tap'
import { Stage, VIP4, VIP6 } from '../lib/stage.js'

t.test('every client resolves the service', async (t) => {
  const stage = await Stage.build(t)
  await stage.start(stage.definition(true))
  const { client } = stage
  const run = async (file: string, ...args: string[]): Promise<string> =>
    (await client.run(file, args)).stdout.trim()

  t.equal(await run('dig', '+short', 'web'), VIP4, 'dig')
  t.equal(await run('dig', '+short', 'web', 'AAAA'), VIP6, 'dig AAAA')
  t.equal(await run('dig', '+short', '+tcp', 'WEB.net1'), VIP4, 'dig over TCP')
  t.same(
    (await run('dig', '+short', 'tasks.web')).split('\n').sort(),
    stage.backends.map(({ v4 }) => v4),
    'dig of the tasks',
  )
  t.equal(await run('dig', '+short', '-x', VIP4), 'web.net1.', 'dig backwards')
  t.match(
    await run('host', 'web.'),
    new RegExp(`has address ${VIP4}[^]*IPv6 address ${VIP6}`),
    'host',
  )
  t.match(await run('getent', 'ahostsv4', 'web'), new RegExp(`^${VIP4}\\s`), 'getent, IPv4')
  t.match(await run('getent', 'ahostsv6', 'web'), new RegExp(`^${VIP6}\\s`), 'getent, IPv6')
  t.match(await run('getent', 'hosts', VIP4), /web\.net1/, 'getent backwards')
  const lookup = `require('dns').lookup('web', {all: true}, (e, a) => console.log(e ?? JSON.stringify(a.map((x) => x.address).sort())))`
  t.same(
    JSON.parse(await run(process.execPath, '-e', lookup)),
    [VIP4, VIP6],
    'Node, through getaddrinfo',
  )
  const resolver = `require('dns').resolve4('web', (e, a) => console.log(e ?? a[0]))`
  t.equal(await run(process.execPath, '-e', resolver), VIP4, 'Node, through c-ares')
  const python = `import socket; print(sorted({a[4][0] for a in socket.getaddrinfo('web', 80)}))`
  t.equal(await run('python3', '-c', python), `['${VIP4}', '${VIP6}']`, 'Python')
  const curl = await run('curl', '-sS', '--max-time', '5', 'http://web/')
  t.ok(
    stage.backends.some(({ id }) => id === curl),
    'curl reaches a backend by name',
  )
  const absent = await client.run('getent', ['hosts', 'nothere'], { mayFail: true })
  t.equal(absent.code, 2, 'a name that is not there is not found')
})
