/**
 * A real Docker engine in a namespace of a lab: its own network namespace, name, storage and socket, so
 * that it shares nothing with one that the machine may have. Its image is a tree with busybox in it.
 */
import { type ChildProcess, execFileSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Daemon, type Namespace, type NetLab, type RunResult, run, until } from './netns.js'

/** The package's own client, whatever else the PATH has. */
const client = '/usr/bin/docker'
export const image = 'fairlead/box:1'
/** Starting, answering, stopping: on a loaded machine each takes its time. */
export const engineWaitMs = 60_000

/** Says its host name over HTTP; told to end, it serves on for $GRACE seconds. */
const serve = `#!/bin/sh
hostname >/www/index.html
httpd -p 80 -h /www
trap 'sleep \${GRACE:-0}; exit 0' TERM
while :; do sleep 1 & wait $!; done
`
/** Says who asks. */
const whoAsks = `#!/bin/sh
printf 'content-type: text/plain\\r\\n\\r\\n%s %s\\n' "$(hostname)" "$REMOTE_ADDR"
`
/** Three million bytes. */
const bulk = `#!/bin/sh
printf 'content-type: application/octet-stream\\r\\n\\r\\n'
head -c 3000000 /dev/zero
`
const applets = [
  ...[
    'sh',
    'cat',
    'head',
    'hostname',
    'httpd',
    'ip',
    'kill',
    'ls',
    'nc',
    'nslookup',
    'ping',
    'printf',
    'rm',
  ],
  ...['sleep', 'touch', 'traceroute', 'wget'],
]

/** A tar file of an image's tree, once a process. */
let archive: string | undefined
function imageArchive(lab: NetLab): string {
  if (archive !== undefined && existsSync(archive)) return archive
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-image-'))
  lab.atClose(() => {
    archive = undefined
    rmSync(folder, { recursive: true, force: true })
  })
  const tree = join(folder, 'tree')
  for (const name of ['bin', 'www/cgi-bin', 'tmp', 'etc'])
    mkdirSync(join(tree, name), { recursive: true })
  copyFileSync('/usr/bin/busybox', join(tree, 'bin/busybox'))
  for (const applet of applets) symlinkSync('busybox', join(tree, 'bin', applet))
  for (const [name, script] of [
    ['bin/serve', serve],
    ['www/cgi-bin/client', whoAsks],
    ['www/cgi-bin/bulk', bulk],
  ] as const) {
    writeFileSync(join(tree, name), script)
    chmodSync(join(tree, name), 0o755)
  }
  archive = join(folder, 'image.tar')
  execFileSync('tar', ['-C', tree, '-cf', archive, '.'])
  return archive
}

export class DockerEngine {
  readonly folder: string
  readonly socket: string
  readonly execRoot: string
  process: Daemon | undefined

  private constructor(
    lab: NetLab,
    readonly space: Namespace,
    /** Host name of the engine. */
    readonly name: string,
    private readonly options: readonly string[],
  ) {
    // Short: a unix socket's path has room for 107 characters.
    this.folder = mkdtempSync(join(tmpdir(), `${lab.prefix}-${name}-`))
    this.socket = join(this.folder, 'docker.sock')
    this.execRoot = join(this.folder, 'exec')
    lab.atClose(() => this.#remove())
  }

  /** Starts an engine with the image in it. */
  static async start(
    lab: NetLab,
    space: Namespace,
    name: string,
    options: readonly string[] = [],
  ): Promise<DockerEngine> {
    const engine = new DockerEngine(lab, space, name, options)
    await engine.run()
    await engine.docker('import', imageArchive(lab), image)
    return engine
  }

  /** Starts the daemon, again perhaps. */
  async run(): Promise<void> {
    const { folder, execRoot, socket } = this
    // Killed processes that nobody reaps count as alive, and would be waited for.
    for (const file of [join(folder, 'pid'), join(execRoot, 'containerd/containerd.pid')])
      rmSync(file, { force: true })
    // Not by `ip netns exec`: it mounts /sys anew, without the cgroups.
    const daemon = this.space.spawn('unshare', [
      ...['--uts', 'sh', '-c', 'hostname "$0" && exec "$@"', this.name, 'dockerd'],
      ...['--data-root', join(folder, 'data'), '--exec-root', execRoot],
      ...['--pidfile', join(folder, 'pid'), '--host', `unix://${socket}`],
      ...['--userland-proxy=false', ...this.options],
    ])
    this.process = daemon
    await until(
      `engine ${this.name} to answer`,
      async () => daemon.running && (await this.docker('version')) !== '',
      engineWaitMs,
    ).catch((cause: unknown) => {
      throw new Error(`engine ${this.name}: ${daemon.stderr.slice(-2_000)}`, { cause })
    })
  }

  /** Runs the client. @returns its output, trimmed */
  async docker(...args: string[]): Promise<string> {
    return (await this.try(...args)).stdout.trim()
  }

  /** The same with its exit code, which must be 0 unless `mayFail`. */
  try(...args: string[]): Promise<RunResult> {
    return run(client, ['--host', `unix://${this.socket}`, ...args], { timeoutMs: engineWaitMs })
  }

  /** Runs a program in a container; it may fail. */
  exec(container: string, ...command: string[]): Promise<RunResult> {
    return run(client, ['--host', `unix://${this.socket}`, 'exec', container, ...command], {
      timeoutMs: 30_000,
      mayFail: true,
    })
  }

  async inspect(container: string): Promise<Inspected> {
    const [found] = JSON.parse(await this.docker('inspect', container)) as Inspected[]
    if (!found) throw new Error(`no container ${container}`)
    return found
  }

  /** Ends the daemon in order: its containers end first, unless it was started with --live-restore. */
  async stop(): Promise<void> {
    await this.process?.stop('SIGTERM', engineWaitMs)
  }

  /** What is left of it: shims outlive a daemon, namespaces and layers stay mounted. */
  #remove(): void {
    endAll(this.process?.child, this.folder)
    const mounts = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[1] ?? '')
      .filter((path) => path.startsWith(`${this.folder}/`))
    for (const path of mounts.reverse()) {
      try {
        execFileSync('umount', ['--lazy', path], { stdio: 'ignore' })
      } catch {
        // Went with another one.
      }
    }
    rmSync(this.folder, { recursive: true, force: true })
  }
}

export interface Inspected {
  readonly Id: string
  readonly State: { readonly Pid: number }
  readonly NetworkSettings: {
    readonly SandboxKey: string
    readonly Networks: Record<string, { readonly IPAddress: string }>
  }
}

/**
 * Kills what belongs to an engine: processes that name its folder (containerd, shims), then what runs
 * in the containers, whose parents the shims are.
 */
function endAll(daemon: ChildProcess | undefined, folder: string): void {
  daemon?.kill('SIGKILL')
  for (let turn = 0; turn < 5; turn++) {
    const processes = readProcesses()
    const named = processes.filter(({ command }) => command.includes(`${folder}/`))
    const pids = new Set(named.map(({ pid }) => pid))
    for (let before = -1; before < pids.size;) {
      before = pids.size
      for (const { pid, parent } of processes) if (pids.has(parent)) pids.add(pid)
    }
    pids.delete(process.pid)
    if (pids.size === 0) return
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It ended by itself.
      }
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100)
  }
}

function readProcesses(): { pid: number; parent: number; command: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ')
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
        const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
        return [{ pid: Number(name), parent, command }]
      } catch {
        return []
      }
    })
}
