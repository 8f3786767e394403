/**
 * deploy/fairlead.service under a real systemd: every restriction in it holds against what the agent does,
 * and readiness, watchdog, reload and end are as they should be.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { stringify } from 'yaml'
import { EDGE, EdgeStage } from '../lib/edgeStage.js'
import { run, until } from '../lib/netns.js'
import { SystemdMachine } from '../lib/systemd.js'

const unit = join(import.meta.dirname, '../../../deploy/fairlead.service')
/** include/uapi/linux/capability.h: NET_BIND_SERVICE, NET_ADMIN, NET_RAW, SYS_ADMIN. */
const capabilities = [10, 12, 13, 21]

t.test('the agent does its work within the unit’s limits', async (t) => {
  const stage = await EdgeStage.build(t)
  const { lab, node } = stage
  const pins = `/sys/fs/bpf/${lab.prefix}-unit`
  lab.atClose(() => rmSync(pins, { recursive: true, force: true }))
  const exec = { type: 'exec', command: ['ping', '-c', '1', '-W', '2', '{address}'] }
  const { networks, services } = stage.definition('native', { health: exec })
  const text = (more: object[] = []): string =>
    stringify({
      version: 1,
      agent: {
        ...{ node: 'node', pins, dns: { upstreams: [] }, log: { format: 'pretty' } },
        edge: { interfaces: ['eth*'], mode: 'native' },
      },
      networks: networks.map((network) => ({
        ...network,
        attach: { bridge: 'br0', sockets: [`/run/netns/${lab.prefix}-late*`] },
        dns: { listen: ['10.1.0.1'] },
      })),
      services: [...services, ...more],
    })
  const machine = await SystemdMachine.boot(lab, node, text(), 'WatchdogSec=4\nRestartSec=1\n')
  await machine.has('ActiveState', 'active')

  await t.test('ready once it answers', async (t) => {
    t.equal(await machine.property('StatusText'), '1 service on 1 network')
    const { revision, problems } = await machine.api.status()
    t.ok(revision.answering > 0)
    t.equal(problems, 0, JSON.stringify(await machine.api.problems()))
    t.match((await stage.curl(`http://${EDGE.near4}/`)).stdout, /backend/)
  })

  await t.test('with these capabilities and no other', (t) => {
    const status = readFileSync(`/proc/${machine.mainPid()}/status`, 'utf8')
    const field = (name: string) => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? ''
    const expected = capabilities.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n)
    for (const set of ['CapBnd', 'CapEff', 'CapPrm'])
      t.equal(BigInt(`0x${field(set)}`), expected, set)
    t.equal(field('NoNewPrivs'), '1')
    t.equal(field('Seccomp'), '2')
    t.end()
  })

  await t.test('XDP, tc, the socket hooks, DNS and checks work', async (t) => {
    const hooks = (await machine.api.status()).attachments.map(({ hook }) => hook)
    t.ok(hooks.includes('xdp'), hooks.join())
    const [service] = await machine.api.services()
    t.equal(service?.name, 'web')
    await until('checks to pass', async () => {
      const { backends = [] } = (await machine.api.services())[0] ?? {}
      if (backends.every(({ health }) => health?.result === 'ok')) return true
      throw new Error(JSON.stringify(backends))
    })
    // After the agent: its mounts have to follow those of the node.
    const late = await lab.container(node, 'late', { addresses: ['10.1.0.20/24'], bridge: 'br0' })
    const ask = (...options: string[]) =>
      machine.within(late, 'curl', '-sS', '--max-time', '5', ...options, `http://${EDGE.far4}/`)
    const bySocket = async () =>
      (await machine.api.services())[0]?.counters
        .filter(({ path }) => path === 'sock')
        .reduce((sum, { connections }) => sum + connections, 0) ?? 0
    await until('the socket path', async () => {
      const { stdout, stderr } = await ask()
      if (!stdout.includes('backend')) throw new Error(stderr)
      return (await bySocket()) > 0
    })
    const dig = await machine.within(late, 'dig', '+short', '@10.1.0.1', 'web')
    t.same(dig.stdout.trim().split('\n').sort(), [EDGE.far4, EDGE.near4].sort())
    const ping = await machine.within(late, 'ping', '-c', '1', '-W', '5', EDGE.far4)
    t.equal(ping.code, 0, ping.stdout + ping.stderr)
  })

  await t.test('a reload tells whether the file is good', async (t) => {
    const write = async (yaml: string): Promise<void> => {
      writeFileSync(join(machine.folder, 'fairlead.yaml'), yaml)
      await machine.run('cp', '/test/fairlead.yaml', '/etc/fairlead/fairlead.yaml')
    }
    await write(text([{ name: 'more', network: 'net1', ports: [80], backends: ['10.1.0.10'] }]))
    const good = await machine.try('reload', 'fairlead.service')
    t.equal(good.code, 0, good.stderr + machine.lastWords())
    await machine.has('StatusText', /^2 services/)
    await write('version: 1\nnetworks: [\n')
    t.not((await machine.try('reload', 'fairlead.service')).code, 0)
    await machine.has('ActiveState', 'active')
    await write(text())
    t.equal((await machine.try('reload', 'fairlead.service')).code, 0)
  })

  await t.test('an agent that hangs is replaced, and traffic goes on meanwhile', async (t) => {
    const before = machine.mainPid()
    process.kill(before, 'SIGSTOP')
    await machine.has('NRestarts', '1')
    t.match((await stage.curl(`http://${EDGE.near4}/`)).stdout, /backend/)
    await machine.has('ActiveState', 'active')
    t.not(machine.mainPid(), before)
  })

  await t.test('it ends in order, and traffic goes on', async (t) => {
    const { code, stderr } = await machine.try('stop', 'fairlead.service')
    t.equal(code, 0, stderr)
    t.equal(await machine.property('Result'), 'success', machine.lastWords())
    t.match((await stage.curl(`http://${EDGE.near4}/`)).stdout, /backend/)
  })
})

t.test('systemd finds nothing to say about the unit', async (t) => {
  const { code, stdout, stderr } = await run('systemd-analyze', ['verify', unit], {
    mayFail: true,
  })
  // The program is where install.sh puts it, which this machine need not have.
  const said = (stdout + stderr)
    .split('\n')
    .filter((line) => line !== '' && !line.includes('/usr/local/bin/fairlead'))
  t.same(said, [])
  t.ok(code === 0 || stderr.includes('/usr/local/bin/fairlead'))
  const exposure = await run('systemd-analyze', ['security', '--offline=true', unit])
  const level = Number(/exposure level[^0-9]*([0-9.]+)/.exec(exposure.stdout)?.[1])
  t.ok(level < 4, `exposure ${level}`)
  t.comment(`exposure ${level}`)
})
