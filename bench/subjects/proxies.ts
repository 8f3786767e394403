/** Proxies: they take a client's connection and make another one to the backend. TCP alone. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Daemon, until } from '../../test/lib/netns.js'
import { PLACES, PORT, type Stage } from '../frame/stage.js'
import type { Demand, InForce, Subject } from '../frame/subject.js'
import { installed } from './commands.js'

const LISTEN_MS = 10_000

/** Starts it on the core that all of a measurement has, and waits until it listens. */
async function start(
  stage: Stage,
  { cpu = 0 }: Demand,
  config: (folder: string) => string,
  command: (file: string) => string[],
): Promise<InForce> {
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-bench-'))
  stage.lab.atClose(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'config')
  writeFileSync(file, config(folder))
  await stage.balancer.ip('address', 'add', `${PLACES.vip}/32`, 'dev', 'lo')
  const daemon = stage.balancer.spawn('taskset', ['-c', `${cpu}`, ...command(file)])
  await until('the proxy to listen', async () => listens(stage, daemon), LISTEN_MS)
  return {
    tearDown: async () => {
      await daemon.stop()
    },
  }
}

async function listens({ balancer }: Stage, daemon: Daemon): Promise<boolean> {
  if (!daemon.running) throw new Error(`it ended: ${daemon.stderr}`)
  const { stdout } = await balancer.run('ss', ['-Hltn', `sport = :${PORT}`])
  return stdout.includes(PLACES.vip)
}

const haproxyConfig = (backend: string) => `
global
  nbthread 1
  maxconn 2000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen web
  bind ${PLACES.vip}:${PORT}
  server one ${backend}:${PORT}
`

const nginxConfig = (folder: string, backend: string) => `
load_module modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
pid ${folder}/pid;
error_log stderr warn;
events { worker_connections 10000; }
stream {
  upstream web { server ${backend}:${PORT}; }
  server { listen ${PLACES.vip}:${PORT}; proxy_pass web; }
}
`

const STREAM_MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so'

const haproxy: Subject = {
  name: 'haproxy',
  title: 'HAProxy, TCP',
  what: 'mode tcp, one thread, on the core that everything is on',
  family: 'proxy',
  shape: 'local',
  proxy: true,
  unavailable: async () => ((await installed('haproxy')) ? undefined : 'haproxy is not installed'),
  setUp: (stage, demand) =>
    start(
      stage,
      demand,
      () => haproxyConfig(stage.address),
      (file) => ['haproxy', '-db', '-f', file],
    ),
}

const nginx: Subject = {
  name: 'nginx',
  title: 'nginx, stream',
  what: 'the stream module, one worker, on the core that everything is on',
  family: 'proxy',
  shape: 'local',
  proxy: true,
  unavailable: async () =>
    !(await installed('nginx')) || !existsSync(STREAM_MODULE)
      ? 'nginx or its stream module is not installed'
      : undefined,
  setUp: (stage, demand) =>
    start(
      stage,
      demand,
      (folder) => nginxConfig(folder, stage.address),
      (file) => ['nginx', '-c', file],
    ),
}

export const proxies: readonly Subject[] = [haproxy, nginx]
