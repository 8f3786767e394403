/** Name servers, each with one A record, in the foreground and on one core. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Agent } from '../../test/lib/agent.js'
import { DockerEngine, image } from '../../test/lib/engine.js'
import { type Daemon, type Namespace, type NetLab, run } from '../../test/lib/netns.js'
import { installed } from '../subjects/commands.js'

export const NAME = 'web.net1'
const ADDRESS = '10.1.0.9'

export interface Place {
  readonly lab: NetLab
  readonly space: Namespace
  /** Where it listens, port 53. */
  readonly listen: string
  readonly cpu: number
}

/** A server that answers. */
export interface Started {
  /** Whose CPU time counts, with its children's. */
  readonly daemon: Daemon
  /** Where it is asked, if not from the client's namespace: a path of one, and an address there. */
  readonly asked?: { readonly netns: string; readonly address: string }
}

export interface NameServer {
  readonly name: string
  readonly title: string
  unavailable(): Promise<string | undefined>
  start(place: Place): Promise<Started>
}

/** @param files by name, written into a folder that is the command's to use */
function daemon(
  program: string,
  title: string,
  files: (place: Place, folder: string) => Readonly<Record<string, string>>,
  given: (place: Place, folder: string) => readonly string[],
): NameServer {
  return {
    ...{ name: program, title },
    unavailable: async () =>
      (await installed(program)) ? undefined : `${program} is not installed`,
    start(place) {
      const folder = mkdtempSync(join(tmpdir(), 'fairlead-bench-'))
      place.lab.atClose(() => rmSync(folder, { recursive: true, force: true }))
      mkdirSync(join(folder, 'zones'))
      for (const [name, text] of Object.entries(files(place, folder)))
        writeFileSync(join(folder, name), text)
      const command = ['-c', `${place.cpu}`, program, ...given(place, folder)]
      return Promise.resolve({ daemon: place.space.spawn('taskset', command) })
    },
  }
}

const dnsmasq = daemon(
  'dnsmasq',
  'dnsmasq',
  () => ({}),
  ({ listen }) => [
    ...['-k', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--user=root', '--pid-file'],
    ...[`--host-record=${NAME},${ADDRESS}`, `--listen-address=${listen}`, '--bind-interfaces'],
  ],
)

const unbound = daemon(
  'unbound',
  'unbound',
  ({ listen }) => ({
    config: `
server:
  interface: ${listen}
  num-threads: 1
  do-daemonize: no
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  access-control: 0.0.0.0/0 allow
  module-config: "iterator"
  local-zone: "net1." static
  local-data: "${NAME}. 60 IN A ${ADDRESS}"
remote-control:
  control-enable: no
`,
  }),
  (_, folder) => ['-d', '-c', join(folder, 'config')],
)

const nsd = daemon(
  'nsd',
  'nsd',
  ({ listen }, folder) => ({
    config: `
server:
  ip-address: ${listen}
  server-count: 1
  username: ""
  database: ""
  pidfile: "${folder}/pid"
  zonelistfile: "${folder}/list"
  xfrdfile: "${folder}/state"
  xfrdir: "${folder}"
  zonesdir: "${folder}/zones"
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: net1
  zonefile: net1
`,
    'zones/net1': `$ORIGIN net1.
$TTL 60
@ IN SOA ns.net1. admin.net1. 1 3600 600 86400 60
@ IN NS ns.net1.
ns IN A ${ADDRESS}
web IN A ${ADDRESS}
`,
  }),
  (_, folder) => ['-d', '-c', join(folder, 'config')],
)

const fairlead: NameServer = {
  name: 'fairlead',
  title: 'fairlead',
  unavailable: () => Promise.resolve(undefined),
  async start({ lab, space, listen, cpu }) {
    const agent = new Agent(lab, space, 'dns')
    agent.launcher = ['taskset', '-c', `${cpu}`]
    agent.write({
      networks: [{ name: 'net1', subnets: ['10.1.0.0/24'], dns: { listen: [listen] } }],
      services: [{ name: 'web', network: 'net1', vip: ADDRESS, ports: [80], backends: [] }],
    })
    agent.start('--detach-on-exit')
    await agent.ready()
    if (!agent.process) throw new Error('the agent has not started')
    return { daemon: agent.process }
  },
}

/** The engine itself answers in each container's namespace, for names of its networks. */
const docker: NameServer = {
  name: 'docker',
  title: "Docker's resolver",
  unavailable: async () =>
    (await installed('dockerd')) ? undefined : 'there is no Docker engine here',
  async start({ lab, space, cpu }) {
    const engine = await DockerEngine.start(lab, space, 'dns')
    const daemon = engine.process
    if (!daemon) throw new Error('the engine has not started')
    await run('taskset', ['-apc', `${cpu}`, `${daemon.child.pid ?? 0}`])
    await engine.docker('network', 'create', 'net1')
    const given = ['--network', 'net1', '--network-alias', NAME]
    await engine.docker('run', '-d', '--name', 'web', ...given, image, 'sleep', '86400')
    const { State } = await engine.inspect('web')
    return { daemon, asked: { netns: `/proc/${State.Pid}/ns/net`, address: '127.0.0.11' } }
  },
}

export const NAME_SERVERS: readonly NameServer[] = [dnsmasq, unbound, nsd, docker, fairlead]
