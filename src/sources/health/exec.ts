/** Checks by a program: its exit code is the result. */
import { spawn, type ChildProcess } from 'node:child_process'
import type { HealthCheck } from '../../model/types.js'
import { messageOf, OK, type Outcome, type ProbeOpener, type Target } from './probe.js'

type Executed = Extract<HealthCheck, { readonly type: 'exec' }>

/** What is kept of a program's output: its end. */
const KEPT_BYTES = 512

/** As `probe`. */
export function execute(
  target: Target,
  check: Executed,
  opener: ProbeOpener,
  signal: AbortSignal,
): Promise<Outcome> {
  const port = check.port === undefined ? '' : `${check.port}`
  const words = check.command.map((word) =>
    word.replaceAll('{address}', target.address).replaceAll('{port}', port),
  )
  const [file = '', ...args] = opener.command(target.namespace, words)
  return new Promise<Outcome>((resolve) => {
    // What this throws rejects; there is no such refusal that is not our own trouble.
    const child: ChildProcess = spawn(file, args, {
      // A group of its own, so that what it starts can be ended with it.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: environment(target, port),
    })
    const output = lastOutput(child)
    const settle = (outcome: Outcome): void => {
      signal.removeEventListener('abort', abort)
      child.stdout?.destroy()
      child.stderr?.destroy()
      resolve(outcome)
    }
    const abort = (): void => {
      kill(child)
      settle({ result: 'timeout', error: 'did not end in time' })
    }
    signal.addEventListener('abort', abort, { once: true })
    child.once('error', (error) => settle({ result: 'error', error: messageOf(error) }))
    // What it leaves running may keep its output open.
    child.once('exit', (code) => code === 0 && settle(OK))
    child.once('close', (code, by) => {
      const how = code === null ? `ended by ${by ?? 'a signal'}` : `exit ${code}`
      const said = output()
      settle({ result: 'exit', error: messageOf(said === '' ? how : `${how}: ${said}`) })
    })
  }).catch((error: unknown) => ({ result: 'error', error: messageOf(error) }))
}

function environment({ address, network, service }: Target, port: string): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
    FAIRLEAD_ADDRESS: address,
    FAIRLEAD_PORT: port,
    FAIRLEAD_NETWORK: network,
    FAIRLEAD_SERVICE: service,
  }
}

/** Reads all output and keeps its end, whatever there is of it. @returns its last line */
function lastOutput(child: ChildProcess): () => string {
  let kept = Buffer.alloc(0)
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (part: Buffer) => {
      kept = Buffer.concat([kept, part.subarray(-KEPT_BYTES)]).subarray(-KEPT_BYTES)
    })
    stream?.on('error', () => undefined)
  }
  return () => kept.toString().trim().split('\n').at(-1)?.trim() ?? ''
}

function kill({ pid }: ChildProcess): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It has ended meanwhile.
  }
}
