/**
 * A machine of its own whose init is systemd, in new namespaces over a copy-on-write view of this one's
 * files; its network is a namespace of a lab. The only unit of note is deploy/fairlead.service.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AgentClient } from '../../src/api/client.js'
import { cgroup2Mount } from '../../src/host/mounts.js'
import { type Daemon, type Namespace, type NetLab, type RunResult, run, until } from './netns.js'

const project = join(import.meta.dirname, '../../..')
const script = join(project, 'test/lib/systemd.sh')
const waitMs = 60_000

/** What every unit has by default, and no more. */
const units = {
  'scene.target': '[Unit]\nRequires=basic.target\nWants=fairlead.service\nAllowIsolate=yes\n',
  'basic.target': '[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\n',
  'sysinit.target': '[Unit]\nDescription=nothing\n',
  'shutdown.target': '[Unit]\nDefaultDependencies=no\n',
}

export class SystemdMachine {
  private constructor(
    private readonly init: number,
    private readonly process: Daemon,
    readonly folder: string,
    /** Its part of the node's cgroup v2. */
    readonly cgroup: string,
  ) {}

  /**
   * Boots; the unit starts by itself.
   *
   * @param file text of /etc/fairlead/fairlead.yaml
   * @param dropIn what the unit has besides, of the section Service
   */
  static async boot(
    lab: NetLab,
    space: Namespace,
    file: string,
    dropIn: string,
  ): Promise<SystemdMachine> {
    const folder = mkdtempSync(join(tmpdir(), `${lab.prefix}-systemd-`))
    lab.atClose(() => rmSync(folder, { recursive: true, force: true }))
    mkdirSync(join(folder, 'units/fairlead.service.d'), { recursive: true })
    for (const [name, text] of Object.entries(units))
      writeFileSync(join(folder, 'units', name), text)
    const log = 'StandardOutput=append:/test/log\nStandardError=append:/test/log\n'
    const drop = `[Service]\n${log}${dropIn}`
    writeFileSync(join(folder, 'units/fairlead.service.d/scene.conf'), drop)
    writeFileSync(join(folder, 'log'), '')
    writeFileSync(join(folder, 'fairlead.yaml'), file)

    const cgroup = join(cgroup2Mount() ?? '', lab.prefix)
    mkdirSync(join(cgroup, 'client'), { recursive: true })
    lab.atClose(() => removeCgroups(cgroup))
    const namespaces = [
      '--mount',
      '--propagation=slave',
      '--pid',
      '--fork',
      '--kill-child',
      '--uts',
      '--ipc',
      '--cgroup',
    ]
    const daemon = space.spawn('sh', [
      ...['-c', 'echo $$ >"$0/cgroup.procs" && exec "$@"', cgroup, 'unshare', ...namespaces],
      ...['sh', script, folder, project],
    ])
    const init = await until('systemd to be there', () => {
      if (!daemon.running) throw new Error(daemon.stdout + daemon.stderr)
      const pid = Number(childrenOf(daemon.child.pid ?? 0)[0])
      const name = pid > 0 ? readFileSync(`/proc/${pid}/comm`, 'utf8').trim() : ''
      return name === 'systemd' ? pid : undefined
    })
    const machine = new SystemdMachine(init, daemon, folder, cgroup)
    await until('systemd to answer', async () => (await machine.try('is-system-running')).stdout)
    return machine
  }

  /** The agent's API. */
  get api(): AgentClient {
    return new AgentClient(`/proc/${this.init}/root/run/fairlead/fairlead.sock`)
  }

  /** Runs a program in there, with systemd's view of processes and files. */
  run(...command: string[]): Promise<RunResult> {
    const within = ['--target', String(this.init), '--mount', '--pid', '--net', '--ipc', '--uts']
    return run('nsenter', [...within, '--', ...command], { mayFail: true, timeoutMs: waitMs })
  }

  try(...args: string[]): Promise<RunResult> {
    return this.run('systemctl', ...args)
  }

  /** A property of the unit. */
  async property(name: string): Promise<string> {
    const { stdout } = await this.try('show', '--property', name, '--value', 'fairlead.service')
    return stdout.trim()
  }

  /** Waits until a property of the unit has a value. */
  async has(name: string, value: string | RegExp): Promise<string> {
    return until(
      `the unit's ${name} to be ${String(value)}`,
      async () => {
        const found = await this.property(name)
        if (typeof value === 'string' ? found === value : value.test(found)) return found || ' '
        throw new Error(`it is ${found}\n${this.lastWords()}`)
      },
      waitMs,
    )
  }

  /** Of the unit's main process, as this machine numbers it. */
  mainPid(): number {
    const [pid] = childrenOf(this.init)
      .map(Number)
      .filter((child) => readFileSync(`/proc/${child}/comm`, 'utf8').trim() === 'node')
    if (pid === undefined) throw new Error('no main process')
    return pid
  }

  /** Starts a program in a namespace, as a process of this machine's cgroups. */
  within(space: Namespace, ...command: string[]): Promise<RunResult> {
    const join = ['-c', 'echo $$ >"$0/client/cgroup.procs" && exec "$@"', this.cgroup]
    const enter = ['nsenter', `--net=${space.path}`, '--', ...command]
    return run('sh', [...join, ...enter], { mayFail: true })
  }

  lastWords(): string {
    return (readFileSync(join(this.folder, 'log'), 'utf8') + this.process.stderr).slice(-3_000)
  }
}

function childrenOf(pid: number): string[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    return text.split(' ').filter(Boolean)
  } catch {
    return []
  }
}

/** Those below first; they are empty when all processes are gone. */
function removeCgroups(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true }))
    if (entry.isDirectory()) removeCgroups(join(path, entry.name))
  for (let turn = 0; turn < 50; turn++) {
    try {
      rmdirSync(path)
      return
    } catch {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
    }
  }
}
