/** A real agent in a namespace of a lab: its file, its process, its command and its metrics. */
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { AgentClient } from '../../src/api/client.js'
import { type Daemon, type Namespace, type NetLab, type RunResult, until } from './netns.js'

const command = join(import.meta.dirname, '../../src/cli/fairlead.js')
const metricsAddress = '127.0.0.1:9753'

/** What tests need: with those by default the kernel takes a quarter of a second to make the maps. */
const LIMITS = { backends: 8192, flows: 32_768 }

/** What a test puts into the file besides the agent's own section. */
export interface Definition {
  readonly networks: readonly object[]
  readonly services: readonly object[]
  /** Merged over the agent section that the class writes. */
  readonly agent?: object
}

export interface Revision {
  readonly desired: number
  /** In the kernel. */
  readonly applied: number
  /** In the kernel and in DNS. */
  readonly answering: number
}

export class Agent {
  /** The command's file, for what runs without an agent. */
  readonly program = command
  readonly folder: string
  readonly file: string
  readonly socket: string
  readonly pins: string
  /** For what is asked over and over: a command costs a process. */
  readonly api: AgentClient
  process: Daemon | undefined
  /** What starts the process, with its arguments; empty: nothing between. */
  launcher: readonly string[] = []
  environment: NodeJS.ProcessEnv | undefined

  constructor(
    lab: NetLab,
    private readonly space: Namespace,
    readonly name: string,
  ) {
    this.folder = mkdtempSync(join(tmpdir(), `fairlead-${name}-`))
    this.file = join(this.folder, 'fairlead.yaml')
    this.socket = join(this.folder, 'api.sock')
    this.api = new AgentClient(this.socket)
    this.pins = `/sys/fs/bpf/${lab.prefix}-${name}`
    lab.atClose(() => rmSync(this.folder, { recursive: true, force: true }))
    // For an agent that had to be killed: it cannot remove its own pins.
    lab.atClose(() => rmSync(this.pins, { recursive: true, force: true }))
  }

  /** Writes the file by rename, as editors do. */
  write(definition: Definition | string): void {
    const text = typeof definition === 'string' ? definition : this.text(definition)
    writeFileSync(`${this.file}.new`, text)
    renameSync(`${this.file}.new`, this.file)
  }

  /** The whole file for a definition. */
  text(definition: Definition): string {
    return stringify({
      version: 1,
      agent: {
        node: this.name,
        socket: this.socket,
        metrics: metricsAddress,
        state: join(this.folder, 'state.json'),
        pins: this.pins,
        dns: { upstreams: [] },
        limits: LIMITS,
        ...definition.agent,
      },
      networks: definition.networks,
      services: definition.services,
    })
  }

  /** Starts the process; `ready` tells when it carries traffic. */
  start(...args: string[]): void {
    const agent = [process.execPath, command, 'agent', '--config', this.file, ...args]
    const [file = '', ...rest] = [...this.launcher, ...agent]
    this.process = this.space.spawn(file, rest, this.environment)
  }

  async ready(timeoutMs = 60_000): Promise<void> {
    await until(
      `agent ${this.name} to be ready`,
      async () => {
        if (!this.process?.running) throw new Error(`it ended\n${this.lastWords()}`)
        const { desired, answering } = await this.revision()
        return desired > 0 && desired === answering
      },
      timeoutMs,
    )
  }

  /** Writes the file and waits until kernel and DNS hold it. */
  async apply(definition: Definition | string): Promise<void> {
    const text = typeof definition === 'string' ? definition : this.text(definition)
    // Nothing differs, so no revision would come to wait for.
    if (text === readFileSync(this.file, 'utf8')) return
    const before = await this.revision()
    this.write(definition)
    await until(`agent ${this.name} to take its file`, async () => {
      const { desired, applied, answering } = await this.revision()
      return desired === applied && desired === answering && desired > before.desired
    })
  }

  /** The end of what the process printed. */
  lastWords(): string {
    return `${this.process?.stdout ?? ''}${this.process?.stderr ?? ''}`.slice(-2_000)
  }

  /** By the API: a command takes half a second of CPU to start. */
  async revision(): Promise<Revision> {
    return (await this.api.status()).revision
  }

  /** Runs `fairlead …` against this agent. */
  async command(...args: string[]): Promise<string> {
    return (await this.run(...args)).stdout
  }

  /** The same, with exit code and stderr; a non-zero exit throws unless it comes from tryCommand. */
  run(...args: string[]): Promise<RunResult> {
    return this.space.run(process.execPath, [command, ...args, '--socket', this.socket])
  }

  async metrics(): Promise<string> {
    const done = await this.space.run('curl', [
      ...['-sS', '--max-time', '5', `http://${metricsAddress}/metrics`],
    ])
    return done.stdout
  }

  /** The sum of a metric's samples whose labels include all of `labels` (`name="value"`). */
  async metric(name: string, ...labels: string[]): Promise<number> {
    return sumOf(await this.metrics(), name, ...labels)
  }

  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> | undefined {
    return this.process?.stop(signal, 8_000)
  }
}

/** @see Agent.metric */
export function sumOf(exposition: string, name: string, ...labels: string[]): number {
  return exposition
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .filter((line) => labels.every((label) => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}
