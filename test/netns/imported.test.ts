/** Rules of IPVS, imported, carry traffic as IPVS did: a director between clients and its servers. */
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { Agent, type Definition } from '../lib/agent.js'
import { type Namespace, NetLab, run } from '../lib/netns.js'

const RULES = `
-A -t 192.0.2.100:8080 -s wrr
-a -t 192.0.2.100:8080 -r 10.9.1.2:80 -m -w 2
-a -t 192.0.2.100:8080 -r 10.9.2.2:80 -m -w 1
-A -t 192.0.2.100:8081 -s fo
-a -t 192.0.2.100:8081 -r 10.9.1.2:80 -m -w 1
-a -t 192.0.2.100:8081 -r 10.9.2.2:80 -m -w 9
-A -t [2001:db8::100]:8080 -s rr -p 60
-a -t [2001:db8::100]:8080 -r [fd00:9:1::2]:80 -m -w 1
-a -t [2001:db8::100]:8080 -r [fd00:9:2::2]:80 -m -w 0
-A -t 192.0.2.100:8082 -s sh
-a -t 192.0.2.100:8082 -r 10.9.1.2:80 -m -w 0
`

t.test('a director by imported rules', { timeout: 60_000 }, async (t) => {
  const lab = new NetLab(t)
  const [client, director] = [await lab.namespace('client'), await lab.namespace('director')]
  await director.sysctl('net.ipv4.ip_forward', '1')
  await director.sysctl('net.ipv6.conf.all.forwarding', '1')
  const wire = async (space: Namespace, link: string, net4: string, net6: string, at: string) => {
    await lab.wire(
      { space: director, link, addresses: [`${net4}.1/24`, `${net6}::1/64`] },
      { space, link: 'eth0', addresses: [`${net4}.${at}/24`, `${net6}::${at}/64`] },
    )
    // A wire carries whole checksums.
    await space.run('ethtool', ['-K', 'eth0', 'tx', 'off'])
  }
  await wire(client, 'out0', '192.0.2', '2001:db8', '8')
  for (const number of ['1', '2']) {
    const server = await lab.namespace(`server${number}`)
    await wire(server, `in${number}`, `10.9.${number}`, `fd00:9:${number}`, '2')
    await server.ip('route', 'add', 'default', 'via', `10.9.${number}.1`)
    await server.ip('route', 'add', 'default', 'via', `fd00:9:${number}::1`)
    const program = join(import.meta.dirname, '../lib/peer.js')
    await server.spawn(process.execPath, [program, `server${number}`]).printed(/ready/)
  }

  const agent = new Agent(lab, director, 'director')
  const args = ['import', 'ipvs', '--interface', 'out0', '--interface', 'in*']
  const imported = await run(process.execPath, [agent.program, ...args], { input: RULES })
  t.match(imported.stderr, /:11: near: all weights are 0/)
  const file = parse(imported.stdout) as Definition & { agent: { edge: object } }
  // Programs behind the driver: a veth hands what XDP sends only to a peer with a program of its own.
  agent.write({ ...file, agent: { edge: { ...file.agent.edge, mode: 'generic' } } })
  agent.start('--detach-on-exit')
  await agent.ready()

  const ask = async (host: string, count: number): Promise<string[]> => {
    const answers: string[] = []
    for (let request = 0; request < count; request++) {
      const curl = ['-sS', '--max-time', '10', `http://${host}/`]
      answers.push((await client.run('curl', curl, { mayFail: true })).stdout.trim())
    }
    return answers.sort()
  }
  const [one, two] = ['server1', 'server2']
  t.same(await ask('192.0.2.100:8080', 6), [one, one, one, one, two, two], 'by weight')
  t.same(await ask('192.0.2.100:8081', 3), [two, two, two], 'the heaviest alone')
  t.same(await ask('[2001:db8::100]:8080', 3), [one, one, one], 'not the one of weight 0')
  t.same(await ask('192.0.2.100:8082', 1), [one], 'as the note says')
  const local = await director.run('curl', ['-sS', '--max-time', '10', 'http://192.0.2.100:8081/'])
  t.equal(local.stdout.trim(), two, "the director's own processes too")
  await agent.stop()
})
