/**
 * A laboratory of network namespaces: nodes with bridges and wires, containers behind veths, and
 * the processes that run in them. Everything made is removed by `close()`, and by the exit of the
 * process if that was not reached. Packets never leave the namespaces: none has a default route
 * unless a test adds one towards another of its own namespaces.
 */
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'

export interface RunResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly timeoutMs?: number
  readonly input?: string
  /** Do not throw on a non-zero exit. */
  readonly mayFail?: boolean
  readonly env?: NodeJS.ProcessEnv
}

/** A unicast address, locally administered. */
function randomMac(): string {
  return ['02', ...[...randomBytes(5)].map((byte) => byte.toString(16).padStart(2, '0'))].join(':')
}

/** Runs a program without a shell. Throws with its stderr on a non-zero exit unless `mayFail`. */
export function run(
  file: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      file,
      args,
      {
        timeout: options.timeoutMs ?? 45_000,
        killSignal: 'SIGKILL',
        maxBuffer: 64 << 20,
        env: options.env ?? process.env,
      },
      (error, stdout, stderr) => {
        const code = error ? (typeof error.code === 'number' ? error.code : -1) : 0
        if (error && !options.mayFail)
          reject(new Error(`${file} ${args.join(' ')}: exit ${code}: ${stderr || error.message}`))
        else resolve({ code, stdout, stderr })
      },
    )
    // A program may end without reading: its exit code tells more than EPIPE.
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(options.input ?? '')
  })
}

/** A long-running process of a lab, with what it printed. */
export class Daemon {
  stdout = ''
  stderr = ''
  readonly exited: Promise<number>

  constructor(
    readonly child: ChildProcess,
    readonly title: string,
  ) {
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.stdout += text))
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text))
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve(code ?? (signal ? -1 : 0)))
      child.once('error', () => resolve(-1))
    })
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  /** Resolves once stdout matches; rejects when the process ends first or time is up. */
  async printed(pattern: RegExp, timeoutMs = 45_000): Promise<RegExpMatchArray> {
    const deadline = Date.now() + timeoutMs
    for (;;) {
      const match = this.stdout.match(pattern)
      if (match) return match
      if (!this.running || Date.now() > deadline)
        throw new Error(
          `${this.title}: no ${String(pattern)} (${this.running ? 'time is up' : 'it ended'})\n${this.stdout}${this.stderr}`,
        )
      await sleep(20)
    }
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM', timeoutMs = 5_000): Promise<number> {
    if (!this.running) return this.exited
    this.child.kill(signal)
    const timer = setTimeout(() => this.child.kill('SIGKILL'), timeoutMs)
    const code = await this.exited
    clearTimeout(timer)
    return code
  }
}

export class Namespace {
  readonly path: string

  constructor(
    private readonly lab: NetLab,
    readonly name: string,
  ) {
    this.path = `/run/netns/${name}`
  }

  /** Runs in this namespace, with its own /etc/resolv.conf if `resolver` was called. */
  run(file: string, args: readonly string[], options?: RunOptions): Promise<RunResult> {
    return run('ip', ['netns', 'exec', this.name, file, ...args], options)
  }

  async ip(...args: string[]): Promise<string> {
    return (await run('ip', ['-n', this.name, ...args])).stdout
  }

  /** Starts a process here; the lab ends it at close. Mounts stay the caller's (bpffs, cgroup). */
  spawn(file: string, args: readonly string[], env?: NodeJS.ProcessEnv): Daemon {
    return this.lab.start('nsenter', [`--net=${this.path}`, '--', file, ...args], env)
  }

  /** Starts a process that sees this namespace's /etc/resolv.conf. */
  spawnResolving(file: string, args: readonly string[]): Daemon {
    return this.lab.start('ip', ['netns', 'exec', this.name, file, ...args])
  }

  /** Gives processes of `run` a resolver: `ip netns exec` binds /etc/netns/NAME over /etc. */
  resolver(servers: readonly string[], options = 'timeout:2 attempts:2'): void {
    const folder = `/etc/netns/${this.name}`
    mkdirSync(folder, { recursive: true })
    const lines = servers.map((server) => `nameserver ${server}`)
    writeFileSync(`${folder}/resolv.conf`, [...lines, `options ${options}`, ''].join('\n'))
    this.lab.atClose(() => rmSync(folder, { recursive: true, force: true }))
  }

  async sysctl(key: string, value: string): Promise<void> {
    await this.run('sysctl', ['-qw', `${key}=${value}`])
  }

  /** MAC address of an interface, lower case. */
  async mac(link: string): Promise<string> {
    const [found] = JSON.parse(await this.ip('-j', 'link', 'show', link)) as { address: string }[]
    if (!found) throw new Error(`${this.name}: no interface ${link}`)
    return found.address
  }
}

export interface ContainerOptions {
  /** CIDR, of either family. */
  readonly addresses: readonly string[]
  /** The node's bridge that the host side joins; absent: it stays alone. */
  readonly bridge?: string
  /** Name of the host side; default v-NAME. */
  readonly hostLink?: string
}

/** What tap gives; a script without tap passes nothing and calls close() itself. */
interface Teardown {
  teardown(callback: () => Promise<void>): void
}

let labs = 0

/** What a terminal, CI and tap's time limit end a process with. */
const endings = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGALRM'] as const

export class NetLab {
  /** Unique on the machine: two runs at a time do not meet. */
  readonly prefix: string
  private readonly spaces: Namespace[] = []
  private readonly daemons: Daemon[] = []
  private readonly closers: (() => void)[] = []
  private readonly onExit = (): void => this.closeNow()
  private readonly onSignal = (signal: NodeJS.Signals): void => {
    this.closeNow()
    process.kill(process.pid, signal)
  }
  private closed = false

  constructor(t?: Teardown, label = 'fl') {
    this.prefix = `${label}${process.pid.toString(36)}${(labs++).toString(36)}`
    process.once('exit', this.onExit)
    for (const signal of endings) process.once(signal, this.onSignal)
    t?.teardown(() => this.close())
  }

  async namespace(name: string): Promise<Namespace> {
    const space = new Namespace(this, `${this.prefix}-${name}`)
    // First, so that an end in between leaves nothing.
    this.spaces.push(space)
    await run('ip', ['netns', 'add', space.name])
    await space.ip('link', 'set', 'lo', 'up')
    return space
  }

  /** Two namespaces joined by a veth: a wire. */
  async wire(
    left: { space: Namespace; link: string; addresses: readonly string[] },
    right: { space: Namespace; link: string; addresses: readonly string[] },
  ): Promise<void> {
    const peer = ['peer', 'name', right.link, 'netns', right.space.name]
    await run('ip', [
      ...['link', 'add', left.link, 'netns', left.space.name, 'type', 'veth'],
      ...peer,
    ])
    for (const end of [left, right]) {
      for (const address of end.addresses) await addAddress(end.space, end.link, address)
      await end.space.ip('link', 'set', end.link, 'up')
    }
  }

  /** A bridge in `node`, up, with the addresses given (often none). */
  async bridge(node: Namespace, link: string, addresses: readonly string[] = []): Promise<void> {
    await node.ip('link', 'add', link, 'type', 'bridge', 'forward_delay', '0')
    // Set, as engines do: without that it becomes another one when ports come and go, and neighbours
    // that know the former one are cut off for half a minute.
    await node.ip('link', 'set', link, 'address', randomMac())
    for (const address of addresses) await addAddress(node, link, address)
    await node.ip('link', 'set', link, 'up')
  }

  /** A container: a namespace whose eth0 is a veth with its host side in `node`. */
  async container(node: Namespace, name: string, options: ContainerOptions): Promise<Namespace> {
    const space = await this.namespace(name)
    await this.plug(node, space, { ...options, hostLink: options.hostLink ?? `v-${name}` })
    return space
  }

  /** Gives an existing namespace an eth0 (again). */
  async plug(
    node: Namespace,
    space: Namespace,
    options: ContainerOptions & { hostLink: string; link?: string },
  ): Promise<void> {
    const link = options.link ?? 'eth0'
    await run('ip', [
      ...['link', 'add', options.hostLink, 'netns', node.name, 'type', 'veth'],
      ...['peer', 'name', link, 'netns', space.name],
    ])
    if (options.bridge) await node.ip('link', 'set', options.hostLink, 'master', options.bridge)
    for (const address of options.addresses) await addAddress(space, link, address)
    await space.ip('link', 'set', link, 'up')
    await node.ip('link', 'set', options.hostLink, 'up')
  }

  async remove(space: Namespace): Promise<void> {
    const at = this.spaces.indexOf(space)
    if (at >= 0) this.spaces.splice(at, 1)
    await run('ip', ['netns', 'del', space.name])
  }

  start(file: string, args: readonly string[], env?: NodeJS.ProcessEnv): Daemon {
    const child = spawn(file, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: env ?? process.env,
    })
    const daemon = new Daemon(child, `${file} ${args.join(' ')}`)
    this.daemons.push(daemon)
    return daemon
  }

  /** Registers a synchronous clean-up, run last-first after processes ended. */
  atClose(closer: () => void): void {
    this.closers.push(closer)
  }

  async close(): Promise<void> {
    if (this.closed) return
    await Promise.all(this.daemons.map((daemon) => daemon.stop('SIGTERM', 3_000)))
    this.closeNow()
    process.off('exit', this.onExit)
    for (const signal of endings) process.off(signal, this.onSignal)
  }

  private closeNow(): void {
    if (this.closed) return
    this.closed = true
    for (const daemon of this.daemons) if (daemon.running) daemon.child.kill('SIGKILL')
    for (const closer of this.closers.reverse()) attempt(closer)
    for (const space of this.spaces)
      attempt(() => execFileSync('ip', ['netns', 'del', space.name], { stdio: 'ignore' }))
  }
}

function attempt(action: () => void): void {
  try {
    action()
  } catch {
    // One thing that is gone already must not keep the rest from being removed.
  }
}

async function addAddress(space: Namespace, link: string, address: string): Promise<void> {
  // Duplicate address detection would hold an IPv6 address back for a second.
  const options = address.includes(':') ? ['nodad'] : []
  await space.ip('address', 'add', address, 'dev', link, ...options)
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Polls until `check` returns something; throws what it last threw, or says what was awaited. */
export async function until<T>(
  what: string,
  check: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 60_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    let failure: unknown
    try {
      const result = await check()
      if (result !== undefined && result !== false) return result
    } catch (error) {
      failure = error
    }
    if (Date.now() > deadline)
      throw new Error(`waited ${timeoutMs} ms for ${what}`, { cause: failure })
    await sleep(25)
  }
}
