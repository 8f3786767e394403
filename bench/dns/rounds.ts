/** Name servers asked in turn by dnsperf, which has a core of its own. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Daemon, NetLab, run, until } from '../../test/lib/netns.js'
import { NAME, NAME_SERVERS, type NameServer } from './servers.js'

/** Ticks of /proc: the kernel's USER_HZ, which is 100 everywhere. */
const TICKS_A_SECOND = 100

export interface Asked {
  readonly server: string
  readonly round: number
  /** Queries that were answered. */
  readonly answered: number
  /** Of the server, seconds. */
  readonly cpuSeconds: number
  readonly seconds: number
  /** Average, microseconds. */
  readonly latencyUs: number
}

export interface DnsRun {
  readonly asked: readonly Asked[]
  readonly leftOut: readonly { readonly subject: string; readonly reason: string }[]
}

export interface DnsOptions {
  readonly chosen: (name: string) => boolean
  readonly rounds: number
  readonly seconds: number
  readonly serverCpu: number
  readonly clientCpu: number
  readonly progress: (what: string) => void
  readonly stop: AbortSignal
}

interface Stat {
  readonly parent: number
  readonly ticks: number
}

function statOf(pid: number): Stat | undefined {
  try {
    // The command's name, in brackets, may have blanks; fields count from behind it.
    const [, rest = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')
    const fields = rest.split(' ').map(Number)
    return { parent: fields[1] ?? 0, ticks: (fields[11] ?? 0) + (fields[12] ?? 0) }
  } catch {
    return undefined
  }
}

/** CPU time of a process and all that it has started, seconds. */
function cpuSeconds(root: number): number {
  const stats = new Map<number, Stat>()
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    const stat = statOf(Number(name))
    if (stat) stats.set(Number(name), stat)
  }
  const belongs = (pid: number): boolean =>
    pid === root || (pid > 1 && belongs(stats.get(pid)?.parent ?? 0))
  let ticks = 0
  for (const [pid, stat] of stats) if (belongs(pid)) ticks += stat.ticks
  return ticks / TICKS_A_SECOND
}

interface Standing {
  readonly server: NameServer
  readonly daemon: Daemon
  /** Of where it is asked: a path. */
  readonly netns: string
  readonly address: string
}

async function stand(lab: NetLab, server: NameServer, at: number, cpu: number): Promise<Standing> {
  const client = await lab.namespace(`${at}c`)
  const space = await lab.namespace(`${at}s`)
  const listen = '192.0.2.1'
  await lab.wire(
    { space: client, link: 'eth0', addresses: ['192.0.2.8/24'] },
    { space, link: 'eth0', addresses: [`${listen}/24`] },
  )
  const { daemon, asked } = await server.start({ lab, space, listen, cpu })
  const { netns, address } = asked ?? { netns: client.path, address: listen }
  await until(
    `${server.name} to answer`,
    async () => {
      if (!daemon.running) throw new Error(`it ended: ${daemon.stdout}${daemon.stderr}`)
      const question = ['dig', '+short', '+tries=1', '+time=1', `@${address}`, NAME]
      const { stdout } = await run('nsenter', [`--net=${netns}`, '--', ...question], {
        mayFail: true,
      })
      return stdout.trim() !== ''
    },
    20_000,
  )
  return { server, daemon, netns, address }
}

async function ask(
  { server, daemon, netns, address }: Standing,
  file: string,
  round: number,
  { seconds, clientCpu }: DnsOptions,
): Promise<Asked> {
  const before = cpuSeconds(daemon.child.pid ?? 0)
  const { stdout } = await run(
    'nsenter',
    [
      ...[`--net=${netns}`, '--', 'taskset', '-c', `${clientCpu}`],
      ...[
        'dnsperf',
        '-s',
        address,
        '-d',
        file,
        '-l',
        `${seconds}`,
        '-c',
        '4',
        '-q',
        '32',
        '-T',
        '1',
      ],
    ],
    { timeoutMs: (seconds + 20) * 1000 },
  )
  const used = cpuSeconds(daemon.child.pid ?? 0) - before
  const figure = (pattern: RegExp) => Number(pattern.exec(stdout)?.[1] ?? NaN)
  return {
    ...{ server: server.name, round, cpuSeconds: used },
    answered: figure(/Queries completed:\s+(\d+)/),
    seconds: figure(/Run time \(s\):\s+([\d.]+)/),
    latencyUs: figure(/Average Latency \(s\):\s+([\d.]+)/) * 1e6,
  }
}

export async function measureDns(options: DnsOptions): Promise<DnsRun> {
  const { chosen, rounds, serverCpu, progress, stop } = options
  const lab = new NetLab(undefined, 'b')
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-bench-'))
  const queries = join(folder, 'queries')
  writeFileSync(queries, `${NAME} A\n`)
  const asked: Asked[] = []
  const leftOut: { subject: string; reason: string }[] = []
  try {
    const standing: Standing[] = []
    for (const [at, server] of NAME_SERVERS.entries()) {
      if (!chosen(server.name)) continue
      progress(`dns: setting up ${server.name}`)
      const reason = await server.unavailable()
      if (reason !== undefined) leftOut.push({ subject: server.name, reason })
      else standing.push(await stand(lab, server, at, serverCpu))
    }
    for (let round = 0; round <= rounds; round++)
      for (const one of round % 2 ? [...standing].reverse() : standing) {
        stop.throwIfAborted()
        progress(`dns: round ${round} of ${rounds}, ${one.server.name}`)
        const result = await ask(one, queries, round, options)
        // The first round warms up.
        if (round > 0) asked.push(result)
      }
  } finally {
    await lab.close()
    rmSync(folder, { recursive: true, force: true })
  }
  return { asked, leftOut }
}
